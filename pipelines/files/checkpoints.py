"""Checkpoints of trials that may be promoted: one file per trial and rung (`files.objects`)."""

import re
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipelines.files.cache import cache_dir
from pipelines.files.errors import CheckpointError, DamagedError
from pipelines.files.objects import Objects
from pipelines.files.uris import first_line, safe

# Checkpoints stored per rung when the number of promotions is open. A promoted trial without a
# checkpoint is trained from the start.
MAX_PER_RUNG = 20
MAX_AGE = 30 * 86_400.0  # seconds; training replaces a deleted checkpoint

_SUFFIX = ".checkpoint"
_FILE = re.compile(r"trial-(\d+)-at-([0-9.e+-]+)\.checkpoint", re.ASCII)


@dataclass(frozen=True, order=True)
class StoredCheckpoint:
    """A checkpoint that exists, and its size in bytes."""

    number: int
    budget: float
    bytes: int


def checkpoint_place(run_id: str) -> str:
    """The folder on this machine for the checkpoints of a study; it survives a killed driver."""
    return str((cache_dir() / "checkpoints" / run_id).absolute())


def sweep_places(older_than: float = MAX_AGE) -> None:
    """Delete the local checkpoints of studies that were not resumed for `older_than` seconds."""
    root = cache_dir() / "checkpoints"
    for folder in root.iterdir() if root.is_dir() else ():
        with suppress(OSError):  # another process deleted it, or another user owns it
            if time.time() - folder.stat().st_mtime > older_than:
                shutil.rmtree(folder)


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one study, at a URI of its own.

    Attributes:
        uri: of the folder. `memory://` works within one process only, so not for a study.
        scratch: where folders are packed; None uses the system's temporary folder.
    """

    uri: str
    scratch: Path | None = None

    @cached_property
    def _objects(self) -> Objects:
        return Objects(self.uri, self.scratch)

    def save(self, number: int, budget: float, write: Callable[[Path], object]) -> None:
        """Store the files that `write` puts into an empty folder, replacing an earlier one.

        Raises:
            CheckpointError: when it cannot be written.
        """
        try:
            self._objects.save(_name(number, budget), write)
        except OSError as error:
            raise CheckpointError(
                f"{_label(number, budget)} cannot be written ({first_line(error)})"
            ) from error

    def load(self, number: int, budget: float, into: Path) -> Path:
        """Unpack a checkpoint into the folder `into` and return that folder.

        Raises:
            CheckpointError: when it is missing or damaged, or cannot be read.
        """
        shown = _label(number, budget)
        try:
            return self._objects.load(_name(number, budget), into)
        except FileNotFoundError as error:
            raise CheckpointError(f"{shown} is missing") from error
        except DamagedError as error:
            raise CheckpointError(f"{shown} is damaged ({error})") from error
        except Exception as error:  # each file system has errors of its own
            raise CheckpointError(f"{shown} cannot be read ({first_line(error)})") from error

    def delete(self, number: int, budget: float) -> None:
        """Delete a checkpoint; a missing one is ignored.

        Raises:
            CheckpointError: when it cannot be deleted.
        """
        self._delete(_name(number, budget))

    def stored(self) -> list[StoredCheckpoint]:
        """The checkpoints that exist, by trial and budget.

        Raises:
            CheckpointError: when the place cannot be read.
        """
        found = [(_FILE.fullmatch(name), size) for name, size in self._names()]
        return sorted(
            StoredCheckpoint(int(match[1]), float(match[2]), size) for match, size in found if match
        )

    def clear(self) -> None:
        """Delete all checkpoints, partly written ones, and the local folder if it is then empty.

        Raises:
            CheckpointError: when one cannot be deleted.
        """
        for name, _ in self._names():
            if _FILE.match(name):
                self._delete(name)
        if self._objects.folder is not None:
            with suppress(OSError):  # not empty, or never created
                self._objects.folder.rmdir()

    def check(self, *, writing: bool = True) -> None:
        """Check before a study starts that checkpoints can be stored.

        Args:
            writing: whether to write a tiny file there.

        Raises:
            StudyError: with the reason when they cannot.
        """
        self._objects.check("checkpoints", writing=writing)

    def _names(self) -> list[tuple[str, int]]:
        try:
            return self._objects.names()
        except Exception as error:  # each file system has errors of its own
            raise CheckpointError(
                f"{safe(self.uri)} cannot be listed ({first_line(error)})"
            ) from error

    def _delete(self, name: str) -> None:
        try:
            self._objects.delete(name)
        except Exception as error:  # each file system has errors of its own
            raise CheckpointError(
                f"{safe(self.uri)}/{name} cannot be deleted ({first_line(error)})"
            ) from error


def superseded(
    stored: Iterable[StoredCheckpoint],
    promotable: Mapping[float, Sequence[int]],
    *,
    busy: Collection[int] = (),
) -> list[StoredCheckpoint]:
    """The checkpoints that may be deleted: no trial can be promoted from them or is using them.

    Args:
        stored: the existing checkpoints.
        promotable: by budget of the rung, the trials that may still be promoted from it.
        busy: trials with a running leg. The leg reads the checkpoint that it starts from, and
            writes the next one before it reports.
    """
    needed = {(number, budget) for budget, numbers in promotable.items() for number in numbers}
    idle = (item for item in stored if item.number not in busy)
    return [item for item in idle if (item.number, item.budget) not in needed]


def _name(number: int, budget: float) -> str:
    return f"trial-{int(number)}-at-{float(budget)!r}{_SUFFIX}"


def _label(number: int, budget: float) -> str:
    return f"the checkpoint of trial {number} at {budget:g}"
