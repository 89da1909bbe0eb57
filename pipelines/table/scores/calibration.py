"""Calibration of probabilities, fitted on rows that did not train the model.

The map has one parameter for each way in which a model errs: too certain or too cautious (a slope),
and for two classes also a different slope on either side and a wrong share of the positive class.
It is smooth, so a few hundred rows are enough, and the order of the rows by their probability
stays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from hpo.arrays import FloatArray, IntArray
from pipelines.table.scores.metrics import METRICS, Weights
from serving.decision import Calibration

BINS = 15
PRIOR = 1.0  # rows' worth of belief in the probabilities as they are


def fitted(y: IntArray, probabilities: FloatArray, weight: Weights = None) -> Calibration:
    """The calibration with the smallest log loss, drawn a little to none.

    Args:
        y: `(n,)` class codes.
        probabilities: `(n, k)`.
        weight: `(n,)` weights of the rows; None for equal ones.
    """
    n, k = probabilities.shape
    log_loss = METRICS["log_loss"]

    def loss(values: npt.NDArray[Any]) -> float:
        found = log_loss.value(y, _map(values, k)(probabilities), weight)
        return float(found + PRIOR / n * (values @ values))

    start = np.zeros(3 if k == 2 else 1)
    return _map(minimize(loss, start, method="BFGS").x, k)


def _map(values: npt.NDArray[Any], k: int) -> Calibration:
    """The calibration of k classes with the logarithms of its slopes, and an offset for two."""
    slopes = np.exp(np.clip(values[:2] if k == 2 else np.repeat(values, k), -5.0, 5.0))
    offsets = (0.0, float(values[2])) if k == 2 else (0.0,) * k
    return Calibration(tuple(map(float, slopes)), offsets)


def calibration_error(y: IntArray, probabilities: FloatArray, weight: Weights = None) -> float:
    """The expected calibration error: how far probabilities are from the shares that come true.

    Of two classes the positive one is looked at, of more the most probable one (Guo et al. 2017).
    The rows form `BINS` bins of as many rows each, by their probability.
    """
    if probabilities.shape[1] == 2:
        p, hit = probabilities[:, 1], y == 1
    else:
        p, hit = probabilities.max(axis=1), probabilities.argmax(axis=1) == y
    w = np.ones(len(y)) if weight is None else weight
    order = np.argsort(p, kind="stable")
    gap = (w * (p - hit))[order]
    sums = np.array([part.sum() for part in np.array_split(gap, min(BINS, len(gap)))])
    return float(np.abs(sums).sum() / w.sum())


def calibration_scores(
    y: IntArray, probabilities: FloatArray, weight: Weights = None
) -> tuple[float, float]:
    """The log loss and the expected calibration error."""
    log_loss = METRICS["log_loss"].value(y, probabilities, weight)
    return log_loss, calibration_error(y, probabilities, weight)
