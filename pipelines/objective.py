"""What a worker does: train one configuration on every fold and report once.

A worker builds its `Objective` once and keeps it: the folds are read once (memory-mapped, so that workers share the
pages) and each family keeps the data in its library's own form.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from hpo.loop import Job
from hpo.space import Params
from hpo.trial import Report
from pipelines.data import Fold, load_folds
from pipelines.metrics import METRICS, Metric, evaluate
from pipelines.models import Family, Trainable, canonical, family, resolve, rounds

Curve = tuple[tuple[float, float], ...]

WORK_FILE = "work.json"


def folds_folder(folder: Path) -> Path:
    """Where the driver puts the folds."""
    return folder / "folds"


def members_folder(folder: Path, label: str) -> Path:
    """Where the models of a trial (`trial-7`) or a baseline lie, one folder for each fold."""
    return folder / "models" / label


def trial_label(number: int) -> str:
    """What the models of a trial are filed under."""
    return f"trial-{number}"


@dataclass(frozen=True)
class Work:
    """What is trained, by which metric and up to which budget (the study's largest, in the unit of the model)."""

    model: str
    metric: str
    seed: int
    threads: int
    budget: float

    def write(self, folder: Path) -> None:
        """Leave this for the workers, who read it with their first job."""
        (folder / WORK_FILE).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Work":
        """What `write` left."""
        return cls(**json.loads((folder / WORK_FILE).read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Baseline:
    """A job that trains a baseline instead of a trial."""

    name: str


@dataclass(frozen=True)
class Rebuild:
    """A job that trains a trial once more for its model, however good it is."""

    job: Job


@dataclass(frozen=True)
class _Trained:
    fold: Fold
    model: Trainable
    curve: Curve


class Objective:
    """Trains what it is given, and exports the models of each trial that is the best it has seen.

    The seed is the study's own for every trial, so that configurations and not seeds are compared, and the same
    configuration always gives the same model. `folder` is looked into with the first job, so that workers can start
    while the driver still reads the table.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._families: dict[tuple[str, int], Family] = {}
        self._best = float("inf")

    @cached_property
    def work(self) -> Work:
        """What is trained."""
        return Work.read(self._folder)

    @cached_property
    def _metric(self) -> Metric:
        return METRICS[self.work.metric]

    @cached_property
    def _folds(self) -> Sequence[Fold]:
        return load_folds(folds_folder(self._folder))

    def __call__(self, job: Job | Baseline | Rebuild) -> Report:
        """The report of one job.

        Raises:
            Exception: whatever training raises; the trial fails for that reason.
        """
        match job:
            case Baseline(name):
                return self._run(name, {}, 1, 1, label=name, better_than=float("inf"))
            case Rebuild(inner):
                return self._trial(inner, better_than=float("inf"))
            case Job():
                report = self._trial(job, better_than=self._best)
                self._best = min(self._best, report.loss)
                return report

    def _trial(self, job: Job, better_than: float) -> Report:
        name, params = resolve(self.work.model, job.params)
        to, horizon = (rounds(self.work.model, name, budget) for budget in (job.to, self.work.budget))
        report = self._run(name, canonical(name, params), to, horizon, trial_label(job.number), better_than)
        return Report(job.to, report.loss, report.metrics, report.seconds, report.curve)

    def _run(
        self, name: str, params: Params, to: int, horizon: int, label: str, better_than: float
    ) -> Report:
        start = time.monotonic()
        trained = [self._train(name, params, to, horizon, fold) for fold in self._folds]
        metrics = self._metrics(trained)
        loss = self._metric.to_loss(metrics[self._metric.name])
        if loss < better_than:
            for i, part in enumerate(trained):
                part.model.export(members_folder(self._folder, label) / f"member-{i}")
        curve = _mean_curve([part.curve for part in trained])
        return Report(float(to), loss, metrics, time.monotonic() - start, curve)

    def _train(self, name: str, params: Params, to: int, horizon: int, fold: Fold) -> _Trained:
        key = (name, fold.index)
        if key not in self._families:
            self._families[key] = family(name)(fold, self._metric, self.work.threads, horizon=horizon)
        model = self._families[key].start(params, self.work.seed)
        return _Trained(fold, model, model.train(to))

    def _metrics(self, trained: Sequence[_Trained]) -> dict[str, float]:
        """The metrics that every fold defines, averaged over the folds, and the spread of the study's own.

        Raises:
            ValueError: when the study's own metric is not defined on a fold.
        """
        rows = []
        for part in trained:
            fold = part.fold
            y = fold.target.original(fold.y_valid)
            prediction = fold.target.original(part.model.predict(fold.valid))
            own = {self._metric.name: self._metric(y, prediction), "reached": float(part.model.reached)}
            rows.append(evaluate(fold.task.kind, y, prediction) | own)
        defined = [name for name in rows[0] if all(name in row for row in rows)]
        means = {name: float(np.mean([row[name] for row in rows])) for name in defined}
        if len(rows) > 1:
            means[f"{self._metric.name}_std"] = float(
                np.std([row[self._metric.name] for row in rows], ddof=1)
            )
        return means


def _mean_curve(curves: Sequence[Curve]) -> Curve:
    """The mean over the folds at the budgets that all of them have."""
    common = sorted(set.intersection(*(set(dict(curve)) for curve in curves)))
    return tuple((budget, float(np.mean([dict(curve)[budget] for curve in curves]))) for budget in common)
