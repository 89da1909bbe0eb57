"""Inference with scikit-learn estimators, which skops stores without pickle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from skops.io.exceptions import UntrustedTypesFoundException

from serving.features import Matrix
from serving.values import FloatArray

# The types that our models hold beside those that skops trusts anyway: trees, the type of imputed
# values, and what histogram gradient boosting checks its categories with.
TRUSTED = (
    "functools.partial",
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
    "sklearn.utils.validation.check_array",
)


@dataclass(frozen=True)
class ScikitMember:
    """A pipeline from dense rows (see `Matrix.dense`) to predictions.

    Attributes:
        estimator: a pipeline of scikit-learn.
        n_classes: of the task; 0 for a regression.
        dtype: of the dense rows.
    """

    estimator: Any
    n_classes: int
    dtype: str

    def predict(self, rows: Matrix) -> FloatArray:
        """`(n, k)` probabilities, or `(n,)` standardised values."""
        return predictions(self.estimator, rows.dense(self.dtype), self.n_classes)


def predictions(estimator: Any, x: Any, n_classes: int) -> FloatArray:
    """Of dense or sparse rows: probabilities, 0 for a class without training rows, or values."""
    if not n_classes:
        return np.asarray(estimator.predict(x), dtype=np.float64)
    probabilities = np.zeros((x.shape[0], n_classes))
    probabilities[:, estimator.classes_] = estimator.predict_proba(x)
    return probabilities


def parsed(content: bytes) -> Any:
    """The estimator of a skops file.

    Raises:
        ValueError: if it holds a type that is not trusted.
    """
    try:
        return skops.io.loads(content, trusted=list(TRUSTED))
    except UntrustedTypesFoundException as error:
        raise ValueError(f"the skops file is refused: {error}") from error


def load(path: Path, n_classes: int, dtype: str) -> ScikitMember:
    """Load the pipeline of a skops file.

    Raises:
        ValueError: if it holds a type that is not trusted.
    """
    return ScikitMember(parsed(path.read_bytes()), n_classes, dtype)
