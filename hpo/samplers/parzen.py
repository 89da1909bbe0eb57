"""Parzen estimators on mixed, conditional spaces, evaluated with one matrix product.

All densities are relative to the prior, which is uniform in the unit cube and over choices. The prior's own density
is therefore 1 everywhere, and a dimension that is inactive in a configuration or in a kernel's centre contributes
the factor 1: a centre that never had the dimension says nothing about it.

The kernel of centre c is a product over dimensions (Falkner et al. 2018, BOHB, eq. 3), truncated to the unit cube:

    log k(x | c) = sum_j a_j(x) a_j(c) [ -(x_j - c_j)^2 / (2 h_j^2) - log(sqrt(2 pi) h_j Z_j) ]    ranges
                 + sum_j a_j(x) a_j(c) log(L_j T_j[c_j, x_j])                                      L_j choices

with a = 1 where active. It is bilinear in phi(x) = (a x^2, a x, a, one-hot choices) and a vector psi(c) that holds the
rest, whatever the bandwidths h are; so the log kernels of m configurations under n centres are one product
`phi @ psi.T`, and the density costs m n exponentials instead of m n d.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from hpo.space import Array, Categorical, SearchSpace

_LOG_SQRT_2PI = 0.5 * np.log(2 * np.pi)
_MAX_KERNELS = 100  # Bergstra et al.'s "magic clip": bandwidths never fall below 1 / 100 of a range


@dataclass(frozen=True)
class Layout:
    """The dimensions of a space by kind."""

    space: SearchSpace

    @cached_property
    def ranges(self) -> NDArray[np.intp]:
        """Columns with an order."""
        return np.array(
            [i for i, p in enumerate(self.space) if not isinstance(p, Categorical)], dtype=np.intp
        )

    @cached_property
    def choices(self) -> tuple[tuple[int, int], ...]:
        """Columns without an order, each with its number of choices."""
        return tuple((i, p.n_levels) for i, p in enumerate(self.space) if isinstance(p, Categorical))

    @cached_property
    def finest(self) -> Array:
        """`(n_ranges,)` smallest sensible bandwidths: half of the distance between levels."""
        levels = (self.space.n_levels[column] for column in self.ranges)
        return np.array([0.5 / n if n else 0.0 for n in levels])

    def features(self, x: Array) -> Array:
        """Phi of the module docstring for configurations `(m, d)`: `(m, 3 n_ranges + all choices)`."""
        active = ~np.isnan(x[:, self.ranges])
        v = np.nan_to_num(x[:, self.ranges])
        one_hot = [_cells(x[:, i], n)[:, None] == np.arange(n) for i, n in self.choices]
        return np.concatenate([v * v, v, active, *one_hot], axis=1, dtype=float)


@dataclass(frozen=True)
class Parzen:
    """A mixture of one kernel a centre and the prior.

    Attributes:
        layout: of the space.
        centres: `(n, d)`, `nan` where inactive.
        bandwidths: `(n, n_ranges)`.
        tables: per categorical column, `(n, L)` probabilities of the choices under each centre.
        weights: `(n + 1,)` mixture weights; the prior's stands last.
    """

    layout: Layout
    centres: Array
    bandwidths: Array
    tables: tuple[Array, ...]
    weights: Array

    @classmethod
    def fit(cls, layout: Layout, x: Array, weights: Array, prior_weight: float = 1.0) -> "Parzen":
        """The estimator for configurations `(n, d)` with weights `(n,)`, one observation weighing 1."""
        tables = tuple(_smoothed_choices(_cells(x[:, i], n), n) for i, n in layout.choices)
        mixture = np.append(weights, prior_weight)
        return cls(
            layout,
            x,
            _neighbour_bandwidths(x[:, layout.ranges], layout.finest),
            tables,
            mixture / mixture.sum(),
        )

    def log_density(self, features: Array) -> Array:
        """`(m,)` log densities relative to the prior, from `layout.features`."""
        with np.errstate(divide="ignore"):
            log_w = np.log(self.weights)
        terms = np.column_stack([features @ self._psi.T + log_w[:-1], np.full(len(features), log_w[-1])])
        top = terms.max(axis=1, keepdims=True)
        return np.asarray(np.log(np.exp(terms - top).sum(axis=1)) + top[:, 0])

    def sample(self, rng: np.random.Generator, m: int) -> Array:
        """`(m, d)` draws with every dimension filled: inactive ones of a centre come from the prior."""
        kernel = rng.choice(len(self.weights), m, p=self.weights)
        u = rng.random((m, len(self.layout.space)))
        own = np.flatnonzero(kernel < len(self.centres))  # the rest are draws from the prior as they are
        k = kernel[own]
        for q, column in enumerate(self.layout.ranges):
            c, h = self.centres[k, column], self.bandwidths[k, q]
            low, high = self._mass[0][k, q], self._mass[1][k, q]
            draw = np.clip(c + h * ndtri(low + u[own, column] * (high - low)), 0, 1)
            u[own, column] = np.where(np.isnan(c), u[own, column], draw)
        for (column, n), table in zip(self.layout.choices, self.tables, strict=True):
            cell = (u[own, column, None] > np.cumsum(table[k], axis=1)[:, :-1]).sum(axis=1)
            u[own, column] = np.where(np.isnan(self.centres[k, column]), u[own, column], (cell + 0.5) / n)
        return u

    @cached_property
    def _mass(self) -> tuple[Array, Array]:
        """Normal distribution function of each kernel at the lower and the upper end of the unit interval."""
        c = np.nan_to_num(self.centres[:, self.layout.ranges])
        return ndtr(-c / self.bandwidths), ndtr((1 - c) / self.bandwidths)

    @cached_property
    def _psi(self) -> Array:
        """`(n, 3 n_ranges + all choices)`: see the module docstring."""
        active = ~np.isnan(self.centres[:, self.layout.ranges])
        c, h = np.nan_to_num(self.centres[:, self.layout.ranges]), self.bandwidths
        inverse = active / h**2
        constant = -0.5 * c * c * inverse - active * (
            np.log(h * (self._mass[1] - self._mass[0])) + _LOG_SQRT_2PI
        )
        known = ~np.isnan(self.centres)
        choices = [
            np.log(n * table) * known[:, [i]]
            for (i, n), table in zip(self.layout.choices, self.tables, strict=True)
        ]
        return np.concatenate([-0.5 * inverse, c * inverse, constant, *choices], axis=1)


def _cells(codes: Array, n: int) -> NDArray[np.intp]:
    """Choice numbers of unit codes; -1 where inactive."""
    return np.where(np.isnan(codes), -1, np.minimum(np.nan_to_num(codes) * n, n - 1)).astype(np.intp)


def _smoothed_choices(cells: NDArray[np.intp], n: int) -> Array:
    """`(len(cells), n)` kernel tables: the centre's choice, smoothed by one observation's worth of prior."""
    epsilon = 1 / (1 + np.count_nonzero(cells >= 0))
    table = np.full((len(cells), n), epsilon) + (cells[:, None] == np.arange(n))
    return np.asarray(table / table.sum(axis=1, keepdims=True))


def _neighbour_bandwidths(x: Array, finest: Array) -> Array:
    """`(n, n_ranges)`: the larger distance to the two neighbours, column by column (Bergstra et al. 2011).

    Clipped to [1 / min(100, n + 2), 1]. A centre at the end of its column takes its one neighbour's distance.
    """
    n = np.count_nonzero(~np.isnan(x), axis=0)  # per column
    order = np.argsort(x, axis=0, kind="stable")  # nan last
    ordered = np.nan_to_num(np.take_along_axis(x, order, axis=0), nan=1.0)
    gaps = np.diff(ordered, axis=0, prepend=0.0, append=1.0)
    left, right = gaps[:-1].copy(), gaps[1:].copy()
    several = np.flatnonzero(n > 1)
    left[0, several] = 0.0
    right[n[several] - 1, several] = 0.0
    widths = np.clip(np.maximum(left, right), np.maximum(1 / np.minimum(_MAX_KERNELS, n + 2), finest), 1.0)
    h = np.empty_like(widths)
    np.put_along_axis(h, order, widths, axis=0)
    return h
