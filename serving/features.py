"""Preprocessing of raw tables, stored as JSON and free of any model library.

Types are inferred once, on the rows that the search may see, and recorded; from then on a raw table is only
translated. A logged model carries this very object, so that training and serving cannot drift apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
CodeArray = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Matrix:
    """Encoded rows.

    ``numeric``: (n, p) float64, ``nan`` where a value is missing.
    ``categorical``: (n, q) int32 codes below the column's cardinality, -1 where the value is unknown.
    """

    numeric: FloatArray
    categorical: CodeArray

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.numeric.shape[0])

    def take(self, rows: IntArray) -> Matrix:
        """Return the given rows, in the given order."""
        return Matrix(self.numeric[rows], self.categorical[rows])

    def dense(self, dtype: npt.DTypeLike = np.float64) -> npt.NDArray[np.floating]:
        """Return one (n, p + q) float array: numeric columns, then codes with ``nan`` for unknown ones."""
        p = self.numeric.shape[1]
        out = np.empty((len(self), p + self.categorical.shape[1]), dtype=dtype)
        out[:, :p] = self.numeric
        out[:, p:] = self.categorical
        out[:, p:][self.categorical < 0] = np.nan
        return out


@dataclass(frozen=True)
class TargetEncoder:
    """Translation of the target column: class codes in the order of ``classes``, or standardised values."""

    kind: str
    classes: tuple[str | int | float | bool, ...] = ()
    mean: float = 0.0
    scale: float = 1.0

    def original(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Return standardised values in original units; codes and probabilities as they are."""
        return values * self.scale + self.mean if self.kind == "regression" else values
