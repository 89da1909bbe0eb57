"""The columns of encoded configurations by kind, as arrays for vectorised code."""

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hpo.arrays import BoolArray, FloatArray
from hpo.space.parameters import Categorical, Integer, Parameter

Kept: TypeAlias = "NDArray[np.intp] | slice"
ALL = slice(None)


@dataclass(frozen=True)
class Layout:
    """One column for each parameter; the properties are column numbers and their constants."""

    parameters: tuple[Parameter, ...]

    @cached_property
    def ranges(self) -> NDArray[np.intp]:
        """Columns of ordered parameters."""
        return np.flatnonzero(~self._is_categorical)

    @cached_property
    def choices(self) -> NDArray[np.intp]:
        """Columns of categorical parameters."""
        return np.flatnonzero(self._is_categorical)

    @cached_property
    def n_choices(self) -> FloatArray:
        """`(n_choice_columns,)` the number of choices of each column in `choices`."""
        return self._n_levels[self.choices]

    @cached_property
    def parents(self) -> NDArray[np.intp]:
        """Columns on which other columns depend."""
        names = set[str]().union(*(parameter.when for parameter in self.parameters))
        return np.flatnonzero(np.array([p.name in names for p in self.parameters], dtype=bool))

    @cached_property
    def finest(self) -> FloatArray:
        """`(n_ranges,)` minimum bandwidths: half of the distance between levels, or 1/100."""
        return np.maximum(0.5 / self._n_levels[self.ranges], 0.01)

    @cached_property
    def even(self) -> tuple[NDArray[np.intp], FloatArray]:
        """Columns whose levels divide the unit interval evenly, and their numbers of levels."""
        columns = np.flatnonzero(np.isfinite(self._n_levels) & ~self._is_log_integer)
        return columns, self._n_levels[columns]

    @cached_property
    def log_integers(self) -> tuple[NDArray[np.intp], FloatArray, FloatArray]:
        """Columns of logarithmic integers, their lower and their upper bounds."""
        columns = np.flatnonzero(self._is_log_integer)
        bounds = np.empty((len(columns), 2))
        for row, column in enumerate(columns):
            parameter = self.parameters[column]
            if isinstance(parameter, Integer):
                bounds[row] = parameter.low, parameter.high
        return columns, bounds[:, 0], bounds[:, 1]

    def cells(self, x: FloatArray) -> FloatArray:
        """`(n_choice_columns, n)` positions of the choices at codes `(n, d)`, `nan` if inactive."""
        n = self.n_choices[:, None]
        return np.minimum(np.floor(x.T[self.choices] * n), n - 1)

    def per_choice(self, rows: FloatArray, kept: Kept = ALL) -> FloatArray:
        """Rows `(n_choice_columns, ...)`, each repeated for every choice of its column.

        `kept` are some of all choices.
        """
        return rows[self._owners[kept]]

    def one_hot(self, x: FloatArray, kept: Kept = ALL) -> BoolArray:
        """`(all choices, n)` whether codes `(n, d)` have that choice; False where inactive."""
        return np.asarray(self.per_choice(self.cells(x), kept) == self._positions[kept])

    @cached_property
    def _owners(self) -> NDArray[np.intp]:
        """`(all choices,)` the row in `choices` of each choice."""
        return np.repeat(np.arange(len(self.choices)), self.n_choices.astype(np.intp))

    @cached_property
    def _positions(self) -> FloatArray:
        """`(all choices, 1)` the position of each choice within its column."""
        starts = np.cumsum(self.n_choices) - self.n_choices
        return np.asarray(np.arange(len(self._owners)) - self.per_choice(starts))[:, None]

    @cached_property
    def _n_levels(self) -> FloatArray:
        """`(d,)` numbers of levels, infinite where continuous."""
        return np.array([p.n_levels or np.inf for p in self.parameters], dtype=float)

    @cached_property
    def _is_categorical(self) -> BoolArray:
        return np.array([isinstance(p, Categorical) for p in self.parameters], dtype=bool)

    @cached_property
    def _is_log_integer(self) -> BoolArray:
        return np.array([isinstance(p, Integer) and p.log for p in self.parameters], dtype=bool)
