"""Where models wait between two legs: one file for each trial and rung, in any place that fsspec opens.

The file is the folder that a worker wrote, as an uncompressed zip behind a line with its SHA-256.
Nothing of it is parsed before that sum agrees, and nothing is unpickled. Names are made of numbers
only.
"""

import hashlib
import io
import os
import re
import shutil
import tempfile
import threading
import time
import uuid
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from hpo.errors import StudyError
from pipelines.files.cache import cache_dir
from pipelines.files.uris import safe
from pipelines.models.errors import CheckpointError
from pipelines.table.reading import BUCKETS, missing_library

T = TypeVar("T")

MOST_PER_RUNG = (
    20  # that wait where nothing says how many will go on; who is cut off is trained from the start
)
PATIENCE = 60.0  # seconds that a place elsewhere has for one answer
FORGOTTEN = 30 * 86_400.0  # seconds; what is lost can be trained again

_REST = 10.0
_SUFFIX = ".checkpoint"
_FILE = re.compile(r"trial-(\d+)-at-([0-9.e+-]+)\.checkpoint", re.ASCII)
_INSIDE = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*", re.ASCII)
_HEAD = b"mlflow-warmstart checkpoint 1, sha256 "


@dataclass(frozen=True, order=True)
class Kept:
    """A checkpoint that is there, and its size."""

    number: int
    budget: float
    bytes: int


def checkpoint_place(run_id: str) -> str:
    """The folder on this machine for the checkpoints of a study; it outlives a killed driver."""
    return str((cache_dir() / "checkpoints" / run_id).absolute())


