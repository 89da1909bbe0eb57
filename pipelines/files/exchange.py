"""Folders that the driver and its workers exchange, under names at a URI that all can reach.

On a shared disk a folder is renamed into place and read in place, so that large arrays are mapped
and not copied. Elsewhere a folder is one file (`pipelines.files.objects`) that each process copies
once.
"""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipelines.files.objects import Objects
from pipelines.files.refused import not_written


@dataclass(frozen=True)
class Exchange:
    """Named folders of one session. A name is a path such as `models/trial-7`.

    Attributes:
        uri: of the exchange.
        copies: the folder for this process's copies of remote folders.
    """

    uri: str
    copies: Path | None = None

    @cached_property
    def _objects(self) -> Objects:
        return Objects(self.uri)

    @cached_property
    def scratch(self) -> Path:
        """A folder on this machine for temporary files."""
        return self._objects.folder or Path(self._copies.name)

    @cached_property
    def _copies(self) -> "tempfile.TemporaryDirectory[str]":
        """This process's copies of what is stored remotely; deleted with this object."""
        return tempfile.TemporaryDirectory(prefix="exchange-")

    def put(self, name: str, write: Callable[[Path], object]) -> None:
        """Store the files that `write` puts into an empty folder, all or none of them.

        Raises:
            OSError: when it cannot be written; with the place where that is on this machine.
        """
        root = self._objects.folder
        if root is None:
            self._objects.save(_file(name), write)
            shutil.rmtree(self.scratch / _file(name), ignore_errors=True)  # an older copy
            return
        try:
            self._put_here(root, name, write)
        except OSError as error:
            raise not_written(root, error) from error

    def _put_here(self, root: Path, name: str, write: Callable[[Path], object]) -> None:
        with tempfile.TemporaryDirectory(prefix="put-", dir=root) as scratch:
            fresh = Path(scratch) / "folder"
            fresh.mkdir()
            write(fresh)
            place = root / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.exists():
                shutil.rmtree(place)
            fresh.rename(place)

    def get(self, name: str) -> Path:
        """The folder with this name on this machine.

        Raises:
            FileNotFoundError: when there is none.
        """
        root = self._objects.folder
        if root is not None:
            if not (root / name).is_dir():
                raise FileNotFoundError(f"there is no {name} in {self.uri}")
            return root / name
        place = self.scratch / _file(name)
        if not place.exists():
            with tempfile.TemporaryDirectory(prefix="get-", dir=self.scratch) as fresh:
                loaded = self._objects.load(_file(name), Path(fresh) / "folder")
                loaded.rename(place)
        return place

    def has(self, name: str) -> bool:
        """Whether there is a folder with this name."""
        root = self._objects.folder
        if root is not None:
            return (root / name).is_dir()
        return _file(name) in dict(self._objects.names())

    def remove(self, name: str) -> None:
        """Delete a folder; a missing one is ignored."""
        root = self._objects.folder
        if root is not None:
            shutil.rmtree(root / name, ignore_errors=True)
            return
        self._objects.delete(_file(name))
        shutil.rmtree(self.scratch / _file(name), ignore_errors=True)


def _file(name: str) -> str:
    return name.replace("/", "--")
