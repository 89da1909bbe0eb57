"""Folders stored as single files at a URI, in any place that fsspec opens.

A file is one line with a SHA-256 and then an uncompressed zip. The zip is parsed only after its
SHA-256 was checked, and nothing is unpickled.
"""

import hashlib
import io
import os
import re
import tempfile
import threading
import time
import uuid
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from hpo.errors import StudyError
from pipelines.files.errors import DamagedError, NoAnswerError
from pipelines.files.uris import BUCKETS, first_line, missing_library, protocol, safe

T = TypeVar("T")

TIME_LIMIT = 60.0  # seconds for one operation at a remote place

_PAUSE_FACTOR = 10.0  # a slow failure pauses all operations for this many times its duration
_INSIDE = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*", re.ASCII)
_HEAD = b"mlflow-warmstart checkpoint 1, sha256 "


@dataclass(frozen=True)
class Objects:
    """Folders stored under names at a URI.

    On a local disk a file is renamed into place, and only its owner can read it. Elsewhere it is
    uploaded in one piece, and a partly written file fails the SHA-256 check. Buckets are never
    created.

    Attributes:
        uri: of the folder that holds the files.
        scratch: where folders are packed; None uses the system's temporary folder.
    """

    uri: str
    scratch: Path | None = None

    def save(self, name: str, write: Callable[[Path], object]) -> None:
        """Store the files that `write` puts into an empty folder, replacing earlier content.

        Raises:
            OSError: when the folder or the file cannot be written.
            Exception: errors of `write`.
        """
        with tempfile.TemporaryDirectory(prefix="packed-", dir=self.scratch) as folder:
            write(Path(folder))
            body = _packed(Path(folder))
        try:
            self._put(name, _HEAD + _sum(body) + b"\n" + body)
        except Exception as error:  # each file system has errors of its own
            raise OSError(first_line(error)) from error

    def load(self, name: str, into: Path) -> Path:
        """Unpack the files stored under a name into the folder `into` and return that folder.

        Raises:
            FileNotFoundError: when there is no such name.
            DamagedError: when the content is not what `save` wrote.
            Exception: other errors of the file system.
        """
        content = self._ask(lambda files, root: files.cat_file(f"{root}/{name}"))
        try:
            _unpack(content, into)
        except zipfile.BadZipFile as error:
            raise DamagedError(str(error)) from error
        return into

    def names(self) -> list[tuple[str, int]]:
        """Names and sizes (bytes) of all stored files; empty when the folder does not exist.

        Raises:
            Exception: errors of the file system.
        """

        def listed(files: Any, root: str) -> list[dict[str, Any]]:
            files.invalidate_cache()  # other processes write there
            found: list[dict[str, Any]] = files.ls(root, detail=True)
            return found

        try:
            entries = self._ask(listed)
        except FileNotFoundError:
            return []
        files = (entry for entry in entries if entry["type"] == "file")
        return [(PurePosixPath(entry["name"]).name, int(entry["size"])) for entry in files]

    def delete(self, name: str) -> None:
        """Delete a name; a missing name is ignored.

        Raises:
            Exception: errors of the file system.
        """
        try:
            self._ask(lambda files, root: files.rm_file(f"{root}/{name}"))
        except FileNotFoundError:
            return

    def check(self, what: str, *, writing: bool = True) -> None:
        """Check before a study that the place works.

        Args:
            what: is to be stored.
            writing: whether to write, read and delete a tiny file.

        Raises:
            StudyError: when `what` cannot be stored there, with the reason.
        """
        if not writing:
            self._check_unwritten(what)
            return
        name = f"check-{uuid.uuid4().hex}"
        try:
            self._put(name, _HEAD)
            read = self._ask(lambda files, root: files.cat_file(f"{root}/{name}"))
            self._ask(lambda files, root: files.rm_file(f"{root}/{name}"))
        except ImportError as error:
            raise StudyError(missing_library(safe(self.uri), error)) from error
        except Exception as error:  # each file system has errors of its own
            raise StudyError(self._unusable(what, first_line(error))) from error
        if read != _HEAD:
            raise StudyError(
                self._unusable(what, "the content read back differs from the content written")
            )
        self._check_shared(what)

    def _check_unwritten(self, what: str) -> None:
        """Check what can be checked without writing: the file system, and a folder of this machine.

        Raises:
            StudyError: when `what` cannot be stored there, with the reason.
        """
        try:
            folder = self.folder
        except ImportError as error:
            raise StudyError(missing_library(safe(self.uri), error)) from error
        except Exception as error:  # each file system has errors of its own
            raise StudyError(self._unusable(what, first_line(error))) from error
        self._check_shared(what)
        if folder is not None:
            there = next(each for each in (folder, *folder.parents) if each.exists())
            if not (there.is_dir() and os.access(there, os.W_OK)):
                raise StudyError(self._unusable(what, f"{there} cannot be written"))

    def _check_shared(self, what: str) -> None:
        if isinstance(self._opened[0], MemoryFileSystem):
            raise StudyError(
                self._unusable(
                    what, "each process has a memory of its own, and workers are processes"
                )
            )

    @property
    def folder(self) -> Path | None:
        """The folder on this machine; None when it is remote."""
        files, root = self._opened
        return Path(root) if isinstance(files, LocalFileSystem) else None

    def _unusable(self, what: str, why: str) -> str:
        return (
            f"{what} cannot be stored at {safe(self.uri)}: {why}; give a place that can be "
            "written, such as a folder on this machine"
        )

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        files, root = fsspec.core.url_to_fs(self.uri)
        return files, str(root).rstrip("/")

    @cached_property
    def _breaker(self) -> "_CircuitBreaker":
        return _CircuitBreaker()

    def _ask(self, operation: Callable[[Any, str], T]) -> T:
        """Run an operation on (file system, root); a remote one has a time limit."""
        files, root = self._opened
        if isinstance(files, LocalFileSystem):
            return operation(files, root)
        return self._breaker.run(lambda: operation(files, root))

    def _put(self, name: str, content: bytes) -> None:
        def put(files: Any, root: str) -> None:
            if isinstance(files, LocalFileSystem):
                _replace(Path(root) / name, content)
                return
            try:
                files.pipe_file(f"{root}/{name}", content)
            except FileNotFoundError:
                if protocol(self.uri) in BUCKETS:
                    raise  # folders are a part of names there, so the bucket is missing
                files.makedirs(root, exist_ok=True)
                files.pipe_file(f"{root}/{name}", content)

        self._ask(put)


