"""What a worker does for a table: train one configuration on every fold and report once."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from hpo.goals import Goals
from hpo.loop import Job
from hpo.trial import Report
from pipelines.files.exchange import Exchange
from pipelines.files.uris import first_line
from pipelines.models import (
    CUDA,
    FAMILIES,
    Changeable,
    CheckpointError,
    Family,
    FamilyOptions,
    Trainable,
    TrainingError,
    check_device,
    family,
    libraries,
    search_model,
    single_family,
    worker_modules,
)
from pipelines.models.legs import Curve
from pipelines.models.libraries import check_installed, cuda_devices
from pipelines.objectives.course import Course, course_of
from pipelines.objectives.ensemble.library import OF_FAMILY
from pipelines.objectives.ensemble.library import save as save_predictions
from pipelines.objectives.jobs import (
    BEST,
    FOLDS,
    PARTS,
    TEST,
    Baseline,
    Part,
    Rebuild,
    Refit,
    TableJob,
    Work,
    models_of,
    trial_label,
)
from pipelines.objectives.scoring.beside import Beside
from pipelines.objectives.scoring.costs import Meter, costs
from pipelines.objectives.scoring.scores import Trained, leg_curve, mean_scores
from pipelines.objectives.stored_legs import StoredLegs
from pipelines.study.options import AUTO
from pipelines.study.workshop import Worker
from pipelines.table.data import Fold, load_folds, load_part
from pipelines.table.folds import EncodedRows
from pipelines.table.scores.named import is_beside, metric_named
from pipelines.table.shares import subset

_WARM = 2  # shares of the rows, or horizons, whose data a worker holds


def table_worker(model: str, device: str = AUTO, *, elsewhere: bool = False) -> Worker:
    """The workers of a table's study, with the libraries of a model.

    Args:
        model: that they train.
        device: on which they train it.
        elsewhere: whether they run on other machines, which may have devices that this one lacks.

    Raises:
        UserError: if one of these libraries is not installed, or there is no such device.
    """
    check_installed(libraries(search_model(model).families))
    if not elsewhere:
        check_device(device, model)
    return Worker(Training, (__name__, *worker_modules(model)))


class Training:
    """Trains what it is given, and exports the models of the best trials that it has seen.

    The seed is the study's own for every trial, so that configurations and not seeds are compared,
    and the same configuration always gives the same model.

    A worker makes one and keeps it. The exchange is read with the first job, so that
    workers can start while the driver still reads the table. Where it is on this machine, the folds
    are memory-mapped, so that workers share their pages.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._part: tuple[int, Fold] | None = None

    def __call__(self, job: TableJob) -> Report:
        """The report of one job.

        Raises:
            Exception: whatever training raises; the trial fails for that reason.
        """
        match job:
            case Baseline(name, whole=False):
                return self._whole(Course(name, {}, (1,), 1), job.label, 1.0)
            case Baseline(name):
                return self._refit(Course(name, {}, (1,), 1), 1.0, job.label)
            case Rebuild(inner):
                label = trial_label(inner.number, inner.to)
                return self._whole(course_of(self.work, inner), label, inner.to, is_trial=True)
            case Refit(inner, best, test_rows):
                course = course_of(self.work, inner)
                return self._refit(course, best, job.label, test_rows=test_rows)
            case Part(inner, index):
                return self._on_part(inner, index)
            case Job():
                return self._leg(job)

    @cached_property
    def work(self) -> Work:
        """What all trainings of the study share."""
        return Work.read(self._exchange)

    @cached_property
    def _scoring(self) -> "_Scoring":
        return _Scoring(self._exchange, self.work)

    @cached_property
    def _folds(self) -> Sequence[Fold]:
        return [_scored(fold, self.work) for fold in load_folds(self._exchange.get(FOLDS))]

    @cached_property
    def _families(self) -> "_Families":
        return _Families(self.work)

    @cached_property
    def _legs(self) -> StoredLegs:
        return StoredLegs(self.work, self._folds, self._exchange.scratch)

    @cached_property
    def _exports(self) -> "_Exports":
        return _Exports(self._exchange, self.work)

    def _whole(
        self, course: Course, label: str, budget: float, *, is_trial: bool = False
    ) -> Report:
        """Train from the start and export the models, and the predictions of a trial."""
        began = Meter.start()
        trained = self._train(course, self._fresh(course))
        self._exports.models(trained, label)
        if is_trial and self.work.predictions:
            self._exports.predictions(trained, label)
        return self._scoring.report(budget, trained, began)

    def _refit(self, course: Course, best: float, label: str, *, test_rows: bool = False) -> Report:
        """Train one model on the rows of all folds, and on the test rows if they are asked for.

        Its report has no loss, because no row is left to validate on. Training ends at the same
        part of its schedule as before: a network sees more steps where its limit of epochs rules.
        """
        began = Meter.start()
        self._families.clear()  # the search's data are not needed beside those of all rows
        more = (EncodedRows.load(self._exchange.get(TEST)),) if test_rows else ()
        fold = self._folds[-1].whole(*more)  # the last fold holds all rows, whatever the split
        first = course.params_to(course.stops[0])
        model = self._families.made(course, fold).start(first, self.work.seed)
        longer = model.horizon / float(np.mean([alone.horizon for alone in self._fresh(course)]))
        to = max(1, round(best * longer))
        for stop in (*(stop for stop in course.stops if stop < best), best):
            _go_on(course, model, stop, min(max(1, round(stop * longer)), to))
        self._exports.models([Trained(fold, model, ())], label)
        return Report(float(to), math.nan, {BEST: float(to)}, began.spent.seconds)

    def _leg(self, job: Job) -> Report:
        """Train a trial from where its last leg ended; it is exported when few were better.

        Of equal trials the driver takes the earlier one, whichever worker trained it.
        """
        began = Meter.start()
        course = course_of(self.work, job)
        models, restarted = self._models(job, course)
        trained = self._train(course, models)
        report = self._scoring.report(job.to, trained, began)
        not_stored = self._legs.save(job, trained)
        not_exported = self._exports.best(job, report.loss, trained)
        return Report(
            job.to,
            report.loss,
            report.metrics,
            began.spent.seconds,
            curve=leg_curve(self.work, course, trained, job) if self._scoring.has_curves else (),
            note="; ".join(filter(None, (restarted, not_stored, not_exported))),
            over=all(part.over for part in trained),
        )

    def _on_part(self, job: Job, index: int) -> Report:
        """Train on one part. The data of one part are held at a time, and none of the search's."""
        began = Meter.start()
        if self._part is None or self._part[0] != index:
            self._families.clear()
            self._part = (index, _scored(load_part(self._exchange.get(PARTS), index), self.work))
        course, fold = course_of(self.work, job), self._part[1]
        first = course.params_to(course.stops[0])
        model = self._families.on(course, fold).start(first, self.work.seed)
        return self._scoring.report(job.to, [_train_on(course, fold, model)], began)

    def _models(self, job: Job, course: Course) -> tuple[list[Trainable], str]:
        """One model for each fold, where the leg starts; or new ones and why."""
        families = [(fold, self._families.on(course, fold)) for fold in self._folds]
        try:
            resumed = self._legs.resume(job, course, families)
        except CheckpointError as error:
            return self._fresh(course), f"{error}: trained again from the start"
        return self._fresh(course) if resumed is None else resumed, ""

    def _fresh(self, course: Course) -> list[Trainable]:
        first, seed = course.params_to(course.stops[0]), self.work.seed
        return [self._families.on(course, fold).start(first, seed) for fold in self._folds]

    def _train(self, course: Course, models: Sequence[Trainable]) -> list[Trained]:
        """Train to the last stop; stops that a model has passed already cost nothing."""
        pairs = zip(self._folds, models, strict=True)
        return [_train_on(course, fold, model) for fold, model in pairs]


