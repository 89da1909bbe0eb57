"""The cache folder: results that wait for MLflow, worker output, and checkpoints.

Results are private, and the folder may lie where others can write. So its sub-folders and files are
the user's alone, and no link in place of one of them is followed.
"""

import os
import stat
from pathlib import Path


def cache_dir() -> Path:
    """`$HPO_CACHE_DIR`, or else `mlflow-warmstart` in the user's cache directory."""
    if given := os.environ.get("HPO_CACHE_DIR"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlflow-warmstart"


def make_private(folder: Path) -> None:
    """Make a folder that only its owner can use; make an existing one so.

    Raises:
        OSError: when that fails, or a link or somebody else's folder is in its place.
    """
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
        return
    except FileExistsError:
        found = folder.lstat()
    if stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(13, "it is a link or the folder of another user", str(folder))
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(20, "Not a directory", str(folder))
    if stat.S_IMODE(found.st_mode) & 0o077:
        folder.chmod(0o700)


def open_private(path: Path, flags: int) -> int:
    """Open a file that only its owner can use, and return its descriptor.

    Raises:
        OSError: when that fails, or a link is in its place.
    """
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can use, replacing an earlier one at once.

    Raises:
        OSError: when that fails.
    """
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(open_private(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
        file.write(content)
    os.replace(fresh, path)
