"""Metrics as functions of row weights, which score many bootstrap draws at once.

Metrics that are means over rows, R² and the areas under the ROC and the precision-recall curve are
computed from the weights of many draws; the others draw by draw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hpo.arrays import FloatArray, IntArray
from pipelines.table.scores.metrics import Metric, Weights

WeightedScore = Callable[[FloatArray], FloatArray]
"""From weights (draws, rows) to scores (draws,); `nan` where a draw does not define the metric."""


def is_vectorised(metric: Metric) -> bool:
    """Whether the metric scores many draws at once."""
    return metric.name in _VECTORISED


def weighted_score(
    metric: Metric, y: npt.NDArray[Any], prediction: FloatArray, weight: Weights = None
) -> WeightedScore:
    """The metric of these rows as a function of their weights.

    A whole number as a weight gives the same score as repeated rows.

    Args:
        metric: how to score.
        y: `(n,)` class codes or values.
        prediction: as `Metric` takes it.
        weight: `(n,)` of the rows, by which the weights of all draws are multiplied.
    """
    if weight is not None:
        score = weighted_score(metric, y, prediction)
        return lambda weights: score(weights * weight)
    if metric.name in _VECTORISED:
        return _VECTORISED[metric.name](y, prediction)

    def draw_by_draw(weights: FloatArray) -> FloatArray:
        scores = np.full(len(weights), np.nan)
        for i, each in enumerate(weights):
            drawn = np.flatnonzero(each)
            if len(drawn):
                scores[i] = metric.value(y[drawn], prediction[drawn], each[drawn])
        return scores

    return draw_by_draw


# --- means over rows ------------------------------------------------------------------------------


def _log_loss(y: IntArray, p: FloatArray) -> WeightedScore:
    eps = np.finfo(np.float64).eps
    return _mean(-np.log(np.clip(p[np.arange(len(y)), y] / p.sum(axis=1), eps, 1 - eps)))


def _accuracy(y: IntArray, p: FloatArray) -> WeightedScore:
    return _mean((p.argmax(axis=1) == y).astype(np.float64))


def _brier(y: IntArray, p: FloatArray) -> WeightedScore:
    return _mean(np.square(p[:, 1] - (y == 1)))


def _rmse(y: FloatArray, p: FloatArray) -> WeightedScore:
    return _root_mean(np.square(y - p))


def _mae(y: FloatArray, p: FloatArray) -> WeightedScore:
    return _mean(np.abs(y - p))


def _mape(y: FloatArray, p: FloatArray) -> WeightedScore:
    return _mean(np.abs((y - p) / y))


def _rmsle(y: FloatArray, p: FloatArray) -> WeightedScore:
    return _root_mean(np.square(np.log1p(np.maximum(p, 0)) - np.log1p(y)))


def _mean(values: FloatArray) -> WeightedScore:
    return lambda weights: weights @ values / weights.sum(axis=1)


def _root_mean(values: FloatArray) -> WeightedScore:
    return lambda weights: np.sqrt(weights @ values / weights.sum(axis=1))


# --- other metrics --------------------------------------------------------------------------------


def _r2(y: FloatArray, p: FloatArray) -> WeightedScore:
    centred = y - y.mean()  # for the digits
    errors = np.square(y - p)

    def score(weights: FloatArray) -> FloatArray:
        total = weights.sum(axis=1)
        spread = weights @ np.square(centred) - np.square(weights @ centred) / total
        return np.where(spread > 0, 1 - weights @ errors / spread, np.nan)

    return score


def _roc_auc(y: IntArray, p: FloatArray) -> WeightedScore:
    return _auc(y == 1, p[:, 1])


def _auc(positive: npt.NDArray[np.bool_], scores: FloatArray) -> WeightedScore:
    """The Mann-Whitney statistic; rows are sorted once, for all draws."""
    runs = _Runs(positive, scores)

    def score(weights: FloatArray) -> FloatArray:
        positives, negatives = runs.weights(weights)
        below = np.cumsum(negatives, axis=1) - negatives / 2
        wins = (positives * below).sum(axis=1)
        area: FloatArray = wins / (positives.sum(axis=1) * negatives.sum(axis=1))
        return area

    return score


def _roc_auc_ovr(y: IntArray, p: FloatArray) -> WeightedScore:
    """The mean over the classes that a draw holds, each against the rest."""
    areas = [_auc(y == c, p[:, c]) for c in np.unique(y)]

    def score(weights: FloatArray) -> FloatArray:
        found = np.stack([area(weights) for area in areas])  # (classes, draws)
        defined = np.isfinite(found)
        mean: FloatArray = np.where(defined, found, 0.0).sum(axis=0) / defined.sum(axis=0)
        return mean

    return score


def _average_precision(y: IntArray, p: FloatArray) -> WeightedScore:
    """Precision times the step in recall, summed over distinct scores from above."""
    runs = _Runs(y == 1, -p[:, 1])

    def score(weights: FloatArray) -> FloatArray:
        positives, negatives = runs.weights(weights)
        hits = np.cumsum(positives, axis=1)
        predicted = np.cumsum(positives + negatives, axis=1)
        precision = hits / np.maximum(predicted, 1.0)
        area: FloatArray = (precision * positives).sum(axis=1) / hits[:, -1]
        return area

    return score


class _Runs:
    """Rows in the order of a score, with runs of equal scores."""

    def __init__(self, positive: npt.NDArray[np.bool_], scores: FloatArray) -> None:
        self._order = np.argsort(scores, kind="stable")
        self._starts = np.flatnonzero(np.diff(scores[self._order], prepend=-np.inf))
        self._is_positive = positive[self._order]

    def weights(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The weights (draws, runs) of positive and of negative rows, from those of all rows."""
        ordered = weights[:, self._order]
        positives: FloatArray = np.add.reduceat(ordered * self._is_positive, self._starts, axis=1)
        negatives: FloatArray = np.add.reduceat(ordered * ~self._is_positive, self._starts, axis=1)
        return positives, negatives


_VECTORISED: Mapping[str, Callable[[npt.NDArray[Any], FloatArray], WeightedScore]] = {
    "log_loss": _log_loss,
    "accuracy": _accuracy,
    "brier": _brier,
    "rmse": _rmse,
    "mae": _mae,
    "mape": _mape,
    "rmsle": _rmsle,
    "r2": _r2,
    "roc_auc": _roc_auc,
    "roc_auc_ovr": _roc_auc_ovr,
    "average_precision": _average_precision,
}