class _Scoring:
    """The scores of models on the validation rows, and what their training has cost."""

    def __init__(self, exchange: Exchange, work: Work) -> None:
        self._work = work
        self._metric = metric_named(work.metric)
        self._goals = Goals.from_dict(work.goals) if work.goals else None  # None for the metric
        self._beside = Beside(work.others, self._metric, exchange)

    @property
    def has_curves(self) -> bool:
        """Whether a leg has a curve: curves are of the score alone, so there is none of a sum."""
        return self._goals is None or self._goals.first == self._goals.score

    def report(self, budget: float, trained: Sequence[Trained], began: Meter) -> Report:
        """The report at a budget, with every score that the study measures."""
        work, spent = self._work, began.spent
        others = [metric_named(name) for name in work.others if not is_beside(name)]
        scores = mean_scores(trained, self._metric, others)
        scores |= costs(trained, spent, work.others, work.watts)
        scores |= self._beside.measured(trained)
        goal = self._metric.goal
        if self._goals is not None:
            scores, goal = self._goals.sums.with_values(scores), self._goals.first
        loss = goal.to_loss(scores[goal.name])
        return Report(budget, loss, scores, began.spent.seconds)


class _Exports:
    """What a worker leaves in the exchange: models, and predictions on the validation rows."""

    def __init__(self, exchange: Exchange, work: Work) -> None:
        self._exchange = exchange
        self._work = work
        self._losses: dict[int, tuple[float, str]] = {}  # the best of each trial, and its family

    def best(self, job: Job, loss: float, trained: Sequence[Trained]) -> str:
        """Put the models and the predictions of a trial there if it is among the best so far.

        Returns:
            Why that failed, or "". The trial keeps its score; if it wins, it is trained once more.
        """
        label = trial_label(job.number, job.to)
        family = search_model(self._work.model).resolve(job.params)[0]
        others = [(its, of) for n, (its, of) in self._losses.items() if n != job.number]
        better = sum(other < loss for other, _ in others)
        better_of_family = sum(other < loss for other, of in others if of == family)
        before = self._losses.get(job.number, (math.inf, family))
        self._losses[job.number] = min((loss, family), before)
        try:
            if better < self._work.models:
                self.models(trained, label)
            most = self._work.predictions
            if better < most or better_of_family < min(OF_FAMILY, most):
                self.predictions(trained, label)
        except OSError as error:
            return f"its model was not stored: {first_line(error)}"
        return ""

    def models(self, trained: Sequence[Trained], label: str) -> None:
        """Put the models of all folds there, for the driver."""

        def write(folder: Path) -> None:
            for i, part in enumerate(trained):
                part.model.export(folder / f"member-{i}")

        self._exchange.put(models_of(label), write)

    def predictions(self, trained: Sequence[Trained], label: str) -> None:
        """Put the predictions on the validation rows there, for ensembles."""
        save_predictions(self._exchange, label, [part.prediction for part in trained])


