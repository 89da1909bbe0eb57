"""Ways to make a rung that is a fraction of a training, and their losses on real tables.

`rounds` stops a full training early, `rows` trains on a share of the rows, `scaled` shortens all
schedules to the rung; `courses` lists all of them.
"""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.budgets.extrapolation import extrapolate
from benchmarks.datasets import find_dataset
from benchmarks.tabulated.making import loss_metric
from hpo.arrays import FloatArray
from hpo.space import SearchSpace
from hpo.space.parameters import Params
from pipelines.models import FamilyOptions
from pipelines.models.boosting import RateSchedule
from pipelines.models.catalog import family, settings, single_family
from pipelines.models.errors import TrainingError
from pipelines.models.families import scaled
from pipelines.table.data import Fold
from pipelines.table.scores.metrics import Metric

FULL = {"lightgbm": 405, "xgboost": 405, "mlp": 810}  # budget of a full training, R
DIVISORS = (27, 9, 3)
# Whole tables get one more rung: a share of their rows is still more than a handful.
LARGE_DIVISORS = (81, *DIVISORS)
ROWS = {"lightgbm": 2_000, "xgboost": 2_000, "mlp": 1_000}
SEED = 0
# Power and offset of `RateSchedule`.
SHAPES = {
    "scheduled": (0.5, 0.1),
    "scheduled, steep": (0.5, 0.01),
    "scheduled, steeper": (1.0, 0.05),
}
# With a constant rate, the curve of a network does not depend on the horizon. Averaged weights take
# the place of the decay of the rate.
HORIZON_FREE: Params = {"schedule": "constant", "anneal": False, "ema": True, "ema_decay": 0.99}


@dataclass(frozen=True)
class Course:
    """One training: losses and cumulative CPU seconds `(r,)` at its budgets.

    `points` are pairs (budget, loss) of its learning curve.
    """

    losses: FloatArray
    seconds: FloatArray
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Bench:
    """A model on a table; it keeps one warm trainer for each way of training."""

    model: str
    fold: Fold
    _trainers: dict[tuple[object, ...], Any] = field(default_factory=dict)

    @cached_property
    def metric(self) -> Metric:
        """Log-loss or root mean squared error."""
        return loss_metric(self.fold)

    @property
    def space(self) -> SearchSpace:
        """The default search space of the model on this table."""
        kind, categorical = self.fold.task.kind, bool(self.fold.cardinalities)
        return settings(self.model, kind=kind, has_categorical=categorical).space

    def train(
        self,
        params: Params,
        budgets: Sequence[int],
        *,
        horizon: int | None = None,
        shape: tuple[float, float] | None = None,
        share: float = 1.0,
        seed: int = SEED,
    ) -> Course:
        """Train leg by leg to each of the budgets; losses are nan from where it diverges.

        Args:
            params: the configuration.
            budgets: ascending budgets `(r,)`.
            horizon: the budget at which schedules end, the full one if None.
            shape: power and offset of the schedule of the learning rate; no schedule if None.
            share: the share of the training rows.
            seed: of the training.
        """
        trainer = self._trainer(FULL[self.model] if horizon is None else horizon, shape, share)
        losses, seconds = np.full(len(budgets), np.nan), np.zeros(len(budgets))
        points: list[tuple[float, float]] = []
        start, trial = time.process_time(), trainer.start(params, seed)
        goal = self.metric.goal
        for i, budget in enumerate(budgets):
            try:
                points += [(at, goal.to_loss(value)) for at, value in trial.train(budget)]
                prediction = trial.predict(self.fold.valid)
                losses[i] = goal.to_loss(self.fold.score(self.metric, prediction))
            except TrainingError:
                seconds[i:] = time.process_time() - start
                break
            seconds[i] = time.process_time() - start
        return Course(losses, seconds, tuple(points))

    def _trainer(self, horizon: int, shape: tuple[float, float] | None, share: float) -> Any:
        key = (horizon if self.model == "mlp" or shape else None, shape, share)
        if key not in self._trainers:
            fold = self.fold if share == 1.0 else part_of(self.fold, share)
            fidelity = "rounds" if shape is None else "scheduled"
            trainer = family(self.model)(
                fold, FamilyOptions(self.metric, 1, horizon=horizon, fidelity=fidelity)
            )
            if shape is not None:
                trainer.schedule = RateSchedule(horizon, *shape)
            self._trainers[key] = trainer
        return self._trainers[key]


def part_of(fold: Fold, share: float) -> Fold:
    """The fold with a share of its training rows.

    Larger shares contain the smaller ones, and each has the class proportions of the whole.
    """
    n = len(fold.train)
    order = np.random.default_rng(SEED).permutation(n)
    if fold.task.kind != "regression":
        order = order[np.argsort(_positions(fold.y_train[order]), kind="stable")]
    chosen = np.sort(order[: math.ceil(share * n)])
    return replace(fold, train=fold.train.take(chosen), y_train=fold.y_train[chosen])


