"""Probabilities of classifiers that have none."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.calibration import CalibratedClassifierCV

from pipelines.models.errors import TrainingError

FOLDS = 5


def has_probabilities(classifier: Any) -> bool:
    """Whether a classifier will have `predict_proba` when it is fitted."""
    if hasattr(classifier, "predict_proba"):
        return True
    # A stack takes a logistic regression by default, and shows it only when it is fitted.
    return getattr(last_step(classifier), "final_estimator", "") is None


def last_step(estimator: Any) -> Any:
    """The last step of a pipeline; any other estimator itself."""
    steps = getattr(estimator, "steps", None)
    return steps[-1][1] if isinstance(steps, list) and steps else estimator


def calibrated(classifier: Any, y: npt.NDArray[Any], folds: int = FOLDS) -> Any:
    """The classifier with a sigmoid on its decision function, fitted out of fold.

    Args:
        classifier: It has no `predict_proba`; with it, it is returned as it is.
        y: `(n,)` class codes of the training rows.
        folds: How many; fewer if a class has fewer rows.

    Raises:
        TrainingError: if a class has a single row.
    """
    if has_probabilities(classifier):
        return classifier
    counts = np.bincount(np.asarray(y, dtype=np.int64))
    fewest = int(counts[counts > 0].min())
    if fewest < 2:
        raise TrainingError(
            "a class has a single training row, and probabilities need two of each to be "
            "calibrated; take a classifier with predict_proba"
        )
    return CalibratedClassifierCV(classifier, cv=min(folds, fewest), ensemble=False)