class _Families:
    """The families of a worker on the rows that they train on; the last few are kept."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._kept: dict[str, OrderedDict[tuple[float, int], dict[int, Family]]] = {}

    def on(self, course: Course, fold: Fold) -> Family:
        """The family of a course on the share of a fold's rows that the course uses."""
        kept = self._kept.setdefault(course.name, OrderedDict())
        key = (course.share, course.horizon)
        by_fold = kept.setdefault(key, {})
        kept.move_to_end(key)
        if len(kept) > _WARM:
            kept.popitem(last=False)
        if fold.index not in by_fold:
            by_fold[fold.index] = self.made(course, subset(fold, course.share, self._work.seed))
        return by_fold[fold.index]

    def made(self, course: Course, fold: Fold) -> Family:
        """The family of a course on a fold."""
        make: type[Family] = family(course.name)
        options = FamilyOptions(
            metric_named(self._work.metric),
            self._work.threads,
            course.horizon,
            self._work.fidelity,
            device_of(course.name, self._work.device),
        )
        return make(fold, options)

    def clear(self) -> None:
        """Release all data."""
        self._kept.clear()


def _scored(fold: Fold, work: Work) -> Fold:
    """A fold whose models are scored at their best state, or in a population at their last."""
    return replace(fold, fixed=True) if work.in_population else fold


def _train_on(course: Course, fold: Fold, model: Trainable) -> Trained:
    curve = tuple(point for stop in course.stops for point in _go_on(course, model, stop, stop))
    return Trained(fold, model, curve, course.stops[-1])


def _go_on(course: Course, model: Trainable, stop: float, to: int) -> Curve:
    """Train with the values that a course has on its way to a stop, until the budget `to`."""
    if course.before and to > model.reached:
        if not isinstance(model, Changeable):
            raise TrainingError(f"the values of {course.name} cannot change while it trains")
        model.change(course.params_to(stop))
    return model.train(to)


def device_of(name: str, device: str) -> str:
    """The device that a family is trained on, cpu or cuda.

    Raises:
        TrainingError: if the GPU is asked for, and the family's library cannot use it.
    """
    if device == "cpu" or name not in FAMILIES or not single_family(name).cuda:
        return "cpu"
    if cuda_devices() and family(name).has_cuda():
        return CUDA
    if device == CUDA:
        raise TrainingError(
            f"device={CUDA}: the library of {name} that is installed here cannot use the GPU; "
            "install a build with CUDA, or take device=auto"
        )
    return "cpu"
