"""The metrics that trials are scored with.

They are written in numpy, because they are called for every trial and often every few rounds, where
the input checks of scikit-learn cost more than the score. `tests/pipelines/table/test_metrics.py`
compares them with scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from hpo.arrays import FloatArray, IntArray
from hpo.errors import counted
from hpo.goals import MAXIMIZE, MINIMIZE, Goal

Weights = FloatArray | None
"""Weights of rows, `(n,)`; None for equal ones."""

CLASSIFICATION = ("binary", "multiclass")
TASKS = (*CLASSIFICATION, "regression")


def _any_target(y: npt.NDArray[Any]) -> str:
    return ""


class NotDefined(ValueError):  # noqa: N818
    """A metric has no value for these rows."""


@dataclass(frozen=True)
class Metric:
    """A score by name.

    Attributes:
        name: of the metric.
        tasks: kinds of tasks that it can score.
        direction: `minimize` or `maximize`.
        function: from targets, predictions and weights to the score; see `__call__` for their
            shapes. It is nan, or `NotDefined` says why, where there is none.
        obstacle: from targets to the reason why the metric cannot score them; "" if it can.
        power: of the targets' unit in that of the score; 1 where both have the same.
        takes_weights: whether rows may have any weights; others are only repeated.
        is_costly: whether a score takes so long that the bootstrap draws rows less often.
        on_labels: whether it sees of probabilities only which class is the most probable.
    """

    name: str
    tasks: tuple[str, ...]
    direction: str
    function: Callable[[Any, FloatArray, Weights], float]
    obstacle: Callable[[npt.NDArray[Any]], str] = _any_target
    power: float = 0
    takes_weights: bool = True
    is_costly: bool = False
    on_labels: bool = False

    def __call__(
        self, y: npt.NDArray[Any], prediction: FloatArray, weight: Weights = None
    ) -> float:
        """Score a prediction, in the metric's own direction.

        Args:
            y: `(n,)` int64 class codes, or float64 values in original units.
            prediction: `(n, k)` probabilities (k = 2 for binary), or `(n,)` values in original
                units.
            weight: `(n,)` weights of the rows; None for equal ones.

        Raises:
            ValueError: if the prediction is not finite, so that such a trial fails; and if the
                metric is not defined on these rows.
        """
        if not np.isfinite(prediction).all():
            raise ValueError(f"{self.name}: the model predicted values that are not finite")
        if weight is not None and not weight.any():
            raise ValueError(f"{self.name} is not defined here: all rows have the weight 0")
        try:
            score = float(self.function(y, prediction, weight))
        except NotDefined as error:
            raise ValueError(f"{self.name} is not defined here: {error}") from error
        if not np.isfinite(score):
            reason = self.obstacle(y) or "a part of the rows holds one class only"
            raise ValueError(f"{self.name} is not defined here: {reason}")
        return score

    def value(self, y: npt.NDArray[Any], prediction: FloatArray, weight: Weights = None) -> float:
        """The score of a finite prediction; not finite where the metric is not defined."""
        try:
            return float(self.function(y, prediction, weight))
        except NotDefined:
            return float("nan")

    @cached_property
    def goal(self) -> Goal:
        """The score as a goal, which knows the loss of a value."""
        return Goal(self.name, self.direction)


# --- classification -------------------------------------------------------------------------------


def mean(values: npt.NDArray[Any], w: Weights) -> float:
    """The mean of values `(n,)` with these weights."""
    return float(values.mean() if w is None else np.average(values, weights=w))


def _auc(positive: npt.NDArray[np.bool_], scores: FloatArray, w: Weights) -> float:
    """Area under the ROC curve (Mann-Whitney; ties count half); `nan` for a single class."""
    if w is not None:
        return _weighted_auc(*_runs(positive, scores, w))
    above, below = np.sort(scores[positive]), np.sort(scores[~positive])
    if not len(above) or not len(below):
        return float("nan")
    smaller = below.searchsorted(above, side="left").sum()
    not_greater = below.searchsorted(above, side="right").sum()
    return float((smaller + not_greater) / (2 * len(above) * len(below)))


def _weighted_auc(positives: FloatArray, negatives: FloatArray) -> float:
    total = positives.sum() * negatives.sum()
    below = np.cumsum(negatives) - negatives / 2
    return float((positives * below).sum() / total) if total > 0 else float("nan")


def _runs(
    positive: npt.NDArray[np.bool_], scores: FloatArray, w: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The weights of positive and of negative rows for each distinct score, in ascending order."""
    _, run = np.unique(scores, return_inverse=True)
    sums = [np.bincount(run, w * rows, int(run.max()) + 1) for rows in (positive, ~positive)]
    return np.asarray(sums[0], np.float64), np.asarray(sums[1], np.float64)


