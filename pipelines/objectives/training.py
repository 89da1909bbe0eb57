"""What a worker does for a table: train one configuration on every fold and report once.

A worker builds its `Training` once and keeps it: the folds are read once (memory-mapped where the
exchange is on this machine, so that workers share the pages) and each family keeps the data in its
library's own form.

What a smaller budget means is the study's fidelity (`pipelines.models.search.FIDELITIES`). Where a
leg goes on from an earlier one, the trial stops at every rung on its way, so that the model is the
same whether it was taken there leg by leg, at once, or, when a checkpoint is lost, once more from
the start.
"""

import hashlib
import json
import math
import tempfile
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hpo.loop import Job
from hpo.space import Params
from hpo.trial import Report
from pipelines.files.checkpoints import Checkpoints
from pipelines.files.exchange import Exchange
from pipelines.models import (
    CheckpointError,
    Family,
    Trainable,
    family,
    libraries,
    search_model,
    settings,
    single_family,
    worker_modules,
)
from pipelines.models.legs import CURVE_POINTS
from pipelines.models.libraries import installed_versions
from pipelines.study.workshop import Worker
from pipelines.table.data import Fold, load_folds, load_part
from pipelines.table.metrics import METRICS, Metric, evaluate
from pipelines.table.shares import subset

Curve = tuple[tuple[float, float], ...]

# Names in the exchange between driver and workers.
FOLDS, PARTS, WORK = "folds", "parts", "work"
BEST = "best_iteration"  # the metric that says after how many rounds or steps a model was best
CONTINUED = ("rounds", "scheduled")

_WORK_FILE, _LEG_FILE = "work.json", "leg.json"
_WARM = 2  # shares of the rows, or horizons, that a worker keeps the data of


def models_of(label: str) -> str:
    """The name of the models of a trial or a baseline, one folder for each fold."""
    return f"models/{label}"


def trial_label(number: int, budget: float) -> str:
    """The label of the models of a trial at a budget."""
    return f"trial-{number}-at-{budget:g}"


def refit_label(number: int) -> str:
    """The label of the model that was trained on all rows but the test rows."""
    return f"trial-{number}-refit"


@dataclass(frozen=True)
class Work:
    """What is trained, by which metric, up to which budgets, and where models wait between two legs.

    `rungs` are the budgets of the study in the plan's unit, ascending; the last one is the largest.
    `fidelity` says what a smaller one means. `checkpoints` is a URI for this study alone; without
    one a promoted trial is trained again from the start.
    """

    model: str
    metric: str
    seed: int
    threads: int
    rungs: tuple[float, ...]
    fidelity: str = "rounds"
    checkpoints: str | None = None

    def write(self, exchange: Exchange) -> None:
        """Put this into the exchange, from which workers read it with their first job."""
        text = json.dumps(asdict(self))
        exchange.put(WORK, lambda folder: (folder / _WORK_FILE).write_text(text, encoding="utf-8"))

    @classmethod
    def read(cls, exchange: Exchange) -> "Work":
        """What `write` put there."""
        text = (exchange.get(WORK) / _WORK_FILE).read_text(encoding="utf-8")
        values = json.loads(text)
        return cls(**{**values, "rungs": tuple(values["rungs"])})


@dataclass(frozen=True)
class Baseline:
    """A job that trains a baseline instead of a trial."""

    name: str


@dataclass(frozen=True)
class Rebuild:
    """A job that trains a trial once more for its model, however good it is."""

    job: Job


@dataclass(frozen=True)
class Refit:
    """A job that trains a trial's configuration on all rows but the test rows, as long as was best on its own.

    `best` is the trial's metric of that name.
    """

    job: Job
    best: float


@dataclass(frozen=True)
class Part:
    """A job that trains a configuration on one part of the rows divided anew, for its score alone."""

    job: Job
    index: int


@dataclass(frozen=True)
class _Course:
    """How a model is trained: a family on a share of the rows, from stop to stop in the unit of the family."""

    name: str
    params: Params
    stops: tuple[int, ...]
    horizon: int
    share: float = 1.0


@dataclass(frozen=True)
class _Trained:
    fold: Fold
    model: Trainable
    curve: Curve
    to: int = 0

    @property
    def over(self) -> bool:
        """Whether the training came to its end before the last stop, `to`: the curve does not get there."""
        return self.model.stopped and (not self.curve or self.curve[-1][0] < self.to)


