"""Wall and CPU seconds of a call."""

import time
from collections.abc import Callable
from dataclasses import dataclass

Seconds = dict[str, float]


def timed(call: Callable[[], object]) -> Seconds:
    """Wall seconds and CPU seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def timed_decision(decide: Callable[[], bool]) -> Seconds:
    """Seconds of a decision, with `new` = 1 if it was a new configuration."""
    new: list[bool] = []
    seconds = timed(lambda: new.append(decide()))
    return {**seconds, "new": float(new[0])}


@dataclass(frozen=True)
class Decider:
    """A search with some trials.

    `step` makes one more decision and returns its seconds, with `new` = 1 for a new configuration
    and 0 for a promotion. `bytes` is the memory of the trials.
    """

    step: Callable[[], Seconds]
    bytes: int
