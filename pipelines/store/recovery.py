"""Recovery of a study: its runs in MLflow, and results that an earlier driver did not write."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from hpo.errors import StudyError
from hpo.trial import Trial
from pipelines.store import schema
from pipelines.store.delivery.bulk import BulkWriter
from pipelines.store.delivery.journal import Journal
from pipelines.store.delivery.outbox import Pace, Unreachable
from pipelines.store.delivery.texts import Texts
from pipelines.store.delivery.writers import Writer
from pipelines.store.lease import Lease
from pipelines.store.records import Record, State, decode_trial, is_behind
from pipelines.store.schema import Confirmed
from pipelines.store.tracking import children, first_line, search

logger = logging.getLogger(__name__)

StateOf = Callable[[str], Record | None]


@dataclass
class Found:
    """The nested runs of a study.

    Attributes:
        trials: by number.
        confirmed: their scores on repeated folds, by number.
        run_ids: of trials and baselines, by the key of their record.
        states: of the runs of trials, by number.
        orphans: ids of runs that do not count: those without a mark, and second runs of a trial,
            which a driver made that had lost the study.
    """

    trials: dict[int, Trial] = field(default_factory=dict)
    confirmed: dict[int, Confirmed] = field(default_factory=dict)
    run_ids: dict[str, str] = field(default_factory=dict)
    states: dict[int, State] = field(default_factory=dict)
    orphans: list[str] = field(default_factory=list)


def read_runs(
    client: MlflowClient, experiment_id: str, run_id: str, known: Mapping[str, str]
) -> Found:
    """Read the nested runs of a study.

    Args:
        client: of the store.
        experiment_id: of the study.
        run_id: of the study.
        known: the runs that this driver writes to, by the key of their record.
    """
    found = Found()
    runs: dict[int, list[tuple[Trial, Run]]] = {}
    for run in children(client, experiment_id, run_id):
        trial = decode_trial(run.data.tags, run.data.params)
        if trial is None:
            _add_other(found, run)
        else:
            runs.setdefault(trial.number, []).append((trial, run))
    for number, same in runs.items():
        mine = known.get(schema.trial_key(number))
        (trial, run), *others = sorted(same, key=lambda pair: _precedence(pair[0], pair[1], mine))
        _add_trial(found, trial, run)
        found.orphans += [str(other.info.run_id) for _, other in others]
    return found


def _add_trial(found: Found, trial: Trial, run: Run) -> None:
    found.trials[trial.number] = trial
    found.run_ids[schema.trial_key(trial.number)] = str(run.info.run_id)
    ended = run.data.tags.get(schema.ENDED, "")
    found.states[trial.number] = State(run.info.status, run.info.end_time or None, ended)
    confirmed = Confirmed.from_tag(run.data.tags.get(schema.CONFIRMED, ""))
    if confirmed is not None:
        found.confirmed[trial.number] = confirmed


def _add_other(found: Found, run: Run) -> None:
    """Add a run that is not a trial: a baseline, an orphan, or a run that somebody else nested."""
    tags, run_id = run.data.tags, str(run.info.run_id)
    if schema.BASELINE in tags:
        found.run_ids[schema.baseline_key(tags[schema.BASELINE])] = run_id
    elif tags.get(schema.ROLE) in ("trial", "baseline"):
        found.orphans.append(run_id)


def undelivered(journal: Iterable[Record], trials: Mapping[int, Trial]) -> Sequence[Record]:
    """The records of a journal that are newer than MLflow, one for each run."""
    merged: dict[str, Record] = {}
    for record in journal:
        before = merged.get(record.key)
        merged[record.key] = before.then(record) if before else record
    for trial in trials.values():
        key = schema.trial_key(trial.number)
        if trial.finished and key in merged and is_behind(merged[key], trial):
            del merged[key]
    return list(merged.values())


def _precedence(trial: Trial, run: Run, mine: str | None) -> tuple[Any, ...]:
    """Sorts several runs of one trial: this driver's, then more reports, then the older run."""
    return (
        run.info.run_id != mine,
        -len(trial.reports),
        trial.failure is not None,
        run.info.start_time,
        run.info.run_id,
    )


