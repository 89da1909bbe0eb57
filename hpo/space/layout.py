"""The columns of encoded configurations by kind: the constants of a space that vectorised code computes with."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hpo.arrays import FloatArray
from hpo.space.parameters import Categorical, Integer, Parameter


@dataclass(frozen=True)
class Layout:
    """One column a parameter; what is named here are column numbers and, in the same order, their constants."""

    parameters: tuple[Parameter, ...]

    @cached_property
    def ranges(self) -> NDArray[np.intp]:
        """Columns with an order."""
        return self._columns(not isinstance(p, Categorical) for p in self.parameters)

    @cached_property
    def choices(self) -> NDArray[np.intp]:
        """Columns without an order."""
        return self._columns(isinstance(p, Categorical) for p in self.parameters)

    @cached_property
    def n_choices(self) -> FloatArray:
        """How many choices each of `choices` has."""
        return np.array(
            [p.n_levels for p in self.parameters if isinstance(p, Categorical)], dtype=float
        )

    @cached_property
    def parents(self) -> NDArray[np.intp]:
        """Columns that decide which others are active."""
        names = {name for parameter in self.parameters for name in parameter.when}
        return self._columns(p.name in names for p in self.parameters)

    @cached_property
    def finest(self) -> FloatArray:
        """`(n_ranges,)` smallest sensible bandwidths: half of the distance between levels, or 1/100."""
        levels = (self.parameters[column].n_levels for column in self.ranges)
        return np.array([max(0.5 / n if n else 0.0, 0.01) for n in levels])

    @cached_property
    def even(self) -> tuple[NDArray[np.intp], FloatArray]:
        """Columns whose levels share the unit interval equally, and the numbers of their levels."""
        columns = self._columns(
            p.n_levels is not None and not (isinstance(p, Integer) and p.log)
            for p in self.parameters
        )
        return columns, np.array(
            [self.parameters[column].n_levels for column in columns], dtype=float
        )

    @cached_property
    def log_integers(self) -> tuple[NDArray[np.intp], FloatArray, FloatArray]:
        """Columns of logarithmic integers, their lowest and their highest numbers."""
        found = [
            (i, p.low, p.high)
            for i, p in enumerate(self.parameters)
            if isinstance(p, Integer) and p.log
        ]
        columns, low, high = np.array(found, dtype=float).reshape(-1, 3).T
        return columns.astype(np.intp), low, high

    def cells(self, x: FloatArray) -> FloatArray:
        """`(n_choice_columns, n)` choice numbers at the codes `(n, d)`; `nan` where inactive."""
        n = self.n_choices[:, None]
        return np.minimum(np.floor(x.T[self.choices] * n), n - 1)

    def per_choice(self, rows: FloatArray) -> FloatArray:
        """Rows `(n_choice_columns, ...)`, each repeated for every choice of its column."""
        return rows[self._owners]

    def one_hot(self, x: FloatArray) -> NDArray[np.bool_]:
        """`(all choices, n)` whether a code `(n, d)` means that choice; nowhere where it is inactive."""
        return np.asarray(self.per_choice(self.cells(x)) == self._numbers)

    @cached_property
    def _owners(self) -> NDArray[np.intp]:
        return np.repeat(np.arange(len(self.choices)), self.n_choices.astype(np.intp))

    @cached_property
    def _numbers(self) -> FloatArray:
        """`(all choices, 1)` the number of each choice within its column."""
        return np.concatenate([np.arange(n) for n in self.n_choices] or [np.empty(0)])[:, None]

    def _columns(self, chosen: Iterable[bool]) -> NDArray[np.intp]:
        return np.flatnonzero(np.fromiter(chosen, dtype=bool))
