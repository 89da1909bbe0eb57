"""What a model costs beside its score: the time of its predictions and its size."""

import math
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pipelines.objectives.scoring.scores import Trained

LATENCY, SIZE, SECONDS = "latency", "size", "training_seconds"
COSTS = MappingProxyType(
    {
        LATENCY: "milliseconds for 1,000 rows",
        SIZE: "megabytes of its files",
        SECONDS: "seconds of the training",
    }
)

_ROWS, _REPEATS = 1000, 3


def costs(
    trained: "Sequence[Trained]", seconds: float, wanted: Collection[str]
) -> dict[str, float]:
    """The wanted `COSTS` of a trial's models, which are those of all folds together."""
    found = {SECONDS: seconds} if SECONDS in wanted else {}
    if LATENCY in wanted:
        found[LATENCY] = sum(map(_latency, trained))
    if SIZE in wanted:
        found[SIZE] = sum(map(_size, trained))
    return found


def _latency(part: "Trained") -> float:
    """The fastest of a few predictions of encoded rows, since other processes only slow it down."""
    rows = part.fold.valid.take(np.arange(min(len(part.fold.valid), _ROWS)))
    fastest = math.inf
    for _ in range(_REPEATS):
        began = time.perf_counter()
        part.model.predict(rows)
        fastest = min(fastest, time.perf_counter() - began)
    return 1e3 * fastest * _ROWS / len(rows)


def _size(part: "Trained") -> float:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        part.model.export(folder)
        return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
