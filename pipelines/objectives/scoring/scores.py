"""From models that were trained on the folds to what a trial reports."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from hpo.arrays import FloatArray
from hpo.loop import Job
from pipelines.models import Trainable
from pipelines.models.legs import CURVE_POINTS
from pipelines.objectives.course import CONTINUED, Course, budget_per_round
from pipelines.objectives.jobs import BEST, Work
from pipelines.table.data import Fold
from pipelines.table.scores.metrics import Metric, evaluate

Curve = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Trained:
    """A model on one fold, with its learning curve; `to` is the last stop of its course."""

    fold: Fold
    model: Trainable
    curve: Curve
    to: int = 0

    @cached_property
    def prediction(self) -> FloatArray:
        """Of the validation rows: probabilities `(n, k)`, or values `(n,)` in original units."""
        return self.fold.target.original(self.model.predict(self.fold.valid))

    @property
    def over(self) -> bool:
        """Whether training ended by itself before the last stop, so that the curve ends before."""
        return self.model.stopped and (not self.curve or self.curve[-1][0] < self.to)


def mean_scores(
    trained: Sequence[Trained], metric: Metric, others: Sequence[Metric] = ()
) -> dict[str, float]:
    """The metrics that are defined on every fold, averaged over the folds.

    With several folds, the study's own metric also comes with its spread and its value on each.

    Args:
        trained: a model for each fold.
        metric: the study's own.
        others: that are goals or have limits, too.

    Raises:
        ValueError: when the study's own metric is not defined on a fold.
    """
    rows = pd.DataFrame([_scores(part, (metric, *others)) for part in trained])
    means = rows.dropna(axis="columns").mean().to_dict()
    scores = {str(name): float(value) for name, value in means.items()}
    if len(rows) > 1:
        own = rows[metric.name]
        scores[f"{metric.name}_std"] = float(own.std(ddof=1))
        scores |= {f"{metric.name}_fold_{i}": float(value) for i, value in enumerate(own)}
    return scores


def leg_curve(work: Work, course: Course, trained: Sequence[Trained], job: Job) -> Curve:
    """The mean curve of a leg over the study's budgets; none where a rung is a training of its own.

    A leg that was trained again from the start has the points of earlier legs once more; they are
    left out.
    """
    if work.fidelity not in CONTINUED:
        return ()
    unit = budget_per_round(work, course)
    points = {float(round(at * unit)): value for at, value in _mean_curve(trained)}
    leg = [(budget, value) for budget, value in points.items() if job.start < budget <= job.to]
    return _thinned(tuple(leg))


def _scores(part: Trained, metrics: Sequence[Metric]) -> dict[str, float]:
    """All metrics of a model on the validation rows of its fold."""
    fold = part.fold
    y = fold.target.original(fold.y_valid)
    return {
        **evaluate(fold.task.kind, y, part.prediction, fold.weight_valid),
        **{each.name: each(y, part.prediction, fold.weight_valid) for each in metrics},
        "reached": float(part.model.reached),
        BEST: float(part.model.best),
    }


def _mean_curve(trained: Sequence[Trained]) -> Curve:
    """The mean over the folds, at the points that all of them have."""
    curves = [pd.Series(dict(part.curve), dtype=float) for part in trained]
    means = pd.concat(curves, axis=1, join="inner").mean(axis=1).sort_index()
    return tuple(zip(map(float, means.index), map(float, means), strict=True))


def _thinned(points: Curve) -> Curve:
    """`CURVE_POINTS` of the points at most, evenly spread, the last among them."""
    if len(points) <= CURVE_POINTS:
        return points
    chosen = np.linspace(0, len(points) - 1, CURVE_POINTS).round().astype(int)
    return tuple(points[i] for i in chosen)
