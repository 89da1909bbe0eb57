"""Fold and Task: what a model family is handed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.metrics import Metric
from serving.features import Matrix, TargetEncoder


@dataclass(frozen=True)
class Task:
    """What is predicted: ``kind`` is binary, multiclass or regression; ``n_classes`` is 0 for regression."""

    kind: str
    n_classes: int


@dataclass(frozen=True)
class Fold:
    """One training and validation pair of the search.

    ``y_train`` and ``y_valid`` are int64 class codes, or float64 targets standardised over the non-test rows.
    ``cardinalities`` gives the number of levels of each categorical column (codes are below it, or -1).
    """

    train: Matrix
    y_train: npt.NDArray[np.generic]
    valid: Matrix
    y_valid: npt.NDArray[np.generic]
    task: Task
    target: TargetEncoder
    cardinalities: tuple[int, ...] = ()
    index: int = 0

    def score(self, metric: Metric, prediction: npt.NDArray[np.float64]) -> float:
        """Return the metric on the validation rows, in the user's units.

        ``prediction``: (n, k) probabilities (k = 2 for binary), or (n,) standardised values.
        """
        return metric(self.target.original(self.y_valid), self.target.original(prediction))
