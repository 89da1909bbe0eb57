"""One leg of boosting: from the round a model has reached to the next rung, with early stopping across legs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from hpo.arrays import FloatArray
from pipelines.models.errors import TrainingError
from pipelines.table.data import Fold
from pipelines.table.metrics import METRICS, Metric

Curve = tuple[tuple[float, float], ...]

CURVE_POINTS = 50
_EVERY_ROUND_UNTIL = 20
_STRIDE = 5
_MIN_DELTA = 1e-5
_ABSURD = 1e100

# Metrics that say well enough by themselves when to stop. By the others (thresholds on few rows
# jump about, relative errors are ruled by single rows) a proper loss decides, and the user's metric
# is only shown.
_STOPPING = ("roc_auc", "roc_auc_ovr", "average_precision", "log_loss", "accuracy", "rmse", "mae")
_PROPER = {"binary": "log_loss", "multiclass": "log_loss", "regression": "rmse"}


def leg_seed(seed: int, start: int) -> int:
    """The seed of the leg that begins after `start` rounds, below 2**31."""
    return int(np.random.SeedSequence([seed, start]).generate_state(1)[0] >> 1)


def evaluations(start: int, to: int) -> list[int]:
    """The rounds of (start, to] after which the validation rows are scored.

    Each of the first 20, then every 5th, and the last. Scoring 8,000 rows by AUC costs 15 % of a
    round on 31,000 rows, every 5th time 3 %, and a best round that is off by two changes the score
    less than the seed does.
    """
    rounds = [r for r in range(start + 1, to) if r <= _EVERY_ROUND_UNTIL or r % _STRIDE == 0]
    return [*rounds, to]


def curve_rounds(rounds: list[int]) -> frozenset[int]:
    """At most 49 of `rounds`, evenly spread; with the round at which a leg ends early they make 50."""
    picks = np.linspace(0, len(rounds) - 1, min(len(rounds), CURVE_POINTS - 1)).round().astype(int)
    return frozenset(rounds[i] for i in picks)


def rows_patience(rows: int) -> int:
    """Rounds without improvement after which a trial ends: 100 up to 30,000 training rows, falling to 20.

    AutoGluon waits 300 rounds on small tables. Over 14 LightGBM configurations on each of five
    tables (471 to 31,000 rows) that changed no best score against 100, which takes 3 to 31 % less
    time; 50 begins to lose.
    """
    return min(100, max(20, round(3_000_000 / max(rows, 1))))


@dataclass(frozen=True)
class Stopping:
    """Early stopping that outlives a leg.

    `best_round` follows every improvement; patience is counted from the last one larger than
    `min_delta`, so that a crawl of tiny gains does not keep a trial alive. `fixed`: the loss
    decides nothing, and the last round is the best.
    """

    patience: int
    min_delta: float
    best: float = math.inf
    best_round: int = 0
    anchor: float = math.inf
    anchor_round: int = 0
    fixed: bool = False

    def observe(self, after: int, loss: float) -> Stopping:
        """The state once `loss` was seen after the given round.

        Raises:
            TrainingError: when the loss is not finite.
        """
        if not math.isfinite(loss):
            raise TrainingError(
                f"the validation loss after round {after} is {loss}: the model diverged"
            )
        seen = (
            replace(self, best=loss, best_round=after) if self.fixed or loss < self.best else self
        )
        if loss < self.anchor - self.min_delta:
            seen = replace(seen, anchor=loss, anchor_round=after)
        return seen

    def over(self, after: int) -> bool:
        """Whether patience has run out after the given round."""
        return not self.fixed and after - self.anchor_round >= self.patience

    def to_dict(self) -> dict[str, Any]:
        """Plain values; an infinite loss (nothing seen yet) is None."""
        return {key: value if math.isfinite(value) else None for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Stopping:
        """The state that `to_dict` wrote."""
        return cls(**{key: math.inf if value is None else value for key, value in values.items()})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Watch:
    """Scores predictions for the validation rows of a fold."""

    fold: Fold
    metric: Metric

    @property
    def stopping_metric(self) -> Metric:
        """The metric that decides when to stop: the user's, or a proper loss where that one is too rough."""
        return (
            self.metric if self.metric.name in _STOPPING else METRICS[_PROPER[self.fold.task.kind]]
        )

    def stopping(self) -> Stopping:
        """The state before the first round; errors of a regression are measured in target scales."""
        unit = self.fold.target.scale if self.fold.task.kind == "regression" else 1.0
        return Stopping(
            rows_patience(len(self.fold.train)), _MIN_DELTA * unit, fixed=self.fold.fixed
        )

    def loss(self, prediction: FloatArray) -> float:
        """What early stopping minimises."""
        return self.stopping_metric.to_loss(self.fold.score(self.stopping_metric, prediction))

    def value(self, prediction: FloatArray, loss: float) -> float:
        """The user's metric, given the loss of the same prediction."""
        if self.stopping_metric is self.metric:
            return self.metric.from_loss(loss)
        return self.fold.score(self.metric, prediction)


@dataclass(frozen=True)
class Leg:
    """A finished leg: the stopping state, the curve, and whether training is over.

    `best_size`, `best_prediction`: the model's trees (per class) and the validation rows'
    predictions at the best round, when that lies in this leg.
    """

    stopping: Stopping
    curve: Curve
    best_size: int
    best_prediction: FloatArray | None
    over: bool


def run_leg(
    rounds: tuple[int, int],
    stopping: Stopping,
    watch: Watch,
    boost: Callable[[int], None],
    current: Callable[[], tuple[int, FloatArray]],
) -> Leg:
    """Train from `rounds[0]` to `rounds[1]`, or less when patience runs out.

    `boost(round)` adds a round; `current()` gives the model's size and its predictions for the
    validation rows, in an array of its own. The size lags behind the rounds when one found nothing
    to split.

    Raises:
        TrainingError: when the model diverges.
    """
    start, to = rounds
    scored = evaluations(start, to)
    scored_set, wanted = frozenset(scored), curve_rounds(scored)
    points: list[tuple[float, float]] = []
    best: tuple[int, FloatArray | None] = (0, None)
    for after in range(start + 1, to + 1):
        boost(after)
        if after not in scored_set:
            continue
        size, prediction = current()
        loss = watch.loss(checked(prediction, after))
        stopping = stopping.observe(after, loss)
        if stopping.best_round == after:
            best = (size, prediction)
        over = stopping.over(after)
        if over or after in wanted:
            points.append((float(after), watch.value(prediction, loss)))
        if over:
            break
    return Leg(stopping, tuple(points), *best, over)


def checked(prediction: FloatArray, after: int) -> FloatArray:
    """The predictions themselves.

    Raises:
        TrainingError: when one is not finite, or so large that its square is not.
    """
    bad = prediction.size - int(np.count_nonzero(np.abs(prediction) < _ABSURD))
    if bad:
        raise TrainingError(
            f"{bad} of {prediction.size} predictions after round {after} are not finite: the model diverged"
        )
    return prediction
