"""The folder of one pool on one machine of the cluster, which all hosts there share."""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from hpo.workers.leftovers import LOCK, sweep_folders

PREFIX = "hpo-workers-"
_SESSION = re.compile(r"[0-9a-f]{8,64}", re.ASCII)

Files = Mapping[str, bytes]  # by their paths relative to a folder


class NodeFolder:
    """What the hosts of one session on one machine share, in the temporary folder.

    Each holds a lock on it; the last one to leave deletes it, and so does a later session when
    they were killed.

    Args:
        session: names the folder; random, in hexadecimal digits.
    """

    def __init__(self, session: str) -> None:
        if not _SESSION.fullmatch(session):
            raise ValueError(f"{session!r} is no name of a session")
        sweep()
        self.root = Path(tempfile.gettempdir()) / f"{PREFIX}{session}"
        self._lock = self._opened()
        self.shared = self.root / "shared"
        self.shared.mkdir(mode=0o700, exist_ok=True)
        self.own = Path(tempfile.mkdtemp(prefix="host-", dir=self.root))

    def receive(self, name: str, files: Files) -> None:
        """Store shared content under a name, unless it is there."""
        place = self.shared / name
        with self._alone(name):
            if place.exists():
                return
            with tempfile.TemporaryDirectory(prefix="put-", dir=self.root) as scratch:
                fresh = Path(scratch) / "folder"
                fresh.mkdir()
                write_files(fresh, files)
                place.parent.mkdir(parents=True, exist_ok=True)
                fresh.rename(place)

    def has(self, name: str) -> bool:
        """Whether content is there under a name."""
        return (self.shared / name).exists()

    def close(self) -> None:
        """Delete the host's own files, and the folder if no other host uses it."""
        shutil.rmtree(self.own, ignore_errors=True)
        with suppress(BlockingIOError):
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(self.root, ignore_errors=True)
        os.close(self._lock)

    def _opened(self) -> int:
        """The folder's lock, once it is certain that nobody is deleting the folder."""
        while True:
            self.root.mkdir(mode=0o700, exist_ok=True)
            found = self.root.lstat()
            if self.root.is_symlink() or found.st_uid != os.geteuid():
                raise PermissionError(13, "it is a link or another user's folder", str(self.root))
            path = self.root / LOCK
            try:
                lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            except FileNotFoundError:
                continue
            fcntl.flock(lock, fcntl.LOCK_SH)
            with suppress(FileNotFoundError):
                if path.stat().st_ino == os.fstat(lock).st_ino:
                    return lock
            os.close(lock)

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """Keep other hosts from writing the same name at the same time."""
        path = self.root / f"{quote(name, safe='')}.lock"
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def read_files(folder: Path) -> dict[str, bytes]:
    """The files below a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def write_files(folder: Path, files: Files) -> None:
    """Write files below a folder.

    Raises:
        ValueError: for a path that leads out of the folder.
    """
    for name, content in files.items():
        place = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"{name!r} leads out of its folder")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def sweep() -> None:
    """Delete the folders of hosts that were killed."""
    sweep_folders(PREFIX)
