"""What a model costs beside its score: the time of its predictions, its size, its training."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from types import MappingProxyType

from hpo.errors import ParameterError

LATENCY, SIZE, SECONDS, ENERGY = "latency", "size", "training_seconds", "energy"
COSTS = MappingProxyType(
    {
        LATENCY: "milliseconds for 1,000 rows",
        SIZE: "megabytes of its files",
        SECONDS: "seconds of the training",
        ENERGY: "watt-hours of the training, estimated",
    }
)
ROWS, MEGABYTE = 1000, 1e6
WATTS = "HPO_WATTS_PER_CORE"  # environment variable
ASSUMED_WATTS = 10.0
_REPEATS = 3


def is_cost(name: str) -> bool:
    """Whether a metric is a cost: one of `COSTS`, or `energy:WATTS`."""
    return name in COSTS or name.startswith(f"{ENERGY}:")


def check_cost(name: str) -> None:
    """Check the watts of `energy:WATTS`.

    Raises:
        ParameterError: if they are no number greater than 0.
    """
    if name not in COSTS:
        watts_of(name)


def watts_of(name: str, default: float = ASSUMED_WATTS) -> float:
    """The watts of a core in `energy:WATTS`; the default if the name states none.

    Raises:
        ParameterError: if they are no number greater than 0.
    """
    _, colon, text = name.partition(":")
    try:
        watts = float(text) if colon else default
    except ValueError:
        watts = math.nan
    if not 0 < watts < math.inf:
        raise ParameterError(
            f"metric {name!r}: the watts of a core must be a number greater than 0, such as "
            f"{ENERGY}:15"
        )
    return watts


def watts_per_core() -> tuple[float, str]:
    """The power of a core in watts, and where that is from."""
    try:
        watts = float(os.environ.get(WATTS, ""))
    except ValueError:
        watts = math.nan
    if 0 < watts < math.inf:
        return watts, f"${WATTS}"
    return ASSUMED_WATTS, f"assumed; ${WATTS} sets it"


def watt_hours(cpu_seconds: float, watts: float) -> float:
    """The energy of so many seconds of one core, which is an estimate: power is not measured."""
    return cpu_seconds * watts / 3600


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