def still_running(
    client: MlflowClient, experiment_id: str, run_id: str, known: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """Nested runs with the status RUNNING, after all records are written.

    One search that returns few runs, however many the study has.

    Returns:
        The keys of those in `known`, and the ids of orphans.
    """
    rule = f"tags.`{schema.PARENT_RUN}` = '{run_id}' AND attributes.status = '{schema.RUNNING}'"
    keys = {known_id: key for key, known_id in known.items()}
    found: list[str] = []
    orphans: list[str] = []
    for run in search(client, [experiment_id], rule):
        if run.info.run_id in keys:
            found.append(keys[run.info.run_id])
        elif run.data.tags.get(schema.ROLE) in ("trial", "baseline"):
            orphans.append(str(run.info.run_id))
    return found, orphans


class NestedRuns:
    """The nested runs of a study, as the driver that has its lease writes and reads them.

    Args:
        client: of the tracking store.
        experiment_id: of the study.
        ids: of the runs, by the key of their record, with that of the study; the writer adds those
            that it makes.
        writer: writes records.
        lease: on the study.
    """

    def __init__(
        self,
        client: MlflowClient,
        experiment_id: str,
        ids: MutableMapping[str, str],
        writer: Writer,
        lease: Lease,
    ) -> None:
        self.ids = ids
        self._client = client
        self._experiment_id = experiment_id
        self._write = writer
        self._lease = lease
        self._texts = Texts(client, ids)

    def recover(self, journal: Journal, pace: Pace) -> Found:
        """Read the runs from MLflow, and write the records in the journal of a dead driver.

        Raises:
            Unreachable: when MLflow does not take them after some attempts.
        """
        found = self._read()
        late = undelivered(journal.read(), found.trials)
        if late:
            self._write_patiently(late, pace)
            found = self._read()
        journal.clear()
        return found

    def write(self, records: Sequence[Record]) -> None:
        """Write the record of the study last, because it refers to trials; then all texts.

        Raises:
            Unreachable: when MLflow does not answer.
        """
        in_order = sorted(records, key=lambda record: record.key == schema.STUDY_KEY)
        self._texts.add(in_order)
        self._write(in_order, self._lease)
        self._texts.write()

    def tidy(self, state: StateOf) -> None:
        """Compare the runs with the trials, and update the database's statistics.

        All runs are read only where another driver may have written at the same time as this one.

        Args:
            state: makes the record that ends the run with a key, if it has not ended.
        """
        try:
            if self._lease.took_over and not isinstance(self._write, BulkWriter):
                self._read()  # only in transactions are data and fence one
            self._end(state)
        except (MlflowException, StudyError, Unreachable) as error:
            logger.debug("the runs were not compared with the trials: %s", first_line(error))
        if isinstance(self._write, BulkWriter):
            self._write.analyze()

    @property
    def _study(self) -> str:
        return self.ids[schema.STUDY_KEY]

    def _read(self) -> Found:
        """Read the nested runs and delete those without a mark or of another driver."""
        found = read_runs(self._client, self._experiment_id, self._study, self.ids)
        self.ids.update(found.run_ids)
        for run_id in found.orphans:
            self._client.delete_run(run_id)
        return found

    def _write_patiently(self, records: Sequence[Record], pace: Pace) -> None:
        """Write records; give up after some attempts in which none got through.

        Raises:
            Unreachable: the last time.
        """
        left, pauses = list(records), _pauses(pace)
        while left:
            try:
                self.write(left)
                return
            except Unreachable as error:
                if error.written:
                    left, pauses = [r for r in left if r.key not in error.written], _pauses(pace)
                if (pause := next(pauses, None)) is None:
                    raise
                time.sleep(pause)

    def _end(self, state: StateOf) -> None:
        """End the runs that MLflow says are running, and delete those that do not count."""
        keys, orphans = still_running(self._client, self._experiment_id, self._study, self.ids)
        records = [record for record in map(state, keys) if record is not None]
        if records or orphans:
            self._lease.verify()
        for run_id in orphans:
            self._client.delete_run(run_id)
        if records:
            self.write(records)


def _pauses(pace: Pace) -> Iterator[float]:
    """Growing pauses between attempts, up to the longest one of an outbox."""
    pause = pace.retry
    while pause < pace.max_retry:
        yield pause
        pause *= 2
