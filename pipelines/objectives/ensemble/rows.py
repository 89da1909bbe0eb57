"""The validation rows whose predictions are stored, and their divisions in halves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hpo.arrays import FloatArray, IntArray
from pipelines.objectives.ensemble.library import sampled

if TYPE_CHECKING:
    from pipelines.table.data import Prepared

REPEATS = 3  # divisions of the validation rows in halves

Half = tuple[IntArray, IntArray]  # the rows that choose or fit, and those that score


@dataclass(frozen=True)
class ValidationRows:
    """The n validation rows that predictions are stored of, in the order of the folds.

    Attributes:
        y: `(n,)` targets, as a `Metric` takes them.
        weight: `(n,)` weights of the rows; None for equal ones.
        halves: divisions by the rule of the study, as positions.
    """

    y: npt.NDArray[Any]
    weight: FloatArray | None
    halves: Sequence[Half]

    @classmethod
    def of(cls, prepared: Prepared, seed: int, *, own_folds: bool) -> ValidationRows:
        """The rows of a table.

        Args:
            prepared: the table.
            seed: of the divisions.
            own_folds: whether the folds of the search are the user's, and so are not to be mixed.
        """
        folds = [valid for _, valid in prepared.rows.folds]
        kept = sampled(sum(map(len, folds)))
        rows = np.concatenate(folds)[kept]
        weight = None if prepared.weight is None else prepared.weight[rows]
        if own_folds:
            of = np.repeat(np.arange(len(folds)), [*map(len, folds)])[kept]
            halves = [(np.flatnonzero(of != i), np.flatnonzero(of == i)) for i in np.unique(of)]
        else:
            halves = _halves(prepared, rows, seed)
        return cls(prepared.y[rows], weight, halves)


def _halves(prepared: Prepared, rows: IntArray, seed: int) -> list[Half]:
    """Divisions of these rows by the rule of the study, as positions in `rows`."""
    order = np.argsort(rows, kind="stable")
    numbers = rows[order]
    parts = prepared.resampled(repeats=REPEATS, folds=2, seed=seed, among=numbers).folds
    return [
        (order[numbers.searchsorted(chosen)], order[numbers.searchsorted(scored)])
        for chosen, scored in parts
    ]
