"""The runs of one study: its lease, the ids of its runs, and the queue of pending writes.

Writing returns at once: records go through an outbox (`store.delivery.outbox`) to one thread. It
writes them in bulk into a database that is opened directly (`store.delivery.bulk`), and call by
call everywhere else (`store.delivery.writers`).
"""

import logging
import threading
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run, RunTag
from mlflow.exceptions import MlflowException

from hpo.errors import StudyError, TakenError
from pipelines.files.cache import cache_dir
from pipelines.files.uris import safe
from pipelines.store import schema
from pipelines.store.delivery.bulk import BulkWriter, engine_for
from pipelines.store.delivery.journal import Journal
from pipelines.store.delivery.outbox import Outbox, Pace
from pipelines.store.delivery.writers import CallWriter, ClientRuns, HttpRuns, Writer
from pipelines.store.lease import Heart, Lease
from pipelines.store.records import Record
from pipelines.store.recovery import NestedRuns, StateOf
from pipelines.store.tracking import first_line, is_http, read_tags

logger = logging.getLogger(__name__)

BRIEFLY, PATIENTLY = 1.0, 30.0  # seconds to release a study whose server is away, or answers
_COMMON_TAGS = (
    "mlflow.user",
    "mlflow.source.name",
    "mlflow.source.type",
    "mlflow.source.git.commit",
)

WriterMaker = Callable[[MlflowClient, str, str, MutableMapping[str, str]], Writer]


@dataclass(frozen=True)
class Connection:
    """How the store of a study is reached. By default it is the one that MLflow is configured for.

    Attributes:
        tracking_uri: of the store; None uses MLflow's current one.
        make_writer: makes the writer of records; None chooses it by the kind of the store.
        pace: of the outbox.
    """

    tracking_uri: str | None = None
    make_writer: WriterMaker | None = None
    pace: Pace | None = None


class StudyRun:
    """The parent run of a study and its nested runs, used by one driver at a time.

    Attributes:
        client: of the tracking store.
        run_id: of the parent run.
        experiment_id: of its experiment.
        found: the nested runs that this driver found.
        tags: of the parent run then.
        common: tags of every nested run.

    Raises:
        StudyError: when another driver runs the study.
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
        ids = {schema.STUDY_KEY: self.run_id}
        self._lease = Lease(self.run_id, self._driver, self._set_driver)
        make = connection.make_writer or usual_writer
        writer = make(client, self.experiment_id, self.run_id, ids)
        self._nested = NestedRuns(client, self.experiment_id, ids, writer, self._lease)
        _drop_overtaken(journal, tags.get(schema.HOLDER))
        journal.sign(self._lease.token)  # before the tag: until then, the journal is the last one's
        self._lease.acquire()
        pace = connection.pace or Pace()
        try:
            self.found = self._nested.recover(journal, pace)
            self.tags: Mapping[str, str] = read_tags(client, self.run_id)
        except BaseException:
            self._release()
            raise
        self._outbox = Outbox(journal, self._nested.write, pace=pace)
        self._heart = Heart(self._lease.renew, self._outbox.fail, pace.beat)

    @property
    def waiting(self) -> int:
        """How many runs have data that is not in MLflow yet."""
        return self._outbox.waiting

    def put(self, record: Record) -> None:
        """Queue a record and return.

        Raises:
            TakenError: when this process was frozen and another driver has the study now.
            StudyError: when writing failed for good.
        """
        if self._heart.was_frozen:
            self._find_out()
        self._outbox.put(record)

    def _find_out(self) -> None:
        """Find out whether another driver has the study, if MLflow answers."""
        try:
            self._lease.verify()
        except TakenError as error:
            self._outbox.fail(error)
        except MlflowException as error:
            logger.debug("the lease was not verified: %s", first_line(error))

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all data is in MLflow; False after `timeout` seconds.

        Raises:
            StudyError: when writing failed for good.
        """
        return self._outbox.flush(timeout)

    def verify(self) -> None:
        """Check that no other driver has taken the study, before something is written directly.

        Raises:
            TakenError: when another driver has.
            MlflowException: when MLflow does not answer.
        """
        self._lease.verify()

    def has_run(self, key: str) -> bool:
        """Whether MLflow has the run with this key."""
        return key in self._nested.ids

    def run_id_of(self, key: str, timeout: float | None) -> str:
        """The id of the run with this key; waits until it is written.

        Raises:
            StudyError: when it is not written after `timeout` seconds.
        """
        if key not in self._nested.ids:
            self._outbox.flush(timeout)
        if key not in self._nested.ids:
            raise StudyError(f"{key} is not in MLflow yet; is the tracking server reachable?")
        return self._nested.ids[key]

    def close(self, timeout: float | None, state: StateOf = lambda key: None) -> bool:
        """Write pending data and release the study; False when data still waits on disk.

        Args:
            timeout: seconds to wait for pending data; None for no limit.
            state: makes the record that ends the run with this key, if it has not ended.

        Raises:
            StudyError: when writing failed for good; the study is released anyway.
        """
        delivered = False
        try:
            delivered = self._outbox.close(timeout)
            if delivered:
                self._nested.tidy(state)
        finally:
            self._heart.stop()
            release = threading.Thread(target=self._release, daemon=True)
            release.start()
            release.join(PATIENTLY if delivered else BRIEFLY)
        return delivered

    def _driver(self) -> str | None:
        return read_tags(self.client, self.run_id).get(schema.DRIVER)

    def _set_driver(self, value: str) -> None:
        tags = {schema.DRIVER: value} | ({schema.HOLDER: self._lease.token} if value else {})
        pairs = [RunTag(name, text) for name, text in tags.items()]
        self.client.log_batch(self.run_id, tags=pairs, synchronous=True)

    def _release(self) -> None:
        try:
            self._lease.release()
        except MlflowException as error:
            logger.debug("the study's lease was not released: %s", first_line(error))


def _drop_overtaken(journal: Journal, holder: str | None) -> None:
    """Empty the journal of a driver after which another one has run the study.

    That one has run these trials again.
    """
    signed = journal.signed_by()
    if signed and holder is not None and holder not in signed:
        logger.warning(
            "the results that wait in %s are left out: another driver has run the study since "
            "then, and these trials again",
            journal.path,
        )
        journal.clear()


def journal_path(run_id: str) -> Path:
    """The file in which results of a study wait for MLflow."""
    return cache_dir() / "outbox" / f"{run_id}.jsonl"


def usual_writer(
    client: MlflowClient, experiment_id: str, run_id: str, run_ids: MutableMapping[str, str]
) -> Writer:
    """The writer that fits the kind of the store."""
    uri = client.tracking_uri
    if is_http(uri):
        return CallWriter(HttpRuns(uri), experiment_id, run_ids)
    engine = engine_for(client)
    if engine is not None:
        return BulkWriter(engine, experiment_id, run_id, run_ids)
    logger.info("%s cannot be written in bulk; trials are logged one by one", safe(uri))
    return CallWriter(ClientRuns(client), experiment_id, run_ids)
