"""What a process has around it, set or kept for a while: variables, folder, temporary files."""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress


@contextmanager
def environment(variables: Mapping[str, str | None]) -> Iterator[None]:
    """Set variables, and restore them at the end; None unsets one."""
    before = {name: os.environ.get(name) for name in variables}
    try:
        _set(variables)
        yield
    finally:
        _set(before)


@contextmanager
def surroundings() -> Iterator[None]:
    """Restore the working directory, the mask of new files and the place of temporary ones.

    Code that changes them in one call must not change what the next call does.
    """
    folder, mask, temporary = _folder(), os.umask(0o077), tempfile.tempdir
    os.umask(mask)
    try:
        yield
    finally:
        os.umask(mask)
        tempfile.tempdir = temporary
        if folder is not None and folder != _folder():
            with suppress(OSError):  # it was removed
                os.chdir(folder)


@contextmanager
def one_process() -> Iterator[None]:
    """End a process that was forked inside and has come back, as if it were its parent."""
    own, code = os.getpid(), 1
    try:
        yield
        code = 0
    finally:
        if os.getpid() != own:
            with suppress(OSError, ValueError, AttributeError):
                sys.stdout.flush()
            os._exit(code)


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})
