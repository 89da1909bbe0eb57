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


@dataclass(frozen=True)
class Decider:
    """A search with trials behind it: `step` makes one more decision, `bytes` is what its memory of them takes."""

    step: Callable[[], Seconds]
    bytes: int
