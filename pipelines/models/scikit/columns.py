"""Preprocessing of dense rows: the numeric columns, then the codes of the categorical ones."""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    OneHotEncoder,
    OrdinalEncoder,
    QuantileTransformer,
    StandardScaler,
    TargetEncoder,
)

from pipelines.table.data import Fold
from serving.features import Matrix

_FOLDS = 5
_LEVELS = 100  # one-hot columns of a categorical column, at most
_QUANTILES = 1000
_SPARSE = 0.3  # rows with a smaller share of values that are not 0 are sparse


class Encoded:
    """The rows of a fold in the form that `columns` makes of them.

    Args:
        fold: The rows; `columns` is fitted to those of the training.
        columns: A transformer that is not fitted yet; it may use the target.
        dtype: Of the dense rows that it takes.
    """

    def __init__(self, fold: Fold, columns: ColumnTransformer, dtype: str) -> None:
        self._fold = fold
        self._dtype = dtype
        self.columns = columns
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # classes with fewer rows than folds
            # Not the same as `of`: targets are encoded out of fold.
            self.train = columns.fit_transform(fold.train.dense(dtype), fold.y_train)

    @cached_property
    def valid(self) -> Any:
        """The validation rows."""
        return self.of(self._fold.valid)

    def of(self, rows: Matrix) -> Any:
        """Other rows; sparse if most of the columns are one-hot."""
        return self.columns.transform(rows.dense(self._dtype))


def positions(fold: Fold) -> tuple[list[int], list[int]]:
    """The numeric and the categorical columns of dense rows, but those without a known value."""
    p = fold.train.numeric.shape[1]
    numeric = np.flatnonzero(~np.isnan(fold.train.numeric).all(axis=0))
    categorical = np.flatnonzero((fold.train.categorical >= 0).any(axis=0))
    return numeric.tolist(), (p + categorical).tolist()


def joint_codes(fold: Fold, levels: int) -> ColumnTransformer:
    """Keeps the `levels` - 1 most frequent levels of a column and makes one of all the others.

    Numeric columns stay as they are, missing and unseen levels are `nan`.
    """
    encoder = OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=np.nan,
        encoded_missing_value=np.nan,
        max_categories=levels,
    )
    return columns(fold, "passthrough", encoder)


def plain_codes(fold: Fold) -> ColumnTransformer:
    """Codes as numbers, in the order of the labels."""
    return columns(fold, "passthrough", "passthrough")


def target_means(fold: Fold) -> ColumnTransformer:
    """The mean target of each level, or the share of each class, shrunk towards that of all rows.

    Training rows get the means of other folds, so that no row sees its own target.
    """
    target = "auto" if fold.task.n_classes else "continuous"
    encoder = TargetEncoder(target_type=target, cv=_FOLDS, random_state=fold.index)
    return columns(fold, "passthrough", encoder)


def scaled(fold: Fold, scaling: str, *, dense: bool = False) -> ColumnTransformer:
    """Scaled numeric columns with indicators of missing values, and one-hot levels.

    `scaling` is `standard`, or `quantile` for values that are normally distributed.
    """
    steps: list[Any] = [StandardScaler(), SimpleImputer(strategy="constant", add_indicator=True)]
    if scaling == "quantile":
        quantiles = min(_QUANTILES, len(fold.train))
        steps.insert(
            0,
            QuantileTransformer(
                n_quantiles=quantiles, output_distribution="normal", random_state=0
            ),
        )
    one_hot = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=_LEVELS)
    return columns(fold, make_pipeline(*steps), one_hot, sparse=0.0 if dense else _SPARSE)


def columns(
    fold: Fold, numeric: Any, categorical: Any, sparse: float = _SPARSE
) -> ColumnTransformer:
    """A transformer for the numeric columns, and one for the codes, which come last."""
    numbers, codes = positions(fold)
    return ColumnTransformer(
        [("numeric", numeric, numbers), ("categorical", categorical, codes)],
        sparse_threshold=sparse,
    )
