"""The outbox: a queue of records on their way to MLflow.

The driver adds records without waiting, and one thread passes them to a writer, several at a time.
Each record is first appended to a journal file. If the driver is killed, the next driver of the
study writes the records that are left there. The journal is emptied when no record waits: it is a
queue and not a second store.

An appended record survives the death of the process at once, and a crash of the machine from the
next write attempt on, which begins with an fsync.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from hpo.errors import StudyError, TakenError
from pipelines.store.delivery.journal import Journal
from pipelines.store.delivery.pending import Pending
from pipelines.store.records import Record

logger = logging.getLogger(__name__)

MAX_WAITING = 10_000  # runs
COMPACT_BYTES = 16 << 20  # a longer journal is rewritten
_LAST_CALL = 0.5  # seconds to wait at the end for a write that hangs


class Unreachable(Exception):  # noqa: N818  (a state of the store, not a mistake)
    """The store did not answer; a later attempt may succeed.

    Attributes:
        written: keys of the records of this attempt that the store has all the same.
    """

    def __init__(self, message: str, written: frozenset[str] = frozenset()) -> None:
        super().__init__(message)
        self.written = written


@dataclass(frozen=True)
class Pace:
    """Seconds between the steps of an outbox.

    Attributes:
        gather: a record waits so long for others that can be written with it.
        beat: between two heartbeats of the driver.
        retry: first pause after the store did not answer; it doubles with each attempt.
        max_retry: longest such pause.
    """

    gather: float = 0.1
    beat: float = 15.0
    retry: float = 0.5
    max_retry: float = 10.0


class _Outage:
    """Says once when the store does not answer, and when it answers again.

    Args:
        journal: where the records wait meanwhile.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._since: float | None = None

    def begin(self, error: Unreachable) -> None:
        """The store does not answer."""
        if self._since is None:
            self._since = time.monotonic()
            logger.warning(
                "MLflow does not answer (%s); results wait in %s", error, self._journal.path
            )

    def end(self) -> None:
        """The store answers."""
        if self._since is not None:
            logger.warning("MLflow answers again after %.0f s", time.monotonic() - self._since)
            self._since = None


class Outbox:
    """One thread that passes waiting records to a writer.

    Runs are written in the order in which they first appeared. Waiting records of the same run are
    merged.

    Args:
        journal: for records that are not written yet.
        write: writes records. It must be idempotent, raise `Unreachable` when a later attempt may
            succeed, and another exception when not.
        pace: seconds between the steps.
        max_waiting: when so many runs wait, `put` blocks.
    """

    def __init__(
        self,
        journal: Journal,
        write: Callable[[Sequence[Record]], None],
        *,
        pace: Pace | None = None,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._journal = journal
        self._write = write
        self._pace = pace or Pace()
        self._changed = threading.Condition()
        self._pending = Pending(max_waiting)
        self._hurrying = 0
        self._closing = False
        # After closing, a write that still hangs must not touch the journal when it returns.
        self._closed = False
        self._outage = _Outage(journal)
        self._journal_failed = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="mlflow-writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many runs have data that is not in MLflow yet."""
        with self._changed:
            return len(self._pending)

    def put(self, record: Record) -> None:
        """Add a record and return; blocks only while the outbox is full.

        Raises:
            StudyError: when writing failed for good.
        """
        with self._changed:
            self._raise_failure()
            if not self._pending.has_room(record.key):
                self._wait_for_room()
            refused = self._append(record)
            self._pending.add(record)
            self._changed.notify_all()
            if refused is not None:
                raise StudyError(
                    f"cannot write {self._journal.path} ({refused.strerror}), where results wait "
                    "for MLflow; free space or set HPO_CACHE_DIR, then resume the study: all "
                    "earlier results are saved"
                ) from refused

    def _append(self, record: Record) -> OSError | None:
        """Append a record to the journal; return why that failed, at the first failure.

        The study ends then. What it writes until its end goes straight to MLflow.
        """
        try:
            self._journal.append(record)
        except OSError as error:
            first, self._journal_failed = not self._journal_failed, True
            return error if first else None
        return None

    def _wait_for_room(self) -> None:
        logger.warning(
            "MLflow is behind: %d runs wait to be written, which is the limit; "
            "the study pauses until there is room",
            self._pending.n_waiting,
        )
        with self._hurry():
            self._changed.wait_for(lambda: self._failure is not None or self._pending.has_room())
        self._raise_failure()

    @contextmanager
    def _hurry(self) -> Iterator[None]:
        """Let the thread write without gathering records first."""
        self._hurrying += 1
        self._changed.notify_all()
        try:
            yield
        finally:
            self._hurrying -= 1

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything is written; False when `timeout` seconds were not enough.

        Raises:
            StudyError: when writing failed for good.
        """
        with self._changed, self._hurry():
            is_done = self._changed.wait_for(
                lambda: self._failure is not None or not self._pending, timeout
            )
            self._raise_failure()
            return is_done

    def close(self, timeout: float | None = None) -> bool:
        """Flush, stop the thread and close the journal; False when records still wait in it.

        Raises:
            StudyError: when writing failed for good; thread and journal are closed anyway.
        """
        try:
            return self.flush(timeout)
        finally:
            with self._changed:
                self._closing = True
                self._changed.notify_all()
            self._thread.join(_LAST_CALL)
            with self._changed:
                self._closed = True
                if isinstance(self._failure, TakenError):
                    self._journal.clear()  # another driver runs these trials
                self._journal.close()

    def _raise_failure(self) -> None:
        if isinstance(self._failure, TakenError):
            raise TakenError(str(self._failure)) from self._failure
        if self._failure is not None:
            raise StudyError(
                f"{str(self._failure) or type(self._failure).__name__}; results that are not in "
                f"MLflow are saved in {self._journal.path} and are written when the study is "
                "resumed"
            ) from self._failure

    def fail(self, error: BaseException) -> None:
        """Stop for good: the next `put` or `flush` raises the error."""
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()

    def _run(self) -> None:
        pause = self._pace.retry
        while True:
            batch = self._take()
            if batch is None:
                return
            with suppress(OSError):  # what counts is that MLflow has it
                self._journal.sync()
            try:
                self._write(batch)
            except Unreachable as error:
                # Where some records got through, the store is there and only refuses now and then.
                pause = self._pace.retry if error.written else pause
                self._put_back(error, pause)
                pause = min(pause * 2, self._pace.max_retry)
            except BaseException as error:  # noqa: BLE001  (the thread's border: `put` raises it)
                self.fail(error)
                return
            else:
                pause = self._pace.retry
                self._delivered()

    def _take(self) -> list[Record] | None:
        """The waiting records; None when the outbox closes or has failed."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending.n_waiting > 0 or self._ends)
            if self._ends:
                return None
            self._changed.wait_for(lambda: bool(self._hurrying) or self._ends, self._pace.gather)
            return self._pending.take()

    @property
    def _ends(self) -> bool:
        return self._closing or self._failure is not None

    def _put_back(self, error: Unreachable, pause: float) -> None:
        with self._changed:
            self._outage.begin(error)
            self._pending.put_back(error.written)
            self._changed.notify_all()  # there may be room now
            self._changed.wait_for(lambda: self._ends, pause)

    def _delivered(self) -> None:
        with self._changed:
            if self._closed:
                return
            self._outage.end()
            self._pending.delivered()
            if not self._pending:
                self._journal.clear()
            elif self._journal.size() > COMPACT_BYTES:
                with suppress(OSError):  # on a full disk it stays long
                    self._journal.rewrite(self._pending.waiting)
            self._changed.notify_all()