def _roc_auc(y: IntArray, p: FloatArray, w: Weights = None) -> float:
    return _auc(y == 1, p[:, 1], w)


def _roc_auc_ovr(y: IntArray, p: FloatArray, w: Weights = None) -> float:
    """Mean over the classes that some but not all rows have, each against the rest."""
    areas = np.array([_auc(y == c, p[:, c], w) for c in range(p.shape[1])])
    return float(np.nanmean(areas)) if np.isfinite(areas).any() else float("nan")


def _average_precision(y: IntArray, p: FloatArray, w: Weights = None) -> float:
    """Sum of precision times the step in recall, over distinct scores."""
    equal = np.ones(len(y)) if w is None else w
    positives, negatives = _runs(y == 1, -p[:, 1], equal)
    hits, predicted = np.cumsum(positives), np.cumsum(positives + negatives)
    if not hits[-1] > 0:
        return float("nan")
    precision = np.divide(hits, predicted, out=np.zeros_like(hits), where=predicted > 0)
    return float((precision * positives).sum() / hits[-1])


def _log_loss(y: IntArray, p: FloatArray, w: Weights = None) -> float:
    eps = np.finfo(np.float64).eps
    total = p.sum(axis=1)
    chosen = p[np.arange(len(y)), y] / total
    return mean(-np.log(np.clip(chosen, eps, 1 - eps)), w)


def _brier(y: IntArray, p: FloatArray, w: Weights = None) -> float:
    return mean(np.square(p[:, 1] - (y == 1)), w)


def _confusion(y: IntArray, p: FloatArray, w: Weights = None) -> npt.NDArray[Any]:
    """`(k, k)` counts or sums of weights: true class by row, predicted class by column."""
    k = p.shape[1]
    return np.bincount(y * k + p.argmax(axis=1), w, minlength=k * k).reshape(k, k)


def _accuracy(y: IntArray, p: FloatArray, w: Weights = None) -> float:
    return mean(p.argmax(axis=1) == y, w)


def _balanced_accuracy(y: IntArray, p: FloatArray, w: Weights = None) -> float:
    """Mean recall over the classes that occur."""
    counts = _confusion(y, p, w)
    members = counts.sum(axis=1)
    present = members > 0
    return float((counts.diagonal()[present] / members[present]).mean())


