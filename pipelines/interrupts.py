"""Ctrl-C and SIGTERM as requests to a running study."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from hpo.loop import Stop

_ONE_EVENT = 1.0  # seconds; `mlflow run` sends SIGTERM 0.25 s after passing on a Ctrl-C


@contextmanager
def interrupts(say: Callable[[str], None]) -> Iterator[Stop]:
    """While inside, the first signal asks to finish what runs and the second to stop now; a third one kills.

    Signals within a second of each other count once.
    """
    stop, last = Stop(), 0.0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _ONE_EVENT:
            return
        last = now
        stop.level += 1
        if stop.level == 1:
            say("finishing the trials that run; press Ctrl-C again to stop now")
        elif stop.level == 2:
            say("stopping now; the trials that run are kept as unfinished")
        else:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