def sweep_places(older_than: float = FORGOTTEN) -> None:
    """Delete the checkpoints on this machine of studies that nobody has gone on with for `older_than` seconds."""
    root = cache_dir() / "checkpoints"
    for folder in root.iterdir() if root.is_dir() else ():
        with suppress(OSError):  # another process was faster, or it is not ours
            if time.time() - folder.stat().st_mtime > older_than:
                shutil.rmtree(folder)


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one study, at a URI of its own.

    On a local disk a file is renamed into place, readable by its owner only; elsewhere it is put as
    a whole, and what an interrupted write leaves fails its SHA-256. `memory://` is for one process
    only, and not for a study. Buckets are never made. `scratch` is where folders are packed; the
    system's temporary folder when None.
    """

    uri: str
    scratch: Path | None = None

    def save(self, number: int, budget: float, write: Callable[[Path], object]) -> None:
        """Keep what `write` puts into an empty folder; an earlier checkpoint of this trial and rung is replaced.

        Raises:
            CheckpointError: when it cannot be written.
        """
        shown = _shown(number, budget)
        try:
            with tempfile.TemporaryDirectory(prefix="checkpoint-", dir=self.scratch) as folder:
                write(Path(folder))
                body = _packed(Path(folder))
        except OSError as error:
            raise CheckpointError(f"{shown} cannot be written ({_why(error)})") from error
        try:
            self._put(_name(number, budget), _HEAD + _sum(body) + b"\n" + body)
        except Exception as error:  # each remote file system has errors of its own
            raise CheckpointError(f"{shown} cannot be written ({_why(error)})") from error

    def load(self, number: int, budget: float, into: Path) -> Path:
        """The folder `into` with what `save` was given.

        Raises:
            CheckpointError: when it is missing or damaged, or cannot be read.
        """
        shown = _shown(number, budget)
        try:
            name = _name(number, budget)
            _unpack(self._ask(lambda files, root: files.cat_file(f"{root}/{name}")), into)
        except FileNotFoundError as error:
            raise CheckpointError(f"{shown} is missing") from error
        except (_DamagedError, zipfile.BadZipFile) as error:
            raise CheckpointError(f"{shown} is damaged ({error})") from error
        except Exception as error:  # as above
            raise CheckpointError(f"{shown} cannot be read ({_why(error)})") from error
        return into

    def delete(self, number: int, budget: float) -> None:
        """Remove a checkpoint; one that is not there is no error.

        Raises:
            CheckpointError: when it cannot be removed.
        """
        self._remove([_name(number, budget)])

    def kept(self) -> list[Kept]:
        """What is there, by trial and budget.

        Raises:
            CheckpointError: when the place cannot be read.
        """
        found = [(_FILE.fullmatch(name), size) for name, size in self._listed()]
        return sorted(Kept(int(match[1]), float(match[2]), size) for match, size in found if match)

    def clear(self) -> None:
        """Remove all checkpoints, what interrupted writes left, and the local folder when nothing else is in it.

        Raises:
            CheckpointError: when one cannot be removed.
        """
        self._remove([name for name, _ in self._listed() if _FILE.match(name)])
        files, root = self._opened
        if isinstance(files, LocalFileSystem):
            with suppress(OSError):  # not empty, or never made
                Path(root).rmdir()

    def check(self) -> None:
        """Write, read and delete a tiny file, so that a place that cannot be used is told before a study starts.

        Raises:
            StudyError: naming what is missing.
        """
        name = f"check-{uuid.uuid4().hex}"
        try:
            self._put(name, _HEAD)
            read = self._ask(lambda files, root: files.cat_file(f"{root}/{name}"))
            self._ask(lambda files, root: files.rm_file(f"{root}/{name}"))
            shared = not isinstance(self._opened[0], MemoryFileSystem)
        except ImportError as error:
            raise StudyError(missing_library(safe(self.uri), error)) from error
        except Exception as error:  # as above
            raise StudyError(self._unusable(_why(error))) from error
        if read != _HEAD:
            raise StudyError(self._unusable("what is read there is not what was written"))
        if not shared:
            raise StudyError(
                self._unusable("each process has a memory of its own, and the workers are several")
            )

    def _unusable(self, reason: str) -> str:
        return (
            f"checkpoints cannot be kept at {safe(self.uri)}: {reason}; give a place that can be written, such as a "
            "folder on this machine"
        )

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        files, root = fsspec.core.url_to_fs(self.uri)
        return files, str(root).rstrip("/")

    @cached_property
    def _patience(self) -> "_Patience":
        return _Patience()

    def _ask(self, operation: Callable[[Any, str], T]) -> T:
        """What the operation on (file system, root) gives; one that is not on this machine may keep silent."""
        files, root = self._opened
        if isinstance(files, LocalFileSystem):
            return operation(files, root)
        return self._patience.give(lambda: operation(files, root))

    def _put(self, name: str, content: bytes) -> None:
        def put(files: Any, root: str) -> None:
            if isinstance(files, LocalFileSystem):
                _replace(Path(root) / name, content)
                return
            try:
                files.pipe_file(f"{root}/{name}", content)
            except FileNotFoundError:
                if self.uri.partition("://")[0] in BUCKETS:
                    raise  # folders are part of a name there, so it is the bucket that is missing
                files.makedirs(root, exist_ok=True)
                files.pipe_file(f"{root}/{name}", content)

        self._ask(put)

    def _listed(self) -> list[tuple[str, int]]:
        """Names and sizes (bytes) of all files there."""

        def listed(files: Any, root: str) -> list[dict[str, Any]]:
            files.invalidate_cache()  # other processes write there
            entries: list[dict[str, Any]] = files.ls(root, detail=True)
            return entries

        try:
            entries = self._ask(listed)
        except FileNotFoundError:
            return []
        except Exception as error:  # as above
            raise CheckpointError(f"{safe(self.uri)} cannot be listed ({_why(error)})") from error
        return [
            (PurePosixPath(e["name"]).name, int(e["size"])) for e in entries if e["type"] == "file"
        ]

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            try:
                self._ask(lambda files, root, name=name: files.rm_file(f"{root}/{name}"))  # type: ignore[misc]
            except FileNotFoundError:
                continue
            except Exception as error:  # as above
                raise CheckpointError(
                    f"{safe(self.uri)}/{name} cannot be removed ({_why(error)})"
                ) from error


class _Patience:
    """Bounds what a place that does not answer costs.

    One question waits `PATIENCE` seconds at most, whatever the file system's own retries would
    take. After a failure that took a second or more the place is left alone for `_REST` times as
    long, so that a tenth of the time is lost.
    """

    def __init__(self) -> None:
        self._until = 0.0
        self._reason = ""

    def give(self, question: Callable[[], T]) -> T:
        """The answer.

        Raises:
            _SilentError: when it takes too long, or is not asked for now.
            Exception: whatever the question raises.
        """
        began = time.monotonic()
        if began < self._until:
            raise _SilentError(f"{self._reason}; asked again in {self._until - began:.0f} s")
        try:
            return _within(PATIENCE, question)
        except Exception as error:
            now = time.monotonic()
            if now - began >= 1.0:
                self._until, self._reason = now + _REST * (now - began), _why(error)
            raise


class _SilentError(OSError):
    """A place does not answer."""


def _within(seconds: float, question: Callable[[], T]) -> T:
    """The answer of a question that may never come back, asked in a thread that ends with the process."""
    answer: Future[T] = Future()

    def ask() -> None:
        try:
            answer.set_result(question())
        except Exception as error:  # it belongs to who waits
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True, name="checkpoints").start()
    try:
        return answer.result(seconds)
    except TimeoutError as error:
        if answer.done():
            raise
        raise _SilentError(f"no answer in {seconds:g} s") from error


def superseded(
    kept: Iterable[Kept],
    promotable: Mapping[float, Sequence[int]],
    *,
    busy: Collection[int] = (),
) -> list[Kept]:
    """What may be deleted: all but those of promotable trials at their rung, and of the busy ones.

    Args:
        kept: what is there.
        promotable: by budget of the rung, the trials that may still be promoted from it.
        busy: trials whose legs are out. They read the checkpoint that they started from, and what
            they have just written stands there before their report is told.
    """
    needed = {(number, budget) for budget, numbers in promotable.items() for number in numbers}
    return [
        item
        for item in kept
        if item.number not in busy and (item.number, item.budget) not in needed
    ]


class _DamagedError(ValueError):
    """Content that is not what `save` wrote."""


def _name(number: int, budget: float) -> str:
    return f"trial-{int(number)}-at-{float(budget)!r}{_SUFFIX}"


def _shown(number: int, budget: float) -> str:
    return f"the checkpoint of trial {number} at {budget:g}"


def _why(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return safe(lines[0]) if lines else type(error).__name__


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
            archive.writestr(
                zipfile.ZipInfo(path.relative_to(folder).as_posix()), path.read_bytes()
            )
    return out.getvalue()


def _unpack(content: bytes, into: Path) -> None:
    """Write the files of a checkpoint below `into`, and nowhere else."""
    head, _, body = content.partition(b"\n")
    if head != _HEAD + _sum(body):
        raise _DamagedError("its SHA-256 is not the one in its first line")
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        entries = archive.infolist()
        strange = [e.filename for e in entries if not _INSIDE.fullmatch(e.filename)]
        if strange:
            raise _DamagedError(
                f"it holds {strange[0]!r}, which is no name of a file in a checkpoint"
            )
        packed = any(e.compress_type != zipfile.ZIP_STORED for e in entries)
        if packed or sum(e.file_size for e in entries) > len(body):
            raise _DamagedError("it unpacks to more than it holds")
        for entry in entries:
            place = into / entry.filename
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(archive.read(entry))