class _CircuitBreaker:
    """Limits the time lost to a remote place that does not answer.

    One operation may take `TIME_LIMIT` seconds, however long the file system itself would retry.
    After a failure that took a second or more, operations fail at once for `_PAUSE_FACTOR` times
    that duration. An outage therefore costs about a tenth of the time.
    """

    def __init__(self) -> None:
        self._until = 0.0
        self._reason = ""

    def run(self, operation: Callable[[], T]) -> T:
        """Run an operation.

        Raises:
            NoAnswerError: when it takes too long, or the place is paused.
            Exception: errors of the operation.
        """
        began = time.monotonic()
        if began < self._until:
            raise NoAnswerError(f"{self._reason}; next attempt in {self._until - began:.0f} s")
        try:
            return _within(TIME_LIMIT, operation)
        except Exception as error:
            now = time.monotonic()
            if now - began >= 1.0:
                self._until, self._reason = now + _PAUSE_FACTOR * (now - began), first_line(error)
            raise


def _within(seconds: float, operation: Callable[[], T]) -> T:
    """Run an operation that may never return; its daemon thread ends with the process."""
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(operation())
        except Exception as error:  # raised in the thread that waits
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True, name="objects").start()
    try:
        return answer.result(seconds)
    except TimeoutError as error:
        if answer.done():
            raise
        raise NoAnswerError(f"no answer in {seconds:g} s") from error


def _sum(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def _replace(path: Path, content: bytes) -> None:
    """Write a local file under a temporary name, private to its owner, and rename it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _packed(folder: Path) -> bytes:
    """The files of a folder as an uncompressed zip; equal files give equal bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder).as_posix()
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes())
    return out.getvalue()


def _unpack(content: bytes, into: Path) -> None:
    """Write the files of a package into the folder `into`, and never outside it."""
    head, _, body = content.partition(b"\n")
    if head != _HEAD + _sum(body):
        raise DamagedError("its SHA-256 differs from the one in its first line")
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        entries = archive.infolist()
        _check_entries(entries, len(body))
        for entry in entries:
            place = into / entry.filename
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(archive.read(entry))


def _check_entries(entries: Sequence[zipfile.ZipInfo], size: int) -> None:
    """Refuse names that lead outside the folder, and content larger than the package of `size`."""
    for entry in entries:
        if not _INSIDE.fullmatch(entry.filename):
            raise DamagedError(
                f"it contains {entry.filename!r}, which is not a valid file name in a checkpoint"
            )
    compressed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if compressed or sum(entry.file_size for entry in entries) > size:
        raise DamagedError("its files are larger than the package itself")


def folder_size(folder: Path) -> int:
    """The bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
