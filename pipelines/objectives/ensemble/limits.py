"""The limits of an ensemble: the time that its members take to predict, and their size.

Time is that of the processor with one thread, so that it does not depend on what else runs.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from threadpoolctl import threadpool_limits

from pipelines.files.objects import folder_size
from serving.features import Matrix
from serving.predictor import Predictor

SECONDS, TIMES = 0.1, 5  # to predict `ROWS` rows: in all, or as many times the heaviest member's
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
    size = folder_size(folder)
    predictor, seconds = Predictor.load(folder), []
    for _ in range(REPEATS):
        began = time.process_time()
        with threadpool_limits(1):
            predictor.predict_encoded(rows)
        seconds.append(time.process_time() - began)
    return Cost(min(seconds) * ROWS / max(len(rows), 1), size)


def within(order: Sequence[int], costs: Mapping[int, Cost]) -> set[int]:
    """The trials that fit into the limits together, the heaviest first; others are skipped."""
    most = max(SECONDS, TIMES * costs[order[0]].seconds)
    seconds, size = 0.0, 0
    fitting: set[int] = set()
    for number in order:
        its = costs[number]
        if seconds + its.seconds <= most and size + its.size <= BYTES:
            seconds, size = seconds + its.seconds, size + its.size
            fitting.add(number)
    return fitting
