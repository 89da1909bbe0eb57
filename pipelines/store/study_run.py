"""The runs of one study: its lease, the ids of its runs, and the queue of what is to be written.

Writing returns at once: records go through an outbox (`pipelines.store.outbox`) to one thread. It
writes them in bulk into a database that is opened directly (`pipelines.store.bulk`), and call by
call everywhere else (`pipelines.store.tracking`).
"""

import logging
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from hpo.errors import StudyError
from pipelines.files.cache import cache_dir
from pipelines.files.uris import safe
from pipelines.store import schema
from pipelines.store.bulk import BulkWriter, engine_for
from pipelines.store.lease import Lease
from pipelines.store.outbox import Journal, Outbox, Pace
from pipelines.store.recovery import Found, read_runs, undelivered
from pipelines.store.schema import Record
from pipelines.store.tracking import (
    CallWriter,
    ClientRuns,
    HttpRuns,
    Writer,
    first_line,
    is_http,
    told_apart,
)

logger = logging.getLogger(__name__)

_COMMON_TAGS = (
    "mlflow.user",
    "mlflow.source.name",
    "mlflow.source.type",
    "mlflow.source.git.commit",
)

WriterMaker = Callable[[MlflowClient, str, str, MutableMapping[str, str]], Writer]


@dataclass(frozen=True)
class Connection:
    """How the store of a study is reached; by default as MLflow is configured in this process.

    Attributes:
        tracking_uri: of the store; None takes the one in force.
        make_writer: makes what writes the records; None chooses by the kind of the store.
        pace: of the outbox.
    """

    tracking_uri: str | None = None
    make_writer: WriterMaker | None = None
    pace: Pace | None = None


class StudyRun:
    """The parent run of a study and its nested runs, held by one driver at a time.

    Attributes:
        client: what the study is read and written with.
        run_id: of the parent run.
        experiment_id: of its experiment.
        found: the nested runs as this driver found them.
        common: tags that every nested run gets.

    Raises:
        StudyError: when another driver holds the study.
    """

    def __init__(
        self, client: MlflowClient, run: Run, journal: Journal, connection: Connection
    ) -> None:
        self.client = client
        self.run_id = str(run.info.run_id)
        self.experiment_id = str(run.info.experiment_id)
        tags = run.data.tags
        inherited = {name: tags[name] for name in _COMMON_TAGS if name in tags}
        self.common: Mapping[str, str] = {schema.PARENT_RUN: self.run_id, **inherited}
        self._run_ids = {schema.STUDY_KEY: self.run_id}
        make = connection.make_writer or _writer
        self._write = make(client, self.experiment_id, self.run_id, self._run_ids)
        self._lease = Lease(client, self.run_id, self._set_driver)
        self._lease.acquire()
        try:
            self.found = self._recover(journal)
        except BaseException:
            self._release()
            raise
        self._outbox = Outbox(journal, self._write_in_order, self._beat, pace=connection.pace)

    @property
    def waiting(self) -> int:
        """How many runs have something that MLflow does not have yet."""
        return self._outbox.waiting

    def put(self, record: Record) -> None:
        """Queue a record and return.

        Raises:
            StudyError: when nothing can be written any more.
        """
        self._outbox.put(record)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until MLflow has everything; False when `timeout` seconds were not enough.

        Raises:
            StudyError: when nothing can be written any more.
        """
        return self._outbox.flush(timeout)

    def has_run(self, key: str) -> bool:
        """Whether MLflow has the run with this key."""
        return key in self._run_ids

    def run_id_of(self, key: str, timeout: float | None) -> str:
        """The id of the run with this key; waits until it is written.

        Raises:
            StudyError: when it is not written after `timeout` seconds.
        """
        if key not in self._run_ids:
            self._outbox.flush(timeout)
        if key not in self._run_ids:
            raise StudyError(f"{key} is not in MLflow yet; is the tracking server reachable?")
        return self._run_ids[key]

    def close(self, timeout: float | None) -> bool:
        """Write what is left and release the study; False when something still waits on disk.

        Raises:
            StudyError: when something cannot be written any more; the study is released anyway.
        """
        try:
            delivered = self._outbox.close(timeout)
        finally:
            self._release()
        if delivered:
            self._tidy()
        return delivered

    def _recover(self, journal: Journal) -> Found:
        """Read what MLflow has, and write what the journal of a dead driver adds to it."""
        found = self._read()
        late = undelivered(journal.read(), found.trials)
        if late:
            self._write_in_order(late)
            found = self._read()
        journal.clear()
        return found

    def _read(self) -> Found:
        """The nested runs; those without a commit mark are deleted."""
        found = read_runs(self.client, self.experiment_id, self.run_id)
        self._run_ids |= found.run_ids
        for run_id in found.orphans:
            self.client.delete_run(run_id)
        return found

    def _write_in_order(self, records: Sequence[Record]) -> None:
        """Write the study's own record last: what it says of trials holds once they are there."""
        self._write(sorted(records, key=lambda record: record.key == schema.STUDY_KEY))

    def _tidy(self) -> None:
        """Update the database's statistics, or delete runs that a lost answer may have doubled."""
        if isinstance(self._write, BulkWriter):
            self._write.analyze()
        elif isinstance(self._write, CallWriter) and self._write.doubtful:
            try:
                self._read()
            except MlflowException as error:
                logger.debug("orphans were left to the next driver: %s", first_line(error))

    def _set_driver(self, value: str) -> None:
        self.client.set_tag(self.run_id, schema.DRIVER, value)

    def _beat(self) -> None:
        with told_apart():
            self._lease.renew()

    def _release(self) -> None:
        try:
            self._lease.release()
        except MlflowException as error:
            logger.debug("the study's lease was not released: %s", first_line(error))


def journal_path(run_id: str) -> Path:
    """The file in which the results of a study wait for MLflow."""
    return cache_dir() / "outbox" / f"{run_id}.jsonl"


def _writer(
    client: MlflowClient, experiment_id: str, run_id: str, known: MutableMapping[str, str]
) -> Writer:
    uri = client.tracking_uri
    if is_http(uri):
        return CallWriter(HttpRuns(uri), experiment_id, known)
    engine = engine_for(client)
    if engine is not None:
        return BulkWriter(engine, experiment_id, run_id, known)
    logger.info("%s cannot be written in bulk; trials are logged one by one", safe(uri))
    return CallWriter(ClientRuns(client), experiment_id, known)
