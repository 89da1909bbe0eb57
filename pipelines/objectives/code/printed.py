"""What the user's code prints: into a file of its leg, which the driver stores with the trial.

The file descriptors themselves lead to the file, so that it also has what libraries and child
processes print, and is complete up to the moment when a worker is killed.
"""

import ctypes
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LAST = 32 << 10  # bytes that a message is looked for in
_STREAMS = (1, 2)
_LIBC = ctypes.CDLL(None)


def name(number: int, budget: float) -> str:
    """The name of a leg's file, in the folder that driver and workers share."""
    return f"{number}-{budget:g}.txt"


@contextmanager
def printed_to(path: Path) -> Iterator[None]:
    """Let this process and its children print to a file; an empty one is deleted."""
    path.parent.mkdir(exist_ok=True)
    _flush()
    before = [os.dup(stream) for stream in _STREAMS]
    try:
        with path.open("a+b") as file:
            for stream in _STREAMS:
                os.dup2(file.fileno(), stream)
        yield
    finally:
        _flush()
        for stream, own in zip(_STREAMS, before, strict=True):
            os.dup2(own, stream)
            os.close(own)
        with suppress(FileNotFoundError):  # a driver that has died takes the folder with it
            if not path.stat().st_size:
                path.unlink()


def printed_so_far() -> int:
    """How many bytes the file has that this process prints to."""
    _flush()
    return os.fstat(_STREAMS[-1]).st_size


def printed_since(start: int) -> str:
    """The end of what was printed after so many bytes; "" where it is not printed to a file."""
    try:
        size = printed_so_far()
        return os.pread(_STREAMS[-1], _LAST, max(start, size - _LAST)).decode(errors="replace")
    except OSError:
        return ""


def print_lines() -> None:
    """Let Python write each line at once, since workers may be killed at any time."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)


def _flush() -> None:
    """Write what Python and C libraries have buffered."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    _LIBC.fflush(None)
