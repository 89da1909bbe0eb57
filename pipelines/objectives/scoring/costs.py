"""The costs of a trial's models, measured in the worker that trained them."""

import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.files.objects import folder_size
from pipelines.table.scores.costs import (
    ENERGY,
    LATENCY,
    MEGABYTE,
    ROWS,
    SECONDS,
    SIZE,
    is_cost,
    latency,
    watt_hours,
    watts_of,
)

if TYPE_CHECKING:
    from pipelines.objectives.scoring.scores import Trained


@dataclass(frozen=True)
class Spent:
    """What a training has taken.

    Attributes:
        seconds: by the clock.
        cpu_seconds: of all cores of the worker's process.
    """

    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Meter:
    """A clock of what this process spends from `start` on."""

    began: float
    cpu_began: float

    @classmethod
    def start(cls) -> "Meter":
        """A clock that starts now."""
        return cls(time.monotonic(), time.process_time())

    @property
    def spent(self) -> Spent:
        """What was spent since the start."""
        return Spent(time.monotonic() - self.began, time.process_time() - self.cpu_began)


def costs(
    trained: "Sequence[Trained]", spent: Spent, wanted: Collection[str], watts: float
) -> dict[str, float]:
    """The wanted costs of a trial's models, which are those of all folds together.

    Args:
        trained: the model of each fold.
        spent: by their training.
        wanted: names of costs; other names are ignored.
        watts: of a core, for the energy of a name that states none.
    """
    found = {SECONDS: spent.seconds} if SECONDS in wanted else {}
    if LATENCY in wanted:
        found[LATENCY] = sum(map(_latency, trained))
    if SIZE in wanted:
        found[SIZE] = sum(map(_size, trained))
    for name in wanted:
        if is_cost(name) and name.partition(":")[0] == ENERGY:
            found[name] = watt_hours(spent.cpu_seconds, watts_of(name, watts))
    return found


def _latency(part: "Trained") -> float:
    rows = part.fold.valid.take(np.arange(min(len(part.fold.valid), ROWS)))
    return latency(lambda: part.model.predict(rows), len(rows))


def _size(part: "Trained") -> float:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        part.model.export(folder)
        return folder_size(folder) / MEGABYTE