def _f1_per_class(
    y: IntArray, p: FloatArray, w: Weights
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """F1 of each class, 0 without a hit, and whether the class occurs (truly or predicted)."""
    counts = _confusion(y, p, w)
    members = counts.sum(axis=0) + counts.sum(axis=1)
    return 2 * counts.diagonal() / np.where(members > 0, members, 1), members > 0


def _f1(y: IntArray, p: FloatArray, w: Weights = None) -> float:
    return float(_f1_per_class(y, p, w)[0][1])


def _f1_macro(y: IntArray, p: FloatArray, w: Weights = None) -> float:
    scores, present = _f1_per_class(y, p, w)
    return float(scores[present].mean())


def _mcc(y: IntArray, p: FloatArray, w: Weights = None) -> float:
    """Matthews' correlation for any number of classes (Gorodkin 2004); 0 for a constant."""
    counts = _confusion(y, p, w).astype(np.float64)
    true, predicted, n = counts.sum(axis=1), counts.sum(axis=0), counts.sum()
    covariance = counts.trace() * n - true @ predicted
    spread = (n**2 - predicted @ predicted) * (n**2 - true @ true)
    return float(covariance / np.sqrt(spread)) if spread > 0 else 0.0


# --- regression -----------------------------------------------------------------------------------


def _rmse(y: FloatArray, p: FloatArray, w: Weights = None) -> float:
    return float(np.sqrt(mean(np.square(y - p), w)))


def _mae(y: FloatArray, p: FloatArray, w: Weights = None) -> float:
    return mean(np.abs(y - p), w)


def _median_ae(y: FloatArray, p: FloatArray, w: Weights = None) -> float:
    return weighted_quantile(np.abs(y - p), 0.5, w)


def weighted_quantile(values: FloatArray, level: float, w: Weights = None) -> float:
    """The quantile of values `(n,)`; of weighted ones, the mean of the two ends of a plateau."""
    if w is None:
        return float(np.quantile(values, level))
    order = np.argsort(values, kind="stable")
    order = order[w[order] > 0]
    below = np.cumsum(w[order])
    at = level * below[-1]
    ends = [np.searchsorted(below, at * (1 + sign * 1e-12), "left") for sign in (-1, 1)]
    return float(values[order[np.minimum(ends, len(order) - 1)]].mean())


def _r2(y: FloatArray, p: FloatArray, w: Weights = None) -> float:
    if _constant(y):  # the sum below need not be exactly 0 then
        return float("nan")
    spread = mean(np.square(y - mean(y, w)), w)
    return 1 - mean(np.square(y - p), w) / spread if spread > 0 else float("nan")


def _rmsle(y: FloatArray, p: FloatArray, w: Weights = None) -> float:
    if y.min() < 0:
        return float("nan")
    return float(np.sqrt(mean(np.square(np.log1p(np.maximum(p, 0)) - np.log1p(y)), w)))


def _mape(y: FloatArray, p: FloatArray, w: Weights = None) -> float:
    if (y == 0).any():
        return float("nan")
    return mean(np.abs((y - p) / y), w)


def _constant(y: npt.NDArray[Any]) -> str:
    return "all of the targets are equal" if y.min() == y.max() else ""


def _negative(y: npt.NDArray[Any]) -> str:
    return f"it needs targets >= 0, the smallest is {y.min():g}" if y.min() < 0 else ""


def _zero(y: npt.NDArray[Any]) -> str:
    zeros = int((y == 0).sum())
    return f"it divides by the target, which is 0 in {counted(zeros, 'row')}" if zeros else ""


# --- the table ------------------------------------------------------------------------------------

_BINARY, _MULTICLASS, _REGRESSION = ("binary",), ("multiclass",), ("regression",)

METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric("roc_auc", _BINARY, MAXIMIZE, _roc_auc),
            Metric("roc_auc_ovr", _MULTICLASS, MAXIMIZE, _roc_auc_ovr),
            Metric("log_loss", CLASSIFICATION, MINIMIZE, _log_loss),
            Metric("accuracy", CLASSIFICATION, MAXIMIZE, _accuracy, on_labels=True),
            Metric(
                "balanced_accuracy", CLASSIFICATION, MAXIMIZE, _balanced_accuracy, on_labels=True
            ),
            Metric("f1", _BINARY, MAXIMIZE, _f1, on_labels=True),
            Metric("f1_macro", CLASSIFICATION, MAXIMIZE, _f1_macro, on_labels=True),
            Metric("average_precision", _BINARY, MAXIMIZE, _average_precision),
            Metric("brier", _BINARY, MINIMIZE, _brier),
            Metric("mcc", CLASSIFICATION, MAXIMIZE, _mcc, on_labels=True),
            Metric("rmse", _REGRESSION, MINIMIZE, _rmse, power=1),
            Metric("mae", _REGRESSION, MINIMIZE, _mae, power=1),
            Metric("median_ae", _REGRESSION, MINIMIZE, _median_ae, power=1),
            Metric("r2", _REGRESSION, MAXIMIZE, _r2, _constant),
            Metric("rmsle", _REGRESSION, MINIMIZE, _rmsle, _negative),
            Metric("mape", _REGRESSION, MINIMIZE, _mape, _zero),
        )
    }
)

_DEFAULTS = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}


def default_metric(kind: str) -> Metric:
    """The metric of a task for which the user names none."""
    return METRICS[_DEFAULTS[kind]]


def recalls(y: IntArray, prediction: FloatArray) -> list[tuple[int, float]]:
    """The number of rows of each class, and its recall (`nan` if there are none).

    Args:
        y: `(n,)` class codes.
        prediction: `(n, k)` probabilities.
    """
    counts = _confusion(y, prediction)
    rows = counts.sum(axis=1)
    recall = np.divide(counts.diagonal(), rows, out=np.full(len(rows), np.nan), where=rows > 0)
    return list(zip(rows.tolist(), recall.tolist(), strict=True))


def evaluate(
    kind: str,
    y: npt.NDArray[Any],
    prediction: FloatArray,
    weight: Weights = None,
    *,
    own: Sequence[Metric] = (),
    decided: FloatArray | None = None,
) -> dict[str, float]:
    """All metrics of a task that are defined on these rows, by name, and those of the study.

    Shapes and units are those of `Metric`. `decided` is the prediction as metrics of labels see it,
    where a threshold decides (`serving.decision`).

    Raises:
        ValueError: if the prediction is not finite.
    """
    if not np.isfinite(prediction).all():
        raise ValueError("the model predicted values that are not finite")
    metrics = [metric for metric in METRICS.values() if kind in metric.tasks]
    metrics += [metric for metric in own if metric.name not in METRICS]
    of_labels = prediction if decided is None else decided
    scores = {
        metric.name: metric.value(y, of_labels if metric.on_labels else prediction, weight)
        for metric in metrics
    }
    return {name: score for name, score in scores.items() if np.isfinite(score)}
