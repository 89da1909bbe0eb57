"""The limits of an ensemble: the time that its members take to predict, and their size."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from serving.features import Matrix
from serving.predictor import Predictor

SECONDS = 1.0  # to predict `ROWS` rows, all members together
BYTES = 200e6  # of all members together
ROWS = 1_000
REPEATS = 3  # measurements, of which the fastest counts


@dataclass(frozen=True)
class Cost:
    """What a member costs.

    Attributes:
        seconds: to predict `ROWS` rows.
        size: of its files in bytes.
    """

    seconds: float
    size: int


def cost(folder: Path, rows: Matrix) -> Cost:
    """Measure the predictor in a folder with some encoded rows."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    predictor, seconds = Predictor.load(folder), []
    for _ in range(REPEATS):
        began = time.perf_counter()
        predictor.predict_encoded(rows)
        seconds.append(time.perf_counter() - began)
    return Cost(min(seconds) * ROWS / max(len(rows), 1), size)


def within(order: Sequence[int], costs: Mapping[int, Cost]) -> set[int]:
    """The trials that fit into the limits together, taken in this order; others are skipped."""
    seconds, size = 0.0, 0
    fitting: set[int] = set()
    for number in order:
        its = costs[number]
        if seconds + its.seconds <= SECONDS and size + its.size <= BYTES:
            seconds, size = seconds + its.seconds, size + its.size
            fitting.add(number)
    return fitting
