"""What the system refuses: a full or read-only disk, no rights, no memory, no more open files.

The error can arise in any library that writes a file, so it is explained in one place: where a
command or a study ends.
"""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hpo.errors import UserError
from pipelines.files.cache import cache_dir
from pipelines.files.errors import NotWrittenError
from pipelines.files.uris import first_line, safe

FREE_SPACE = "free space there"
_WAYS_OUT = {
    errno.ENOSPC: FREE_SPACE,
    errno.EDQUOT: f"{FREE_SPACE}, or ask for a larger quota",
    errno.EROFS: "make it writable",
    errno.EACCES: "give this user the right to write there",
    errno.EPERM: "give this user the right to write there",
    errno.EIO: "check that disk",
    errno.ENAMETOOLONG: "give the path of a file",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the system's limit of open files",
}
_OF_OPENING = (errno.EMFILE, errno.ENFILE, errno.ENAMETOOLONG)
_MAX_PATH = 120  # characters in a message
_NEARLY_FULL = 1 << 20  # bytes that are free
# What NumPy says of a full disk, without a number.
_CUT_SHORT = ("requested and", "written")


@contextmanager
def refusals_told() -> Iterator[None]:
    """Turn what the system refuses into a message for the user.

    Raises:
        UserError: in place of such an error.
    """
    try:
        yield
    except (OSError, MemoryError) as error:
        if (why := why_refused(error)) is None:
            raise
        raise UserError(why) from error


def why_refused(error: BaseException) -> str | None:
    """What the system refused, with the path and the way out, in one line.

    Returns:
        None for any other error.
    """
    if isinstance(error, MemoryError) or (
        isinstance(error, OSError) and error.errno == errno.ENOMEM
    ):
        return (
            f"the memory of this process ran out ({error or type(error).__name__}); use a machine "
            "with more, fewer workers, or fewer rows"
        )
    if not isinstance(error, OSError):
        return None
    if isinstance(error, NotWrittenError):
        return str(error)
    number = error.errno
    if not number and all(part in str(error) for part in _CUT_SHORT):
        number = errno.ENOSPC
    if number not in _WAYS_OUT:
        return None
    verb = "open" if number in _OF_OPENING else "write"
    return f"cannot {verb} {_place(error, number)} ({os.strerror(number)}); {_WAYS_OUT[number]}"


def not_written(folder: Path, error: OSError) -> NotWrittenError:
    """The error for a folder that cannot be written for this reason."""
    named = OSError(error.errno or 0, str(error), error.filename or str(folder))
    return NotWrittenError(why_refused(named) or f"cannot write {folder}: {first_line(error)}")


def _place(error: OSError, number: int) -> str:
    if error.filename:
        path = safe(os.fsdecode(error.filename))
        return path if number != errno.ENAMETOOLONG else f"{path[:_MAX_PATH]}…"
    full = list(_nearly_full()) if number == errno.ENOSPC else []
    return " or ".join(full) or "a file"


def _nearly_full() -> Iterator[str]:
    """The folders of this process whose disks have no room."""
    for folder in dict.fromkeys((Path(tempfile.gettempdir()), cache_dir(), Path.cwd())):
        try:
            disk = os.statvfs(folder)
        except OSError:
            continue
        if disk.f_bavail * disk.f_frsize < _NEARLY_FULL:
            yield str(folder)
