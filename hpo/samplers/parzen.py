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
_TINY = 1e-12


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
    def parents(self) -> NDArray[np.intp]:
        """Columns that decide which others are active."""
        names = {name for parameter in self.space for name in parameter.when}
        return np.array([i for i, p in enumerate(self.space) if p.name in names], dtype=np.intp)

    @cached_property
    def finest(self) -> Array:
        """`(n_ranges,)` smallest sensible bandwidths: half of the distance between levels, or 1/100."""
        levels = (self.space.n_levels[column] for column in self.ranges)
        return np.array([max(0.5 / n if n else 0.0, 0.01) for n in levels])

    def features(self, x: Array) -> Array:
        """Phi of the module docstring for configurations `(m, d)`: `(m, 3 n_ranges + all choices)`."""
        active, v = _filled(x[:, self.ranges])
        one_hot = [_cells(x[:, i], n)[:, None] == np.arange(n) for i, n in self.choices]
        return np.concatenate([v * v, v, active, *one_hot], axis=1, dtype=float)

    def scott(self, x: Array, weights: Array, prior_weight: float) -> Array:
        """`(n, n_ranges)` bandwidths sigma n^(-1 / (d + 4)), one for all centres (Scott 1992, as BOHB has it).

        n is the effective number of the centres that have the dimension; their variance is drawn towards that of
        the prior (1/12), which counts as `prior_weight` observations.
        """
        active, v = _filled(x[:, self.ranges])
        w = weights[:, None] * active
        total = np.maximum(w.sum(axis=0), _TINY)
        n = total**2 / np.maximum((w**2).sum(axis=0), _TINY)
        variance = (w * (v - (w * v).sum(axis=0) / total) ** 2).sum(axis=0) / total
        sigma = np.sqrt((n * variance + prior_weight / 12) / (n + prior_weight))
        h = np.clip(sigma * np.maximum(n, 1) ** (-1 / (len(self.space) + 4)), self.finest, 1.0)
        return np.broadcast_to(h, v.shape)

    def neighbours(self, x: Array) -> Array:
        """`(n, n_ranges)` bandwidths: the larger distance to the two neighbours (Bergstra et al. 2011).

        Clipped to [1 / min(100, n + 2), 1]. A centre at the end of its column takes its one neighbour's distance.
        """
        v = x[:, self.ranges]
        n = np.count_nonzero(~np.isnan(v), axis=0)
        order = np.argsort(v, axis=0, kind="stable")  # nan last
        ordered = np.take_along_axis(v, order, axis=0)
        ordered[np.isnan(ordered)] = 1.0
        gaps = np.diff(ordered, axis=0, prepend=0.0, append=1.0)
        left, right = gaps[:-1].copy(), gaps[1:]
        several = np.flatnonzero(n > 1)
        left[:1, several] = 0.0
        right[n[several] - 1, several] = 0.0
        smallest = np.maximum(1 / np.minimum(_MAX_KERNELS, n + 2), self.finest)
        h = np.empty_like(v)
        np.put_along_axis(h, order, np.clip(np.maximum(left, right), smallest, 1.0), axis=0)
        return h


@dataclass(frozen=True)
class Parzen:
    """A mixture of one kernel a centre and the prior.

    Attributes:
        layout: of the space.
        centres: `(n, d)`, `nan` where inactive.
        weights: `(n,)`, one observation weighing 1.
        bandwidths: `(n, n_ranges)`.
        prior_weight: of the prior, in observations.
    """

    layout: Layout
    centres: Array
    weights: Array
    bandwidths: Array
    prior_weight: float = 1.0

    def log_density(self, features: Array) -> Array:
        """`(m,)` log densities relative to the prior, from `layout.features`."""
        with np.errstate(divide="ignore"):
            log_w = np.log(self._mixture)
        terms = features @ self._psi.T + log_w[:-1]
        top = terms.max(axis=1, initial=log_w[-1])
        # A term below e^-100 of the largest adds nothing; flooring keeps exp from slow denormal numbers.
        terms = np.exp(np.maximum(terms - top[:, None], -100.0))
        return np.asarray(np.log(terms.sum(axis=1) + np.exp(log_w[-1] - top)) + top)

    def sample(self, rng: np.random.Generator, m: int) -> Array:
        """`(m, d)` draws with every dimension filled: inactive ones of a centre come from the prior."""
        kernel = rng.choice(len(self._mixture), m, p=self._mixture)
        x = rng.random((m, len(self.layout.space)))
        own = np.flatnonzero(kernel < len(self.centres))  # the rest are draws from the prior as they are
        k = kernel[own]
        for q, column in enumerate(self.layout.ranges):
            u, c, h = x[own, column], self.centres[k, column], self.bandwidths[k, q]
            low, high = self._tails[0][k, q], self._tails[1][k, q]
            draw = np.clip(c + h * ndtri(low + u * (high - low)), 0, 1)
            x[own, column] = np.where(np.isnan(c), u, draw)
        for (column, n), table in zip(self.layout.choices, self._tables, strict=True):
            u, c = x[own, column], self.centres[k, column]
            cell = (u[:, None] > np.cumsum(table[k], axis=1)[:, :-1]).sum(axis=1)
            x[own, column] = np.where(np.isnan(c), u, (cell + 0.5) / n)
        return x

    @cached_property
    def _mixture(self) -> Array:
        """`(n + 1,)` mixture weights; the prior's stands last."""
        weights = np.append(self.weights, self.prior_weight)
        return np.asarray(weights / weights.sum())

    @cached_property
    def _tails(self) -> tuple[Array, Array]:
        """Each kernel's normal distribution function at the lower and the upper end of the unit interval."""
        _, c = _filled(self.centres[:, self.layout.ranges])
        return ndtr(-c / self.bandwidths), ndtr((1 - c) / self.bandwidths)

    @cached_property
    def _tables(self) -> list[Array]:
        """Per categorical column `(n, L)`: the centre's choice, smoothed by one observation's worth of prior."""
        tables = []
        for column, n in self.layout.choices:
            cells = _cells(self.centres[:, column], n)
            table = np.full((len(cells), n), 1 / (1 + np.count_nonzero(cells >= 0)))
            table += cells[:, None] == np.arange(n)
            tables.append(table / table.sum(axis=1, keepdims=True))
        return tables

    @cached_property
    def _psi(self) -> Array:
        """`(n, 3 n_ranges + all choices)`: see the module docstring."""
        active, c = _filled(self.centres[:, self.layout.ranges])
        h, (low, high) = self.bandwidths, self._tails
        inverse = active / (h * h)
        constant = -0.5 * c * c * inverse - active * (np.log(h * (high - low)) + _LOG_SQRT_2PI)
        choices = [
            np.log(n * table) * ~np.isnan(self.centres[:, [column]])
            for (column, n), table in zip(self.layout.choices, self._tables, strict=True)
        ]
        return np.concatenate([-0.5 * inverse, c * inverse, constant, *choices], axis=1)


def _filled(x: Array) -> tuple[NDArray[np.bool_], Array]:
    """Where x is active, and x with 0 elsewhere."""
    active = ~np.isnan(x)
    return active, np.where(active, x, 0.0)


def _cells(codes: Array, n: int) -> NDArray[np.intp]:
    """Choice numbers of unit codes; -1 where inactive."""
    active, u = _filled(codes)
    return np.where(active, np.minimum(u * n, n - 1), -1).astype(np.intp)
