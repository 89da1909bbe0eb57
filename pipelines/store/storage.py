"""A study in MLflow: the parent run is the study, and each nested run is a trial.

`docs/mlflow-schema.md` describes the tags of each run.
"""

import math
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

from mlflow import MlflowClient

from hpo.goals import Goals
from hpo.trial import Trial
from pipelines.store import schema
from pipelines.store.annotations import Annotations, now
from pipelines.store.delivery.journal import Journal, sweep_journals
from pipelines.store.parents import Header, check_header, end_as_failed, parent_run, write_study
from pipelines.store.records import (
    Point,
    Record,
    corrected,
    ended,
    grant,
    left,
    outcome,
    without_curves,
)
from pipelines.store.studies import find_study, read_header
from pipelines.store.study_run import Connection, StudyRun, journal_path
from pipelines.store.summaries import summary_of, summary_tags
from pipelines.store.tracking import as_study_error, connect
from warmstart.families import is_code, is_joint, short_name

_HERE = Connection()


class MlflowStorage:
    """The trials of one study in MLflow. Made by `create` or `open`, used by one driver at a time.

    Attributes:
        header: the settings that the study was created with, as JSON values.
        notes: on the study, beside the trials.
    """

    def __init__(self, run: StudyRun, header: Header) -> None:
        self.header = dict(header)
        self.notes = Annotations(run, self.header)
        self._run = run
        self._trials = _Trials(run, header)

    @classmethod
    def create(
        cls,
        header: Header,
        *,
        run_id: str | None = None,
        parent: str | None = None,
        experiment: str | None = None,
        name: str | None = None,
        artifacts: Mapping[str, str] = MappingProxyType({}),
        connection: Connection = _HERE,
    ) -> "MlflowStorage":
        """Create a study.

        Args:
            header: JSON values; `space`, `metric` and `direction` ("minimize" or "maximize") are
                needed, `data` is a mapping with `uri` and `digest`.
            run_id: the run to use, such as that of `mlflow run`; None creates a run.
            parent: the run that this study is a part of. The study is created in its experiment.
            experiment: its name; created when missing. None uses MLFLOW_EXPERIMENT_NAME or
                MLFLOW_EXPERIMENT_ID, or else the default experiment.
            name: of the run.
            artifacts: texts to store with the study, by file name.
            connection: how the store is reached.

        Raises:
            StudyError: when the store cannot be used, or the run is deleted or already a study.
        """
        client = connect(connection.tracking_uri)
        check_header(header)
        sweep_journals(journal_path("").parent)
        with as_study_error("the study cannot be created"):
            run = parent_run(client, run_id, experiment, name, header, parent)
            with ExitStack() as on_failure:
                if run_id is None:  # a run of `mlflow run` is ended by its own command
                    on_failure.push(partial(end_as_failed, client, run.info.run_id))
                journal = Journal(journal_path(run.info.run_id))
                on_failure.callback(journal.close)
                write_study(client, run, header, artifacts)
                run = client.get_run(run.info.run_id)
                storage = cls(StudyRun(client, run, journal, connection), header)
                on_failure.pop_all()
                return storage

    @classmethod
    def open(cls, run_id: str, *, connection: Connection = _HERE) -> "MlflowStorage":
        """Open an existing study, and write results that an earlier driver could not write.

        Raises:
            StudyError: when there is no such study, it has another schema version, or another
                driver runs it.
        """
        client = connect(connection.tracking_uri)
        with as_study_error(f"study {run_id} cannot be opened"), ExitStack() as on_failure:
            run = find_study(client, run_id)
            header = read_header(client, run_id)
            journal = Journal(journal_path(run.info.run_id))
            on_failure.callback(journal.close)
            storage = cls(StudyRun(client, run, journal, connection), header)
            on_failure.pop_all()
            on_failure.callback(storage.close, schema.KILLED, timeout=0.0)
            client.update_run(run_id, status=schema.RUNNING)
            if schema.FAILURE in storage._run.tags:  # of an earlier session
                client.delete_tag(run_id, schema.FAILURE)
            storage._trials.correct()
            on_failure.pop_all()
            return storage

    @property
    def run_id(self) -> str:
        """The id of the parent run, which identifies the study."""
        return self._run.run_id

    @property
    def experiment_id(self) -> str:
        """The id of the experiment that the study is in."""
        return self._run.experiment_id

    @property
    def client(self) -> MlflowClient:
        """The client that this study is written with."""
        return self._run.client

    @property
    def tracking_uri(self) -> str:
        """The tracking store of this study."""
        return str(self._run.client.tracking_uri)

    def verify(self) -> None:
        """Check that no other driver has taken the study, before something is written directly.

        Raises:
            TakenError: when another driver has.
            StudyError: when MLflow does not answer.
        """
        with as_study_error(f"study {self.run_id} cannot be written"):
            self._run.verify()

    @property
    def waiting(self) -> int:
        """How many runs have data that is not in MLflow yet."""
        return self._run.waiting

    def load(self) -> list[Trial]:
        """All trials by number. Trials whose leg was lost with a driver are unfinished."""
        return self._trials.all()

    def add(self, trial: Trial) -> None:
        """Store a new trial.

        Raises:
            ParameterError: for a value that MLflow cannot store.
            StudyError: when writing failed for good.
        """
        self._trials.add(trial)

    def update(self, trial: Trial) -> None:
        """Store the outcome of a trial's leg, or the larger budget that it was granted.

        Raises:
            StudyError: when writing failed for good.
        """
        self._trials.update(trial)

    def trial_run_id(self, number: int, timeout: float | None = 60.0) -> str:
        """The id of a trial's run; waits until it is written.

        Raises:
            StudyError: when it is not written after `timeout` seconds.
        """
        return self._run.run_id_of(schema.trial_key(number), timeout)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all data is in MLflow; False after `timeout` seconds.

        Raises:
            StudyError: when writing failed for good.
        """
        return self._run.flush(timeout)

    def close(
        self,
        status: str = schema.FINISHED,
        reason: str | None = None,
        *,
        complete: bool = False,
        timeout: float | None = 60.0,
    ) -> bool:
        """End the study's run and release the study; False when results still wait on disk.

        The study stores its summary, from which later studies learn (`pipelines.store.summaries`).
        Trials whose leg is still running end as KILLED; the leg runs again when the study is
        resumed. Of a complete study no trial is paused any more.

        Raises:
            StudyError: when writing failed for good; the study is released anyway.
        """
        try:
            self._trials.leave(complete)
            tags = summary_tags(summary_of(self.header, self.run_id, self.load()))
            if reason:
                tags[schema.FAILURE] = schema.cut(reason)
            self._run.put(Record(schema.STUDY_KEY, tags=tags, status=status, end=now()))
        finally:
            delivered = self._run.close(timeout, self._trials.end_of)
        return delivered


class _Trials:
    """The trials of a study, and the records that MLflow gets of them."""

    def __init__(self, run: StudyRun, header: Header) -> None:
        self._run = run
        self._header = header
        self._by_number = dict(run.found.trials)
        self._goals = Goals.from_dict(header)
        self._course = _Course.of(self._goals, self._by_number.values())
        rungs = header.get("rungs")
        self._full = float(rungs[-1]) if rungs else None

    def all(self) -> list[Trial]:
        """All trials by number, without their curves."""
        return [without_curves(self._by_number[number]) for number in sorted(self._by_number)]

    def correct(self) -> None:
        """Give the runs of trials the states of their trials, where they differ."""
        at = now()
        for number, state in self._run.found.states.items():
            record = corrected(self._by_number[number], state, self._full, at)
            if record is not None:
                self._run.put(record)

    def add(self, trial: Trial) -> None:
        """Add a trial, with its outcome if it has one already."""
        name = _run_name(self._header, trial)
        self._run.put(grant(trial, name, self._run.common, now()))
        self._by_number[trial.number] = replace(trial, reports=(), failure=None)
        if trial.reports or trial.failure is not None:
            self.update(trial)

    def update(self, trial: Trial) -> None:
        """Take in the outcome of a leg, or a larger budget."""
        before = self._by_number.get(trial.number)
        known = len(before.reports) if before else 0
        at = now()
        record = outcome(trial, self._goals.first, known, at, self._full)
        self._by_number[trial.number] = trial  # first: if the journal is full, MLflow gets it yet
        self._run.put(record)
        if trial.finished and not (before and before.finished):
            points = self._course.after(trial, at)
            if points:
                self._run.put(Record(schema.STUDY_KEY, metrics=points))

    def leave(self, complete: bool) -> None:
        """End the runs of trials that are running or, in a complete study, paused."""
        for trial in self._by_number.values():
            record = left(trial, complete, self._full, now())
            if record is not None:
                self._run.put(record)

    def end_of(self, key: str) -> Record | None:
        """The record that ends a run."""
        for trial in self._by_number.values():
            if schema.trial_key(trial.number) == key:
                return ended(trial, now())
        return Record(key, status=schema.FINISHED, end=now())  # a baseline


@dataclass
class _Course:
    """The best score so far, a metric of the study whose step counts finished legs.

    A trial that breaks the limits counts only until one keeps them.
    """

    goals: Goals
    best: tuple[float, float]  # the excess over the limits, and the loss of the first goal
    legs: int

    @classmethod
    def of(cls, goals: Goals, trials: Collection[Trial]) -> "_Course":
        """The course after some trials."""
        best = min((_reached(goals, trial) for trial in trials), default=(math.inf, math.inf))
        return cls(goals, best, sum(len(t.reports) + bool(t.failure) for t in trials))

    def after(self, trial: Trial, at: int) -> tuple[Point, ...]:
        """The next point, now that a leg of a trial has finished; none before the first score."""
        self.best = min(self.best, _reached(self.goals, trial))
        self.legs += 1
        loss, goal = self.best[1], self.goals.first
        if not math.isfinite(loss):
            return ()
        return ((f"best_{goal.name}", goal.from_loss(loss), at, self.legs),)


def _reached(goals: Goals, trial: Trial) -> tuple[float, float]:
    """The excess over the limits and the loss of a trial; infinite without a result."""
    if trial.best is None:
        return math.inf, math.inf
    excess, loss, *_ = goals.values(trial.best)
    return excess, loss


def _run_name(header: Header, trial: Trial) -> str:
    """The name of a trial's run: its model and its number."""
    model = short_name(str(header.get("model", "trial")))
    if is_code(model):
        model = model.rpartition(":")[2]
    if is_joint(model):
        model = str(trial.params.get("model", model))
    return f"{model}-{trial.number:03d}"
