"""When a session began, from which its timeout counts.

The console command counts from the start of its process, because its user waits for the imports,
too. A call from Python counts from the call.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_START_TIME = 19  # the position of `starttime` after the name of the process, see proc(5)

_command: ContextVar[float | None] = ContextVar("command", default=None)
_session: ContextVar[float | None] = ContextVar("session", default=None)


@contextmanager
def command() -> Iterator[None]:
    """Let the sessions inside count from the start of this process."""
    token = _command.set(time.monotonic() - process_age())
    try:
        yield
    finally:
        _command.reset(token)


@contextmanager
def session() -> Iterator[None]:
    """Let what is inside count from now, or from the start of the command."""
    began = _command.get()
    token = _session.set(time.monotonic() if began is None else began)
    try:
        yield
    finally:
        _session.reset(token)


def session_began() -> float:
    """When the session began, on `time.monotonic`; outside of one, now."""
    began = _session.get()
    return time.monotonic() if began is None else began


def process_age() -> float:
    """Seconds since this process was started; where the system does not say, its CPU seconds."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        started = int(fields[_START_TIME]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started
    except (OSError, AttributeError, ValueError):
        return time.process_time()
