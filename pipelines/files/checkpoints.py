"""Checkpoints of trials that may be promoted: one file for each trial and rung (`files.objects`)."""

import re
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipelines.files.cache import cache_dir
from pipelines.files.objects import DamagedError, Objects, reason
from pipelines.files.uris import safe
from pipelines.models.errors import CheckpointError

# Checkpoints stored at a rung whose number of promotions is open. A trial beyond them is trained
# again from the start.
MOST_PER_RUNG = 20
FORGOTTEN = 30 * 86_400.0  # seconds; a checkpoint that is lost can be trained again

_SUFFIX = ".checkpoint"
_FILE = re.compile(r"trial-(\d+)-at-([0-9.e+-]+)\.checkpoint", re.ASCII)


@dataclass(frozen=True, order=True)
class Kept:
    """A checkpoint that exists, and its size."""

    number: int
    budget: float
    bytes: int


def checkpoint_place(run_id: str) -> str:
    """The folder on this machine for the checkpoints of a study; it outlives a killed driver."""
    return str((cache_dir() / "checkpoints" / run_id).absolute())


def sweep_places(older_than: float = FORGOTTEN) -> None:
    """Delete this machine's checkpoints of studies that were not resumed for `older_than` seconds."""
    root = cache_dir() / "checkpoints"
    for folder in root.iterdir() if root.is_dir() else ():
        with suppress(OSError):  # another process was faster, or it belongs to somebody else
            if time.time() - folder.stat().st_mtime > older_than:
                shutil.rmtree(folder)


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one study, at a URI of its own.

    Attributes:
        uri: of the folder. `memory://` is for one process only, and not for a study.
        scratch: where folders are packed; None takes the system's temporary folder.
    """

    uri: str
    scratch: Path | None = None

    @cached_property
    def _objects(self) -> Objects:
        return Objects(self.uri, self.scratch)

    def save(self, number: int, budget: float, write: Callable[[Path], object]) -> None:
        """Store what `write` puts into an empty folder, in place of an earlier checkpoint.

        Raises:
            CheckpointError: when it cannot be written.
        """
        try:
            self._objects.save(_name(number, budget), write)
        except OSError as error:
            raise CheckpointError(
                f"{_shown(number, budget)} cannot be written ({reason(error)})"
            ) from error

    def load(self, number: int, budget: float, into: Path) -> Path:
        """The folder `into` with what `save` was given.

        Raises:
            CheckpointError: when it is missing or damaged, or cannot be read.
        """
        shown = _shown(number, budget)
        try:
            return self._objects.load(_name(number, budget), into)
        except FileNotFoundError as error:
            raise CheckpointError(f"{shown} is missing") from error
        except DamagedError as error:
            raise CheckpointError(f"{shown} is damaged ({error})") from error
        except Exception as error:  # each file system has errors of its own
            raise CheckpointError(f"{shown} cannot be read ({reason(error)})") from error

    def delete(self, number: int, budget: float) -> None:
        """Delete a checkpoint; one that is not there is no error.

        Raises:
            CheckpointError: when it cannot be deleted.
        """
        self._delete(_name(number, budget))

    def kept(self) -> list[Kept]:
        """The checkpoints that exist, by trial and budget.

        Raises:
            CheckpointError: when the place cannot be read.
        """
        found = [(_FILE.fullmatch(name), size) for name, size in self._names()]
        return sorted(Kept(int(match[1]), float(match[2]), size) for match, size in found if match)

    def clear(self) -> None:
        """Delete all checkpoints, what interrupted writes left, and a local folder that is empty then.

        Raises:
            CheckpointError: when one cannot be deleted.
        """
        for name, _ in self._names():
            if _FILE.match(name):
                self._delete(name)
        if self._objects.folder is not None:
            with suppress(OSError):  # not empty, or never made
                self._objects.folder.rmdir()

    def check(self) -> None:
        """Find out before a study starts whether the place works.

        Raises:
            StudyError: naming what is missing.
        """
        self._objects.check("checkpoints")

    def _names(self) -> list[tuple[str, int]]:
        try:
            return self._objects.names()
        except Exception as error:  # each file system has errors of its own
            raise CheckpointError(f"{safe(self.uri)} cannot be listed ({reason(error)})") from error

    def _delete(self, name: str) -> None:
        try:
            self._objects.delete(name)
        except Exception as error:  # each file system has errors of its own
            raise CheckpointError(
                f"{safe(self.uri)}/{name} cannot be deleted ({reason(error)})"
            ) from error


def superseded(
    kept: Iterable[Kept],
    promotable: Mapping[float, Sequence[int]],
    *,
    busy: Collection[int] = (),
) -> list[Kept]:
    """The checkpoints that may be deleted: no trial will be promoted from them, and none is busy.

    Args:
        kept: those that exist.
        promotable: by budget of the rung, the trials that may still be promoted from it.
        busy: trials with a running leg. It reads the checkpoint that it starts from, and writes the
            next one before it reports.
    """
    needed = {(number, budget) for budget, numbers in promotable.items() for number in numbers}
    idle = (item for item in kept if item.number not in busy)
    return [item for item in idle if (item.number, item.budget) not in needed]


def _name(number: int, budget: float) -> str:
    return f"trial-{int(number)}-at-{float(budget)!r}{_SUFFIX}"


def _shown(number: int, budget: float) -> str:
    return f"the checkpoint of trial {number} at {budget:g}"
