"""The costs of a trial's models, measured in the worker that trained them."""

import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.files.objects import folder_size
from pipelines.table.scores.costs import LATENCY, MEGABYTE, ROWS, SECONDS, SIZE, latency

if TYPE_CHECKING:
    from pipelines.objectives.scoring.scores import Trained


def costs(
    trained: "Sequence[Trained]", seconds: float, wanted: Collection[str]
) -> dict[str, float]:
    """The wanted costs of a trial's models, which are those of all folds together."""
    found = {SECONDS: seconds} if SECONDS in wanted else {}
    if LATENCY in wanted:
        found[LATENCY] = sum(map(_latency, trained))
    if SIZE in wanted:
        found[SIZE] = sum(map(_size, trained))
    return found


def _latency(part: "Trained") -> float:
    rows = part.fold.valid.take(np.arange(min(len(part.fold.valid), ROWS)))
    return latency(lambda: part.model.predict(rows), len(rows))


def _size(part: "Trained") -> float:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        part.model.export(folder)
        return folder_size(folder) / MEGABYTE
