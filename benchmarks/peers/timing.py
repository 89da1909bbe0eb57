"""Wall and CPU seconds of a call."""

import time
from collections.abc import Callable
from dataclasses import dataclass

Seconds = dict[str, float]


def timed(call: Callable[[], object]) -> Seconds:
    """Seconds on the wall clock, which a busy machine stretches, and of this process's own work."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def timed_decision(decide: Callable[[], bool]) -> Seconds:
    """Seconds of a decision, and as `new` whether it was a new configuration."""
    new: list[bool] = []
    seconds = timed(lambda: new.append(decide()))
    return {**seconds, "new": float(new[0])}


@dataclass(frozen=True)
class Decider:
    """A search with trials behind it.

    `step` makes one more decision and says what it took and whether it was a `new` configuration
    (1) or not (0); `bytes` is what the memory of the trials takes.
    """

    step: Callable[[], Seconds]
    bytes: int
