"""Temporary folders of processes that were killed: a lock says whether a folder is in use."""

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

LOCK = "in-use"  # the file in a folder that its users hold a lock on
_YOUNG = 60.0  # seconds in which a folder may not have its lock yet


def sweep_folders(prefix: str) -> None:
    """Delete the temporary folders with a prefix that nobody uses any more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with suppress(OSError):  # somebody else's, or gone
            if time.time() - folder.stat().st_mtime > _YOUNG and not _in_use(folder / LOCK):
                shutil.rmtree(folder, ignore_errors=True)


def _in_use(path: Path) -> bool:
    """Whether a process that has locked the file lives, in whatever container."""
    lock = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
