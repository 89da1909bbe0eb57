"""What a model costs beside its score: the time of its predictions, its size, its training."""

import math
import time
from collections.abc import Callable
from types import MappingProxyType

LATENCY, SIZE, SECONDS = "latency", "size", "training_seconds"
COSTS = MappingProxyType(
    {
        LATENCY: "milliseconds for 1,000 rows",
        SIZE: "megabytes of its files",
        SECONDS: "seconds of the training",
    }
)
ROWS, MEGABYTE = 1000, 1e6
_REPEATS = 3


def latency(predict: Callable[[], object], rows: int) -> float:
    """The milliseconds for 1,000 rows of a call that predicts so many encoded rows.

    It is the fastest of a few calls, since other processes only slow it down.
    """
    fastest = math.inf
    for _ in range(_REPEATS):
        began = time.perf_counter()
        predict()
        fastest = min(fastest, time.perf_counter() - began)
    return 1e3 * fastest * ROWS / rows
