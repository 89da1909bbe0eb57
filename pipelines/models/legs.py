"""One leg of boosting, from the round reached to the next rung, and early stopping across legs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from hpo.arrays import FloatArray
from pipelines.models.errors import TrainingError
from pipelines.table.data import Fold
from pipelines.table.scores.losses import Loss
from pipelines.table.scores.metrics import Metric
from pipelines.table.scores.named import metric_named

Curve = tuple[tuple[float, float], ...]

CURVE_POINTS = 50
_EVERY_ROUND_UNTIL = 20
_STRIDE = 5
_ROUNDS_OF_A_CALL = 50
_MIN_DELTA = 1e-5
_ABSURD = 1e100

# Metrics that are smooth enough to decide when to stop. For the others a proper loss decides, and
# the user's metric is only reported: thresholds on few rows jump, and single rows dominate relative
# errors.
_STOPPING = ("roc_auc", "roc_auc_ovr", "average_precision", "log_loss", "accuracy", "rmse", "mae")
_PROPER = {"binary": "log_loss", "multiclass": "log_loss", "regression": "rmse"}


@dataclass(frozen=True)
class FamilyOptions:
    """What all trainings of a family on one fold share.

    Attributes:
        metric: The metric of the study.
        threads: The number of threads, at most.
        horizon: The study's largest budget in the unit of the family, at which schedules end; None
            for that of the family's YAML file.
        fidelity: With "scheduled", boosting lowers its learning rate (`RateSchedule`). The other
            fidelities make no difference to the model (`search.FIDELITIES`).
        device: What models are trained on, "cpu" or "cuda", by families that can use a GPU.
    """

    metric: Metric
    threads: int
    horizon: int | None = None
    fidelity: str = "rounds"
    device: str = "cpu"


def leg_seed(seed: int, start: int) -> int:
    """The seed, below 2**31, of the leg that begins after `start` rounds."""
    return int(np.random.SeedSequence([seed, start]).generate_state(1)[0] >> 1)


def grown_ahead(grown: int, to: int) -> int:
    """The round until which one call grows trees, for a library that cannot grow one at a time.

    A quarter of the rounds grown already, but at least 50: each call has costs of its own.
    """
    return min(to, grown + max(_ROUNDS_OF_A_CALL, grown // 4))


def evaluations(start: int, to: int) -> list[int]:
    """The rounds of (start, to] after which the validation rows are scored.

    These are each of the first 20, then every 5th, and the last. Scoring 8,000 rows by AUC costs
    15 % of a round on 31,000 rows; every 5th round, that is 3 %. A best round that is off by two
    changes the score less than the seed does.
    """
    rounds = [r for r in range(start + 1, to) if r <= _EVERY_ROUND_UNTIL or r % _STRIDE == 0]
    return [*rounds, to]


def curve_rounds(rounds: list[int]) -> frozenset[int]:
    """At most 49 of `rounds`, evenly spread: an early stop can add the 50th point of a curve."""
    picks = np.linspace(0, len(rounds) - 1, min(len(rounds), CURVE_POINTS - 1)).round().astype(int)
    return frozenset(rounds[i] for i in picks)


def rows_patience(rows: int) -> int:
    """The rounds without improvement after which a trial stops, for this many training rows.

    100 rounds up to 30,000 rows, then falling to 20. AutoGluon waits 300 rounds on small tables.
    Over 14 LightGBM configurations on each of five tables (471 to 31,000 rows), 100 rounds gave the
    same best scores as 300 in 3 to 31 % less time; 50 rounds gave worse ones.
    """
    return min(100, max(20, round(3_000_000 / max(rows, 1))))


@dataclass(frozen=True)
class Stopping:
    """The state of early stopping, which continues over legs.

    `best_round` is the round of the last improvement, however small. Patience is counted from
    `anchor_round`, the last improvement by more than `min_delta`, so tiny gains do not keep a trial
    alive. With `fixed` nothing is stopped, and the last round is the best.
    """

    patience: int
    min_delta: float
    best: float = math.inf
    best_round: int = 0
    anchor: float = math.inf
    anchor_round: int = 0
    fixed: bool = False

    def observe(self, after: int, loss: float) -> Stopping:
        """The state after a round with this validation loss.

        Raises:
            TrainingError: if the loss is not finite.
        """
        if not math.isfinite(loss):
            raise TrainingError(
                f"the validation loss after round {after} is {loss}: the model diverged"
            )
        state = self
        if self.fixed or loss < self.best:
            state = replace(state, best=loss, best_round=after)
        if loss < self.anchor - self.min_delta:
            state = replace(state, anchor=loss, anchor_round=after)
        return state

    def over(self, after: int) -> bool:
        """Whether patience has run out after the given round."""
        return not self.fixed and after - self.anchor_round >= self.patience

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; an infinite loss (no round yet) becomes None."""
        return {key: value if math.isfinite(value) else None for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Stopping:
        """The state that `to_dict` wrote."""
        found = {key: math.inf if value is None else value for key, value in values.items()}
        return cls(**found)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Watch:
    """Scores predictions for the validation rows of a fold."""

    fold: Fold
    metric: Metric

    @property
    def stopping_metric(self) -> Metric:
        """The metric that decides when to stop: the user's, or a proper loss if it is too rough."""
        if self.metric.name in _STOPPING:
            return self.metric
        loss = self.fold.task.loss
        return metric_named(Loss.parse(loss).metric if loss else _PROPER[self.fold.task.kind])

    def stopping(self) -> Stopping:
        """The state before the first round; in a regression, `min_delta` is in target scales."""
        unit = self.fold.target.scale**self.stopping_metric.power
        return Stopping(
            rows_patience(len(self.fold.train)), _MIN_DELTA * unit, fixed=self.fold.fixed
        )

    def loss(self, prediction: FloatArray) -> float:
        """The loss that early stopping minimises."""
        return self.stopping_metric.goal.to_loss(self.fold.score(self.stopping_metric, prediction))

    def value(self, prediction: FloatArray, loss: float) -> float:
        """The user's metric of a prediction whose loss is known."""
        if self.stopping_metric is self.metric:
            return self.metric.goal.from_loss(loss)
        return self.fold.score(self.metric, prediction)


@dataclass(frozen=True)
class Leg:
    """The result of a leg: the stopping state, the curve, and whether training is over.

    `best_size` and `best_prediction` are the rounds in the model and the validation predictions at
    the best round, if that round is in this leg; else 0 and None.
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
    """Train from `rounds[0]` to `rounds[1]`, or until patience runs out.

    Args:
        rounds: The round reached, and the round to reach.
        stopping: The state of early stopping after `rounds[0]`.
        watch: Scores the validation rows.
        boost: Adds the given round.
        current: The rounds in the model and its validation predictions, in a new array. The model
            has fewer rounds than were trained if a round found nothing to split.

    Raises:
        TrainingError: if the model diverges.
    """
    start, to = rounds
    scored = evaluations(start, to)
    scored_set, shown = frozenset(scored), curve_rounds(scored)
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
        if over or after in shown:
            points.append((float(after), watch.value(prediction, loss)))
        if over:
            break
    return Leg(stopping, tuple(points), *best, over)


def checked(prediction: FloatArray, after: int) -> FloatArray:
    """The same predictions.

    Raises:
        TrainingError: if one is not finite, or so large that its square is not.
    """
    bad = prediction.size - int(np.count_nonzero(np.abs(prediction) < _ABSURD))
    if bad:
        raise TrainingError(
            f"{bad} of {prediction.size} predictions after round {after} are not finite: the model "
            "diverged"
        )
    return prediction
