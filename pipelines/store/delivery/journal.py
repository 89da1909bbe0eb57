"""The journal of an outbox: the records of a study that are not in MLflow yet, in a file.

It is locked by one process at a time, and signed by each driver that writes to it.
"""

import fcntl
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hpo.errors import StudyError
from pipelines.files.cache import make_private, open_private, write_private
from pipelines.store.records import Record

_SIGNED = "signed"


class Journal:
    """A file with the records of one study, locked by one process at a time.

    Raises:
        StudyError: when another process has locked it, or the directory cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._signature = b""
        try:
            make_private(path.parent)
            self._lock = _locked(path.with_suffix(".lock"))
            self._file = open_private(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
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

    def sign(self, token: str) -> None:
        """Sign the records here, and those to come, with the token of a driver."""
        self._signature = json.dumps({_SIGNED: token}).encode() + b"\n"
        if self.size():
            self._write(self._signature)

    def signed_by(self) -> frozenset[str]:
        """The tokens of the drivers that have signed the records."""
        return frozenset(line for line in self._read() if isinstance(line, str))

    def read(self) -> list[Record]:
        """All complete records in order; a torn last line is ignored.

        Raises:
            StudyError: when the file is damaged.
        """
        return [line for line in self._read() if isinstance(line, Record)]

    def _read(self) -> list[Record | str]:
        """The records and signatures in order."""
        records: list[Record | str] = []
        for number, line in enumerate(self.path.read_bytes().split(b"\n")[:-1], start=1):
            try:
                records.append(_signature(line) or Record.from_json(line.decode()))
            except ValueError as error:
                raise StudyError(
                    f"line {number} of {self.path} is damaged; the file has results that MLflow "
                    "does not have yet: repair the line, or delete the file to lose these results"
                ) from error
        return records

    def append(self, record: Record) -> None:
        """Append a record.

        Raises:
            OSError: when it cannot be written.
        """
        line = record.to_json().encode() + b"\n"
        self._write(line if self.size() else self._signature + line)

    def _write(self, data: bytes) -> None:
        """Write all of it or nothing: half a record would damage the next one."""
        size = self.size()
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError:
            os.ftruncate(self._file, size)
            raise

    def size(self) -> int:
        """Bytes in the file."""
        return os.fstat(self._file).st_size

    def sync(self) -> None:
        """Force appended records to the disk (fsync)."""
        os.fsync(self._file)

    def clear(self) -> None:
        """Delete all records."""
        os.ftruncate(self._file, 0)

    def rewrite(self, records: Sequence[Record]) -> None:
        """Replace the content with these records, atomically."""
        lines = "".join(record.to_json() + "\n" for record in records)
        write_private(self.path, self._signature + lines.encode())
        os.close(self._file)
        self._file = open_private(self.path, os.O_RDWR | os.O_APPEND)

    def close(self) -> None:
        """Close and unlock the file; delete it when it is empty."""
        if not self.size():
            self.path.unlink(missing_ok=True)
            self.path.with_suffix(".lock").unlink(missing_ok=True)
        os.close(self._file)
        os.close(self._lock)


def sweep_journals(folder: Path) -> None:
    """Delete the empty journals that killed drivers have left, and their locks."""
    for lock_file in folder.glob("*.lock"):
        journal = lock_file.with_suffix(".jsonl")
        with suppress(OSError):  # its driver lives, or it is gone
            lock = _locked(lock_file)
            try:
                if not journal.exists() or not journal.stat().st_size:
                    journal.unlink(missing_ok=True)
                    lock_file.unlink(missing_ok=True)
            finally:
                os.close(lock)


def _signature(line: bytes) -> str | None:
    """The token in a line that is a signature; None for any other."""
    if not line.startswith(b'{"%s":' % _SIGNED.encode()):
        return None
    return str(json.loads(line)[_SIGNED])


def _locked(path: Path) -> int:
    """Lock a file and return its descriptor; it is unlocked when that is closed.

    The previous holder may delete the file between the opening and the locking. Then the lock is of
    a deleted file, and the next attempt opens the file again.

    Raises:
        BlockingIOError: when another process has locked it.
    """
    while True:
        lock = open_private(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_open_at(path, lock):
                return lock
        except OSError:
            os.close(lock)
            raise
        os.close(lock)


def _is_open_at(path: Path, descriptor: int) -> bool:
    """Whether the path still leads to the open file."""
    try:
        return os.stat(path).st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
