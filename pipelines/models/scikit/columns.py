"""Preprocessing of dense rows: the numeric columns, then the codes of the categorical ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OrdinalEncoder

from pipelines.table.data import Fold


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


def columns(fold: Fold, numeric: Any, categorical: Any) -> ColumnTransformer:
    """A transformer for the numeric columns, and one for the codes, which come last."""
    numbers, codes = positions(fold)
    return ColumnTransformer([("numeric", numeric, numbers), ("categorical", categorical, codes)])