def _positions(classes: npt.NDArray[Any]) -> FloatArray:
    """The position `(n,)` of each row within its own class, in (0, 1).

    Rows sorted by it have the classes in proportion in every first part.
    """
    positions = np.empty(len(classes))
    for level in np.unique(classes):
        rows = np.flatnonzero(classes == level)
        positions[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    return positions


def measure(model: str, table: str, datasets: Path, configurations: int) -> dict[str, Any]:
    """Train random configurations in all ways on one table.

    Each way has losses and seconds `(n, r)` at the rungs; a way whose full training differs from
    the plain one has the full budget as one more column. `again` are the final losses `(n,)` of
    plain training with another seed.
    """
    bench, full = Bench(model, find_dataset(datasets, table).fold(ROWS[model])), FULL[model]
    drawn = _drawn(bench, configurations)
    again = [float(bench.train(params, [full], seed=SEED + 1).losses[0]) for params in drawn]
    return {
        **_about(bench, table),
        "again": again,
        "ways": _collected(courses(bench, params) for params in drawn),
    }


def measure_large(model: str, table: str, datasets: Path, configurations: int) -> dict[str, Any]:
    """Train random configurations on all rows of a table, by rounds and by rows only.

    Losses and seconds are `(n, r)` at the rungs, and for rounds also at the full budget.
    """
    bench = Bench(model, find_dataset(datasets, table).fold())
    drawn = _drawn(bench, configurations)
    return {
        **_about(bench, table),
        "ways": _collected(_large_courses(bench, params) for params in drawn),
    }


def _drawn(bench: Bench, configurations: int) -> list[Params]:
    rngs = [np.random.default_rng([SEED, i]) for i in range(configurations)]
    return [bench.space.sample(rng) for rng in rngs]


def _about(bench: Bench, table: str) -> dict[str, Any]:
    kind, rows = bench.fold.task.kind, len(bench.fold.train)
    return {"model": bench.model, "table": table, "kind": kind, "rows": rows}


def _collected(
    configurations: Iterable[Iterable[tuple[str, Course]]],
) -> dict[str, dict[str, list[list[float]]]]:
    """Losses and seconds by way, one row per configuration."""
    ways: dict[str, dict[str, list[list[float]]]] = {}
    for configuration in configurations:
        for way, course in configuration:
            rows = ways.setdefault(way, {"losses": [], "seconds": []})
            rows["losses"].append(course.losses.tolist())
            rows["seconds"].append(course.seconds.tolist())
    return ways


def courses(bench: Bench, params: Params) -> Iterator[tuple[str, Course]]:
    """The course of one configuration in each way of training."""
    full = FULL[bench.model]
    rungs = [full // divisor for divisor in DIVISORS]
    plain = bench.train(params, [*rungs, full])
    yield "rounds", plain
    yield "extrapolated", replace(plain, losses=_extrapolated(plain, rungs, full))
    yield "rows", _joined(bench.train(params, [full], share=1 / divisor) for divisor in DIVISORS)
    own = _network_courses if bench.model == "mlp" else _boosting_courses
    yield from own(bench, params, rungs, full)


def _network_courses(
    bench: Bench, params: Params, rungs: Sequence[int], full: int
) -> Iterator[tuple[str, Course]]:
    larger = [_faster(params, full / rung) for rung in rungs]
    yield "scaled", _joined(bench.train(params, [rung], horizon=rung) for rung in rungs)
    yield (
        "scaled, larger rate",
        _joined(
            bench.train(faster, [rung], horizon=rung)
            for faster, rung in zip(larger, rungs, strict=True)
        ),
    )
    yield "constant rate", bench.train(_horizon_free(params), [*rungs, full])


def _boosting_courses(
    bench: Bench, params: Params, rungs: Sequence[int], full: int
) -> Iterator[tuple[str, Course]]:
    yield (
        "scaled",
        _joined(
            bench.train(scaled(single_family(bench.model), params, rung / full), [rung])
            for rung in rungs
        ),
    )
    for way, shape in SHAPES.items():
        yield way, bench.train(params, [*rungs, full], shape=shape)


def _large_courses(bench: Bench, params: Params) -> Iterator[tuple[str, Course]]:
    full = FULL[bench.model]
    yield "rounds", bench.train(params, [*(full // divisor for divisor in LARGE_DIVISORS), full])
    shares = [1 / divisor for divisor in LARGE_DIVISORS]
    yield "rows", _joined(bench.train(params, [full], share=share) for share in shares)


def _faster(params: Params, divisor: float) -> Params:
    rates = ("learning_rate", "sgd_learning_rate")
    return {n: float(v) * math.sqrt(divisor) if n in rates else v for n, v in params.items()}


def _horizon_free(params: Params) -> Params:
    dropped = ("schedule", "drops", "drop_factor")
    kept = {name: value for name, value in params.items() if name not in dropped}
    return {"warmup": 0.0, **kept, **HORIZON_FREE}


def _extrapolated(plain: Course, rungs: Sequence[int], full: int) -> FloatArray:
    known = [[point for point in plain.points if point[0] <= rung] for rung in rungs]
    found = [extrapolate(points, full) for points in known]
    return np.array([*found, plain.losses[-1]])


def _joined(parts: Iterable[Course]) -> Course:
    """Independent trainings, one per rung, as one course."""
    found = list(parts)
    return Course(
        np.concatenate([part.losses for part in found]),
        np.concatenate([part.seconds for part in found]),
        (),
    )
