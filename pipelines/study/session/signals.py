"""Ctrl-C, SIGTERM and a closed terminal as requests to stop a running study."""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from hpo.loop import Stop, StopLevel

_ONE_EVENT = 1.0  # seconds; `mlflow run` sends SIGTERM 0.25 s after passing on a Ctrl-C
_CTRL_C = "press Ctrl-C again"
_AGAIN = {signal.SIGTERM: "send SIGTERM again", signal.SIGHUP: "send SIGTERM"}


def message(level: StopLevel, number: int) -> str:
    """What a signal does."""
    name = signal.Signals(number).name
    by = "" if number == signal.SIGINT else f"{name}: "
    if level is StopLevel.NOW:
        return f"{by}stopping now; the trials that run are stored as unfinished"
    again = _AGAIN.get(signal.Signals(number), _CTRL_C)
    return f"{by}finishing the trials that run; {again} to stop now"


@contextmanager
def interrupts() -> Iterator[Stop]:
    """Turn signals into requests, which the yielded `Stop` holds.

    The first signal asks to finish the running trials, the second to stop now, and a third one
    raises `KeyboardInterrupt`; so does the second where `Stop.in_call` is set. Signals within a
    second of each other count once. Only the main thread can handle signals: in any other one
    nothing is changed.
    """
    stop, last = Stop(), 0.0
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _ONE_EVENT:
            return
        last = now
        if stop.level is StopLevel.NOW:
            raise KeyboardInterrupt
        stop.level = StopLevel(stop.level + 1)
        _say(message(stop.level, number))
        if stop.in_call and stop.level is StopLevel.NOW:
            raise KeyboardInterrupt

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # nohup ignores it
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    # OSError: a closed terminal. RuntimeError: a signal while another line is printed.
    with suppress(OSError, RuntimeError):
        print(text, file=sys.stderr, flush=True)
