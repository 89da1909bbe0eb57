"""The threshold of a binary classification, from which on the positive label is predicted."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from hpo.arrays import FloatArray, IntArray
from hpo.errors import ParameterError, closest
from hpo.goals import MINIMIZE
from pipelines.table.scores.metrics import METRICS, Metric, Weights, mean
from pipelines.table.scores.named import is_metric, metric_named
from serving.decision import HALF, Decision

AUTO, OFF = "auto", "off"
COST = re.compile(r"cost:fp=(?P<fp>[^,]+),fn=(?P<fn>[^,]+)")
ONE_SIDED = ("precision", "recall", "positive_likelihood", "neg_negative_likelihood")
"""Scores that a threshold makes perfect by always or hardly ever predicting the positive label."""
CANDIDATES, COSTLY_CANDIDATES = 200, 50
SMOOTH = 5  # neighbouring candidates whose scores are averaged, since one alone is chance


@dataclass(frozen=True)
class Threshold:
    """What the option `threshold` says.

    Attributes:
        text: of the option.
        value: the threshold itself; None if it is to be tuned, or for none.
        metric: that it is tuned for; None for the study's own (`auto`), or for none.
    """

    text: str
    value: float | None = None
    metric: Metric | None = None

    @classmethod
    def parse(cls, text: str) -> Threshold:
        """Read auto, off, a number, the name of a metric of labels, or cost:fp=1,fn=5.

        Raises:
            ParameterError: for any other text.
        """
        if text in (AUTO, OFF):
            return cls(text)
        if cost := COST.fullmatch(text.replace(" ", "")):
            return cls(text, metric=_cost_metric(text, cost["fp"], cost["fn"]))
        value = _number(text)
        if value is not None and 0 < value < 1:
            return cls(text, value=value)
        if value is not None or not is_metric(text):
            on_labels = [name for name, metric in METRICS.items() if metric.on_labels]
            raise ParameterError(
                f"threshold={text!r} must be auto, off, a number between 0 and 1, a metric of "
                f"labels such as f1, or costs such as cost:fp=1,fn=5{closest(text, on_labels)}"
            )
        metric = metric_named(text)
        if not metric.on_labels or "binary" not in metric.tasks:
            raise ParameterError(
                f"threshold={text!r}: that metric does not depend on a threshold; take one of two "
                "classes' labels, such as f1, balanced_accuracy or mcc"
            )
        return cls(text, metric=metric)

    def tuned_for(self, own: Metric) -> Metric | None:
        """The metric that the threshold is tuned for; None if it is not tuned.

        Args:
            own: the metric of the study.
        """
        if self.text != AUTO:
            return self.metric
        return own if own.on_labels and not own.name.startswith(ONE_SIDED) else None


def best_threshold(
    y: IntArray, probabilities: FloatArray, metric: Metric, weight: Weights = None
) -> float:
    """The threshold with the best score on these rows; a half where none has a score.

    Args:
        y: `(n,)` codes of two classes.
        probabilities: `(n, 2)`.
        metric: of labels.
        weight: `(n,)` weights of the rows; None for equal ones.
    """
    candidates = _candidates(probabilities[:, 1], metric)
    losses = np.array(
        [
            metric.goal.to_loss(metric.value(y, Decision(None, t).decided(probabilities), weight))
            for t in candidates
        ]
    )
    if not np.isfinite(losses).any():
        return HALF
    losses[~np.isfinite(losses)] = np.nanmax(losses[np.isfinite(losses)])
    width = min(SMOOTH, len(losses))
    padded = np.pad(losses, (width // 2, width - 1 - width // 2), mode="edge")
    smooth = np.convolve(padded, np.ones(width) / width, mode="valid")
    return float(candidates[int(np.argmin(smooth))])


def _candidates(positive: FloatArray, metric: Metric) -> FloatArray:
    """Values between the probabilities `(n,)` that occur, ascending, and a half."""
    found = np.unique(positive)
    between = (found[:-1] + found[1:]) / 2
    most = COSTLY_CANDIDATES if metric.is_costly else CANDIDATES
    if len(between) > most:
        between = between[np.linspace(0, len(between) - 1, most).round().astype(int)]
    inside = between[(between > 0) & (between < 1)]
    return np.union1d(inside, [HALF])


def _cost_metric(text: str, fp: str, fn: str) -> Metric:
    """The mean cost of a row, of false positives and false negatives.

    Raises:
        ParameterError: for costs that are not above 0.
    """
    costs = [_number(cost) for cost in (fp, fn)]
    false_positive, false_negative = costs
    if false_positive is None or false_negative is None or min(false_positive, false_negative) <= 0:
        raise ParameterError(
            f"threshold={text!r}: costs must be numbers above 0, such as cost:fp=1,fn=5"
        )

    def cost(y: IntArray, p: FloatArray, w: Weights = None) -> float:
        predicted = p.argmax(axis=1)
        each = np.where(y == 1, false_negative * (predicted == 0), false_positive * predicted)
        return mean(each, w)

    name = f"cost:fp={false_positive:g},fn={false_negative:g}"
    return Metric(name, ("binary",), MINIMIZE, cost, on_labels=True)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None
