"""Folders as single files at a URI, in any place that fsspec opens.

The file is an uncompressed zip behind a line with its SHA-256. Nothing of it is parsed before that
sum agrees, and nothing is unpickled.
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
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from hpo.errors import StudyError
from pipelines.files.uris import safe
from pipelines.table.reading import BUCKETS, missing_library

T = TypeVar("T")

PATIENCE = 60.0  # seconds that a remote place has for one answer

_REST = 10.0
_INSIDE = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*", re.ASCII)
_HEAD = b"mlflow-warmstart checkpoint 1, sha256 "


class DamagedError(ValueError):
    """Content that is not what `save` wrote."""


@dataclass(frozen=True)
class Objects:
    """Folders stored under names at a URI.

    On a local disk a file is renamed into place and readable by its owner only. Elsewhere it is
    put as a whole, and what an interrupted write leaves fails its SHA-256. Buckets are never
    created.

    Attributes:
        uri: of the folder that holds the files.
        scratch: where folders are packed; None takes the system's temporary folder.
    """

    uri: str
    scratch: Path | None = None

    def save(self, name: str, write: Callable[[Path], object]) -> None:
        """Store what `write` puts into an empty folder, in place of what the name held.

        Raises:
            OSError: when the folder or the file cannot be written.
            Exception: whatever `write` raises.
        """
        with tempfile.TemporaryDirectory(prefix="packed-", dir=self.scratch) as folder:
            write(Path(folder))
            body = _packed(Path(folder))
        try:
            self._put(name, _HEAD + _sum(body) + b"\n" + body)
        except Exception as error:  # each file system has errors of its own
            raise OSError(reason(error)) from error

    def load(self, name: str, into: Path) -> Path:
        """Write what the name holds below the folder `into`, and nowhere else; returns `into`.

        Raises:
            FileNotFoundError: when there is no such name.
            DamagedError: when the content is not what `save` wrote.
            Exception: whatever else the file system raises.
        """
        content = self._ask(lambda files, root: files.cat_file(f"{root}/{name}"))
        try:
            _unpack(content, into)
        except zipfile.BadZipFile as error:
            raise DamagedError(str(error)) from error
        return into

    def names(self) -> list[tuple[str, int]]:
        """Names and sizes (bytes) of all files there; none when the folder does not exist.

        Raises:
            Exception: whatever the file system raises.
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
        """Delete a name; one that is not there is no error.

        Raises:
            Exception: whatever the file system raises.
        """
        try:
            self._ask(lambda files, root: files.rm_file(f"{root}/{name}"))
        except FileNotFoundError:
            return

    def check(self, what: str) -> None:
        """Write, read and delete a tiny file, to find out before a study whether the place works.

        Raises:
            StudyError: with `what` cannot be stored there, and why.
        """
        name = f"check-{uuid.uuid4().hex}"
        try:
            self._put(name, _HEAD)
            read = self._ask(lambda files, root: files.cat_file(f"{root}/{name}"))
            self._ask(lambda files, root: files.rm_file(f"{root}/{name}"))
        except ImportError as error:
            raise StudyError(missing_library(safe(self.uri), error)) from error
        except Exception as error:  # each file system has errors of its own
            raise StudyError(self._unusable(what, reason(error))) from error
        if read != _HEAD:
            raise StudyError(self._unusable(what, "what is read there is not what was written"))
        if isinstance(self._opened[0], MemoryFileSystem):
            raise StudyError(
                self._unusable(
                    what, "each process has a memory of its own, and the workers are several"
                )
            )

    @property
    def folder(self) -> Path | None:
        """The folder, where it is on this machine; None for a remote one."""
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
    def _patience(self) -> "_Patience":
        return _Patience()

    def _ask(self, operation: Callable[[Any, str], T]) -> T:
        """Run an operation on (file system, root); a remote one has a time limit."""
        files, root = self._opened
        if isinstance(files, LocalFileSystem):
            return operation(files, root)
        return self._patience.run(lambda: operation(files, root))

    def _put(self, name: str, content: bytes) -> None:
        def put(files: Any, root: str) -> None:
            if isinstance(files, LocalFileSystem):
                _replace(Path(root) / name, content)
                return
            try:
                files.pipe_file(f"{root}/{name}", content)
            except FileNotFoundError:
                if self.uri.partition("://")[0] in BUCKETS:
                    raise  # folders are a part of names there, so the bucket is missing
                files.makedirs(root, exist_ok=True)
                files.pipe_file(f"{root}/{name}", content)

        self._ask(put)


class SilentError(OSError):
    """A place does not answer."""


class _Patience:
    """Limits what a place that does not answer costs.

    One operation has `PATIENCE` seconds, whatever the file system's own retries would take. After a
    failure that took a second or more, the place is not asked for `_REST` times as long, so that a
    tenth of the time is lost.
    """

    def __init__(self) -> None:
        self._until = 0.0
        self._reason = ""

    def run(self, operation: Callable[[], T]) -> T:
        """Run an operation.

        Raises:
            SilentError: when it takes too long, or the place is not asked now.
            Exception: whatever the operation raises.
        """
        began = time.monotonic()
        if began < self._until:
            raise SilentError(f"{self._reason}; asked again in {self._until - began:.0f} s")
        try:
            return _within(PATIENCE, operation)
        except Exception as error:
            now = time.monotonic()
            if now - began >= 1.0:
                self._until, self._reason = now + _REST * (now - began), reason(error)
            raise


def reason(error: Exception) -> str:
    """The first line of an error, without secrets."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return safe(lines[0]) if lines else type(error).__name__


def _within(seconds: float, operation: Callable[[], T]) -> T:
    """Run an operation that may never return in a thread that ends with the process."""
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
        raise SilentError(f"no answer in {seconds:g} s") from error


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
    """The files of a folder as a zip without compression, the same bytes for the same files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder).as_posix()
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes())
    return out.getvalue()


def _unpack(content: bytes, into: Path) -> None:
    """Write the files of a package below `into`, and nowhere else."""
    head, _, body = content.partition(b"\n")
    if head != _HEAD + _sum(body):
        raise DamagedError("its SHA-256 is not the one in its first line")
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        entries = archive.infolist()
        for entry in entries:
            if not _INSIDE.fullmatch(entry.filename):
                raise DamagedError(
                    f"it holds {entry.filename!r}, which is no name of a file in a checkpoint"
                )
        packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        if packed or sum(entry.file_size for entry in entries) > len(body):
            raise DamagedError("it unpacks to more than it holds")
        for entry in entries:
            place = into / entry.filename
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(archive.read(entry))
