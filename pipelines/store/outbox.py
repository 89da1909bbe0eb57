"""The outbox: what MLflow has not got yet.

The driver puts records in and goes on; one thread hands them to a writer, several at a time. Every
record first goes to a journal file, so that what waited when the driver was killed is delivered
when the study is opened again. The journal is emptied as soon as nothing waits: it is a queue,
never a second store.

A record appended to the journal is safe from the death of the process at once (the system holds it)
and from the death of the machine from the next delivery attempt on, which begins with an fsync.
"""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpo.errors import StudyError
from pipelines.store.schema import Record

logger = logging.getLogger(__name__)

MAX_WAITING = 10_000
COMPACT_BYTES = 16 << 20


class Journal:
    """Records of one study in a file that only one process at a time can hold.

    Raises:
        StudyError: when another process holds it, or the directory cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(path.with_suffix(".lock"))
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except BlockingIOError as error:
            raise StudyError(
                f"study {path.stem} is being run by another process of this machine; "
                "wait until it has ended, or stop it with Ctrl-C"
            ) from error
        except OSError as error:
            raise StudyError(
                f"cannot write {path} ({error.strerror}), where results wait for MLflow; "
                "set HPO_CACHE_DIR to a directory that can be written"
            ) from error

    def read(self) -> list[Record]:
        """All complete records, in order; a torn last line is what a crash left and never happened.

        Raises:
            StudyError: when the file is damaged.
        """
        records = []
        for number, line in enumerate(self.path.read_bytes().split(b"\n")[:-1], start=1):
            try:
                records.append(Record.from_json(line.decode()))
            except ValueError as error:
                raise StudyError(
                    f"line {number} of {self.path} is damaged; it holds results that MLflow has not got: "
                    "mend it, or remove the file to do without them"
                ) from error
        return records

    def append(self, record: Record) -> None:
        """Add a record.

        Raises:
            OSError: when the disk refuses it.
        """
        data = record.to_json().encode() + b"\n"
        while data:
            data = data[os.write(self._file, data) :]

    def size(self) -> int:
        """Bytes in the file."""
        return os.fstat(self._file).st_size

    def sync(self) -> None:
        """Make what was appended survive the machine."""
        os.fsync(self._file)

    def clear(self) -> None:
        """Forget everything."""
        os.ftruncate(self._file, 0)

    def rewrite(self, records: Sequence[Record]) -> None:
        """Replace the content by `records`, atomically."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text("".join(record.to_json() + "\n" for record in records))
        os.replace(fresh, self.path)
        os.close(self._file)
        self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of the file, and remove it when it is empty."""
        if not self.size():
            self.path.unlink(missing_ok=True)
            self.path.with_suffix(".lock").unlink(missing_ok=True)
        os.close(self._file)
        os.close(self._lock)


def _locked(path: Path) -> int:
    """A descriptor of `path`, locked until it is closed or the process dies.

    Raises:
        BlockingIOError: when another holds it.
    """
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(path).st_ino == os.fstat(lock).st_ino:
                return lock
            os.close(
                lock
            )  # the holder before removed the file between the two calls, and another made it
        except FileNotFoundError:
            os.close(lock)  # the same, and nobody made it yet
        except OSError:
            os.close(lock)
            raise


class Unreachable(Exception):  # noqa: N818  (a state of the world, not a mistake)
    """The store did not answer; the same attempt may succeed later."""


@dataclass(frozen=True)
class Pace:
    """Seconds between the outbox's steps.

    `gather` is how long records wait for company, `beat` the time between two calls of the
    heartbeat, `retry` and `retry_most` the first and the longest pause after a store that did not
    answer.
    """

    gather: float = 0.1
    beat: float = 15.0
    retry: float = 0.5
    retry_most: float = 10.0


class Outbox:
    """One thread that hands waiting records to `write`, in the order in which their runs first appeared.

    Records of the same run that wait together are merged. `write` must be idempotent, raise
    `Unreachable` when trying again makes sense, and anything else when it does not; `beat` is
    called on the same thread.
    """

    def __init__(
        self,
        journal: Journal,
        write: Callable[[Sequence[Record]], None],
        beat: Callable[[], None] = lambda: None,
        *,
        pace: Pace | None = None,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._journal = journal
        self._write = write
        self._beat = beat
        self._pace = pace or Pace()
        self._max_waiting = max_waiting
        self._changed = threading.Condition()
        self._waiting: dict[str, Record] = {}
        self._in_flight: dict[str, Record] = {}
        self._urgent = False
        self._closing = False
        self._closed = (
            False  # the journal is gone; a write that still hangs must not touch it when it returns
        )
        self._away_since: float | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="mlflow-writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many runs have something that MLflow has not got."""
        with self._changed:
            return len(self._waiting.keys() | self._in_flight.keys())

    def put(self, record: Record) -> None:
        """Keep a record and return; blocks only while the outbox is full.

        Raises:
            StudyError: when the records can no longer be delivered.
        """
        with self._changed:
            self._raise_failure()
            if len(self._waiting) >= self._max_waiting and record.key not in self._waiting:
                self._wait_for_room()
            try:
                self._journal.append(record)
            except OSError as error:
                raise StudyError(
                    f"cannot write {self._journal.path} ({error.strerror}), where results wait for MLflow; free space "
                    "or set HPO_CACHE_DIR, then resume the study: all earlier results are kept"
                ) from error
            self._add(record)
            self._changed.notify_all()

    def _wait_for_room(self) -> None:
        logger.warning(
            "MLflow is behind: %d runs wait to be written, no more fit; the study pauses until it catches up",
            len(self._waiting),
        )
        while len(self._waiting) >= self._max_waiting:
            self._urgent = True
            self._changed.notify_all()
            self._changed.wait(1.0)
            self._raise_failure()

    def _add(self, record: Record) -> None:
        before = self._waiting.get(record.key)
        self._waiting[record.key] = before.then(record) if before else record

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything is written; False when `timeout` seconds were not enough.

        Raises:
            StudyError: when the records can no longer be delivered.
        """
        end = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while self._waiting or self._in_flight:
                self._raise_failure()
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    return False
                self._urgent = True
                self._changed.notify_all()
                self._changed.wait(left)
            self._raise_failure()
        return True

    def close(self, timeout: float | None = None) -> bool:
        """Flush, stop the thread and let go of the journal; False when something still waits in it.

        Raises:
            StudyError: when the records can no longer be delivered; the thread and the journal are
                let go all the same.
        """
        try:
            return self.flush(timeout)
        finally:
            with self._changed:
                self._closing = True
                self._changed.notify_all()
            self._thread.join(self._pace.retry_most)
            with self._changed:
                self._closed = True
                self._journal.close()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise StudyError(
                f"{str(self._failure) or type(self._failure).__name__}; what MLflow has not got is kept in "
                f"{self._journal.path} and is written when the study is continued"
            ) from self._failure

    def _run(self) -> None:
        pause = self._pace.retry
        next_beat = time.monotonic() + self._pace.beat
        while True:
            batch = self._take(next_beat)
            if batch is None:
                return
            try:
                if batch:
                    self._journal.sync()
                    self._write(batch)
                if time.monotonic() >= next_beat:
                    next_beat = time.monotonic() + self._pace.beat
                    self._beat()
            except Unreachable as error:
                self._put_back(error, pause)
                pause = min(pause * 2, self._pace.retry_most)
            except BaseException as error:  # noqa: BLE001  (the thread's border: handed to the driver as a value)
                self._fail(error)
                return
            else:
                pause = self._pace.retry
                self._delivered()

    def _take(self, next_beat: float) -> list[Record] | None:
        """The records that wait, once there are some (or a beat is due); None when the outbox closes."""
        with self._changed:
            while not self._waiting and not self._closing and time.monotonic() < next_beat:
                self._changed.wait(max(next_beat - time.monotonic(), 0.0))
            if self._closing:
                return None
            gathered = time.monotonic() + self._pace.gather
            while (
                not (self._urgent or self._closing)
                and (left := min(gathered, next_beat) - time.monotonic()) > 0
            ):
                self._changed.wait(left)
            self._urgent = False
            self._in_flight, self._waiting = self._waiting, {}
            return list(self._in_flight.values())

    def _put_back(self, error: Unreachable, pause: float) -> None:
        with self._changed:
            if self._away_since is None:
                self._away_since = time.monotonic()
                logger.warning(
                    "MLflow does not answer (%s); results wait in %s", error, self._journal.path
                )
            later, self._waiting, self._in_flight = self._waiting, self._in_flight, {}
            for record in later.values():
                self._add(record)
            if not self._closing:
                self._changed.wait_for(lambda: self._closing, pause)

    def _delivered(self) -> None:
        with self._changed:
            if self._closed:
                return
            if self._away_since is not None:
                logger.warning(
                    "MLflow answers again after %.0f s", time.monotonic() - self._away_since
                )
                self._away_since = None
            self._in_flight = {}
            if not self._waiting:
                self._journal.clear()
            elif self._journal.size() > COMPACT_BYTES:
                self._journal.rewrite(list(self._waiting.values()))
            self._changed.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._failure = error
            self._changed.notify_all()