class Training:
    """Trains what it is given, and exports the models of each trial that is the best it has seen.

    The seed is the study's own for every trial, so that configurations and not seeds are compared,
    and the same configuration always gives the same model. The exchange at `uri` is read with the
    first job, so that workers can start while the driver still reads the table.
    """

    def __init__(self, uri: str) -> None:
        self._exchange = Exchange(uri)
        self._families: dict[str, OrderedDict[tuple[float, int], dict[int, Family]]] = {}
        self._best = float("inf")
        self._part: tuple[int, Fold] | None = None

    @cached_property
    def work(self) -> Work:
        """What is trained."""
        return Work.read(self._exchange)

    @cached_property
    def _metric(self) -> Metric:
        return METRICS[self.work.metric]

    @cached_property
    def _folds(self) -> Sequence[Fold]:
        return load_folds(self._exchange.get(FOLDS))

    @cached_property
    def _checkpoints(self) -> Checkpoints | None:
        """Where legs are continued from; None where none is."""
        if self.work.fidelity not in CONTINUED or self.work.checkpoints is None:
            return None
        return Checkpoints(self.work.checkpoints, self._exchange.scratch)

    def __call__(self, job: Job | Baseline | Rebuild | Refit | Part) -> Report:
        """The report of one job.

        Raises:
            Exception: whatever training raises; the trial fails for that reason.
        """
        match job:
            case Baseline(name):
                return self._baseline(name)
            case Rebuild(inner):
                return self._rebuild(inner)
            case Refit(inner, best):
                return self._refit(inner, best)
            case Part(inner, index):
                return self._on_part(inner, index)
            case Job():
                return self._leg(job)

    def _baseline(self, name: str) -> Report:
        began = time.monotonic()
        course = _Course(name, {}, (1,), 1)
        trained = self._train(course, self._fresh(course))
        self._export(trained, name)
        return self._report(1.0, trained, began)

    def _rebuild(self, job: Job) -> Report:
        began = time.monotonic()
        course = self._course(job)
        trained = self._train(course, self._fresh(course))
        self._export(trained, trial_label(job.number, job.to))
        return self._report(job.to, trained, began)

    def _refit(self, job: Job, best: float) -> Report:
        """One model, whatever the number of folds; its report has no loss, since no row is left to validate on.

        It ends at the same part of its schedule: a network sees more steps when the limit of epochs
        rules, not else.
        """
        began = time.monotonic()
        course = self._course(job)
        fold = self._folds[-1].whole()  # the last one holds all rows, whatever the split
        make = family(course.name)
        owner = make(
            fold,
            self._metric,
            self.work.threads,
            horizon=course.horizon,
            fidelity=self.work.fidelity,
        )
        model = owner.start(course.params, self.work.seed)
        horizons = [alone.horizon for alone in self._fresh(course)]
        to = max(1, round(best * model.horizon / float(np.mean(horizons))))
        for stop in (*(stop for stop in course.stops if stop < to), to):
            model.train(stop)
        self._export([_Trained(fold, model, ())], refit_label(job.number))
        return Report(job.to, math.nan, {BEST: float(to)}, time.monotonic() - began)

    def _leg(self, job: Job) -> Report:
        began = time.monotonic()
        course = self._course(job)
        models, missed = self._models(job, course)
        trained = self._train(course, models)
        report = self._report(job.to, trained, began)
        curve = self._curve(job, course, trained)
        unkept = self._keep(job, trained)
        if (
            report.loss <= self._best
        ):  # of equals the driver takes the earlier one, whoever trained it
            self._export(trained, trial_label(job.number, job.to))
        self._best = min(self._best, report.loss)
        seconds, note = time.monotonic() - began, "; ".join(filter(None, (missed, unkept)))
        over = all(part.over for part in trained)
        return Report(report.budget, report.loss, report.metrics, seconds, curve, note, over)

    def _on_part(self, job: Job, index: int) -> Report:
        """The report of a training on a part; the data of one part are held at a time, and none of the search's."""
        began = time.monotonic()
        if self._part is None or self._part[0] != index:
            self._families.clear()
            self._part = (index, load_part(self._exchange.get(PARTS), index))
        course, fold = self._course(job), self._part[1]
        trained = self._train_on(
            course, fold, self._family(course, fold).start(course.params, self.work.seed)
        )
        return self._report(job.to, [trained], began)

    def _course(self, job: Job) -> _Course:
        """How the trial of a job is trained up to the job's budget."""
        work = self.work
        model = search_model(work.model)
        name, params = model.resolve(job.params)
        chosen = single_family(name)
        horizon = model.rounds(name, work.rungs[-1])
        match work.fidelity:
            case "rounds" | "scheduled":
                passed = [rung for rung in work.rungs if rung < job.to]
                stops = tuple(model.rounds(name, budget) for budget in (*passed, job.to))
                return _Course(name, chosen.canonical(params), stops, horizon)
            case "scaled":
                to = model.rounds(name, job.to)
                end = to if chosen.rate is None else horizon
                return _Course(name, chosen.scaled(params, to / horizon), (to,), end)
            case "rows":
                full = settings(name).budget.max
                return _Course(name, chosen.canonical(params), (full,), full, share=job.to / 100)
            case unknown:
                raise ValueError(
                    f"unknown fidelity {unknown!r}; it is one of rounds, scheduled, scaled and rows"
                )

    def _family(self, course: _Course, fold: Fold) -> Family:
        """The family on the rows of a fold that the course uses, kept while few others are asked for."""
        kept = self._families.setdefault(course.name, OrderedDict())
        key = (course.share, course.horizon)
        families = kept.setdefault(key, {})
        kept.move_to_end(key)
        if len(kept) > _WARM:
            kept.popitem(last=False)
        if fold.index not in families:
            rows = subset(fold, course.share, self.work.seed)
            families[fold.index] = family(course.name)(
                rows,
                self._metric,
                self.work.threads,
                horizon=course.horizon,
                fidelity=self.work.fidelity,
            )
        return families[fold.index]

    def _fresh(self, course: _Course) -> list[Trainable]:
        seed = self.work.seed
        return [self._family(course, fold).start(course.params, seed) for fold in self._folds]

    def _train(self, course: _Course, models: Sequence[Trainable]) -> list[_Trained]:
        """Every model at the last stop; stops that a model has passed already cost nothing."""
        return [
            self._train_on(course, fold, model)
            for fold, model in zip(self._folds, models, strict=True)
        ]

    def _train_on(self, course: _Course, fold: Fold, model: Trainable) -> _Trained:
        curve = tuple(point for stop in course.stops for point in model.train(stop))
        return _Trained(fold, model, curve, course.stops[-1])

    def _models(self, job: Job, course: _Course) -> tuple[list[Trainable], str]:
        """One model for each fold, where the leg starts; or new ones and why."""
        if job.start == 0 or self._checkpoints is None:
            return self._fresh(course), ""
        try:
            return self._resumed(job, course, self._checkpoints), ""
        except CheckpointError as error:
            return self._fresh(course), f"{error}: trained again from the start"

    def _resumed(self, job: Job, course: _Course, checkpoints: Checkpoints) -> list[Trainable]:
        shown = f"the checkpoint of trial {job.number} at {job.start:g}"
        with tempfile.TemporaryDirectory(prefix="resume-", dir=self._exchange.scratch) as scratch:
            folder = checkpoints.load(job.number, job.start, Path(scratch))
            if _read_leg(folder) != self._identity(job.start):
                raise CheckpointError(
                    f"{shown} is of another study or another version of a library"
                )
            try:
                return [
                    self._family(course, fold).resume(
                        course.params, self.work.seed, _part(folder, fold)
                    )
                    for fold in self._folds
                ]
            except CheckpointError as error:
                raise CheckpointError(f"{shown} is of another trial ({error})") from error

    def _keep(self, job: Job, trained: Sequence[_Trained]) -> str:
        """Leave a checkpoint for the next leg, before the report tells anybody to start it; or why there is none."""
        if self._checkpoints is None or job.to >= self.work.rungs[-1]:
            return ""

        def write(folder: Path) -> None:
            (folder / _LEG_FILE).write_text(json.dumps(self._identity(job.to)), encoding="utf-8")
            for part in trained:
                part.model.save(_part(folder, part.fold))

        try:
            self._checkpoints.save(job.number, job.to, write)
        except CheckpointError as error:
            return f"{error}: if promoted, the trial will be trained again from the start"
        return ""

    def _identity(self, budget: float) -> dict[str, Any]:
        """What a checkpoint must agree with beside what its family checks, as JSON gives it back."""
        own = {key: value for key, value in asdict(self.work).items() if key != "checkpoints"}
        return {**own, "rungs": list(self.work.rungs), "budget": budget, **self._origin}

    @cached_property
    def _origin(self) -> dict[str, Any]:
        """The folds (by their targets) and the libraries."""
        targets = hashlib.sha256()
        for fold in self._folds:
            for y in (fold.y_train, fold.y_valid):
                targets.update(np.ascontiguousarray(y).tobytes())
        return {
            "targets": targets.hexdigest(),
            "versions": installed_versions(libraries(search_model(self.work.model).families)),
        }

    def _export(self, trained: Sequence[_Trained], label: str) -> None:
        """Put the models of all folds into the exchange, for the driver."""

        def write(folder: Path) -> None:
            for i, part in enumerate(trained):
                part.model.export(folder / f"member-{i}")

        self._exchange.put(models_of(label), write)

    def _curve(self, job: Job, course: _Course, trained: Sequence[_Trained]) -> Curve:
        """The curve of this leg over the plan's budgets; none where a rung is a training of its own.

        A leg that was trained again from the start has the points of earlier legs once more; they
        are left out.
        """
        if self.work.fidelity not in CONTINUED:
            return ()
        model = search_model(self.work.model)
        unit = model.budget_per_round(self.work.rungs[-1], course.horizon)
        points = dict(_mean_curve([part.curve for part in trained]))
        scaled_points = {float(round(budget * unit)): value for budget, value in points.items()}
        return _thinned(
            tuple((b, value) for b, value in scaled_points.items() if job.start < b <= job.to)
        )

    def _report(self, budget: float, trained: Sequence[_Trained], began: float) -> Report:
        metrics = self._metrics(trained)
        loss = self._metric.to_loss(metrics[self._metric.name])
        return Report(budget, loss, metrics, time.monotonic() - began)

    def _metrics(self, trained: Sequence[_Trained]) -> dict[str, float]:
        """The metrics that every fold defines, averaged over the folds; the study's own on each, and its spread.

        Raises:
            ValueError: when the study's own metric is not defined on a fold.
        """
        rows = []
        for part in trained:
            fold = part.fold
            y = fold.target.original(fold.y_valid)
            prediction = fold.target.original(part.model.predict(fold.valid))
            own = {
                self._metric.name: self._metric(y, prediction),
                "reached": float(part.model.reached),
                BEST: float(part.model.best),
            }
            rows.append(evaluate(fold.task.kind, y, prediction) | own)
        defined = [name for name in rows[0] if all(name in row for row in rows)]
        means = {name: float(np.mean([row[name] for row in rows])) for name in defined}
        if len(rows) > 1:
            own_values = [row[self._metric.name] for row in rows]
            means[f"{self._metric.name}_std"] = float(np.std(own_values, ddof=1))
            means |= {f"{self._metric.name}_fold_{i}": value for i, value in enumerate(own_values)}
        return means


def table_worker(model: str) -> Worker:
    """The workers of a table's study, with the libraries of a model."""
    return Worker(Training, (__name__, *worker_modules(model)))


def _mean_curve(curves: Sequence[Curve]) -> Curve:
    """The mean over the folds at the budgets that all of them have."""
    common = sorted(set.intersection(*(set(dict(curve)) for curve in curves)))
    return tuple(
        (budget, float(np.mean([dict(curve)[budget] for curve in curves]))) for budget in common
    )


def _thinned(points: Curve) -> Curve:
    """At most 50 of the points of several legs, evenly spread, the last among them."""
    if len(points) <= CURVE_POINTS:
        return points
    keep = np.linspace(0, len(points) - 1, CURVE_POINTS).round().astype(int)
    return tuple(points[i] for i in keep)


def _part(folder: Path, fold: Fold) -> Path:
    return folder / f"fold-{fold.index}"


def _read_leg(folder: Path) -> Any:
    """What the checkpoint says of its leg; None when it says nothing."""
    try:
        return json.loads((folder / _LEG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
