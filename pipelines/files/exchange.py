"""Folders that the driver and its workers exchange, under names at a URI that all can reach.

On a shared disk a folder is renamed into place and read in place, so that large arrays are mapped
and not copied. Elsewhere a folder is one file (`pipelines.files.objects`) that each process copies
once.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, unquote

from pipelines.files.objects import Objects
from pipelines.files.refused import not_written

_PARTLY = "put-"
_PRINTED = "printed"


@dataclass(frozen=True)
class Exchange:
    """Named folders of one session. A name is a path such as `models/trial-7`.

    On a machine of a cluster the folders of the driver are copies, and what a worker stores lies in
    a folder of its own until it travels to the driver with the worker's report.

    Attributes:
        uri: of the exchange.
        own: the folder of a worker on another machine, for what it stores and for temporary files;
            None if what it stores reaches the driver at once.
    """

    uri: str
    own: Path | None = None

    @cached_property
    def _objects(self) -> Objects:
        return Objects(self.uri)

    @cached_property
    def scratch(self) -> Path:
        """A folder on this machine for temporary files."""
        return self.own or self._objects.folder or Path(self._copies.name)

    @property
    def printed(self) -> Path:
        """The folder of the texts that jobs print, which reach the driver with their ends."""
        return self.scratch / _PRINTED

    @cached_property
    def _copies(self) -> "tempfile.TemporaryDirectory[str]":
        """This process's copies of what is stored remotely; deleted with this object."""
        return tempfile.TemporaryDirectory(prefix="exchange-")

    def put(self, name: str, write: Callable[[Path], object]) -> None:
        """Store the files that `write` puts into an empty folder, all or none of them.

        Raises:
            OSError: when it cannot be written; with the place where that is on this machine.
        """
        if self.own is not None:
            self._sent_folder.mkdir(parents=True, exist_ok=True)
            self._put_here(self._sent_folder, quote(name, safe=""), write)
            return
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
        with tempfile.TemporaryDirectory(prefix=_PARTLY, dir=root) as scratch:
            fresh = Path(scratch) / "folder"
            fresh.mkdir()
            write(fresh)
            place = root / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.exists():
                shutil.rmtree(place)
            fresh.rename(place)

    @property
    def _sent_folder(self) -> Path:
        return self.scratch / "sent"

    def sent(self) -> Iterator[tuple[str, Path]]:
        """Names and folders of what this worker has stored and the driver does not have yet."""
        if self._sent_folder.is_dir():
            for path in sorted(self._sent_folder.iterdir()):
                if not path.name.startswith(_PARTLY):
                    yield unquote(path.name), path

    def forget_sent(self) -> None:
        """Delete what this worker has stored."""
        shutil.rmtree(self._sent_folder, ignore_errors=True)

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
