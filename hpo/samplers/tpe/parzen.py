"""Parzen estimators on mixed, conditional spaces, evaluated with one matrix product.

All densities are relative to the prior, which is uniform in the unit cube and over choices. The
density of the prior itself is therefore 1 everywhere, and a dimension that is inactive in a
configuration or in a kernel's centre contributes the factor 1: that centre says nothing about the
dimension. The prior is thus one more centre, with all dimensions inactive (`with_prior`).

The kernel of centre c is a product over dimensions (Falkner et al. 2018, BOHB, eq. 3), truncated to
the unit cube:

    log k(x | c) = sum_j a_j(x) a_j(c) [ -(x_j - c_j)^2 / (2 h_j^2) - log(sqrt(2 pi) h_j Z_j) ]
                 ranges + sum_j a_j(x) a_j(c) log(L_j T_j[c_j, x_j])
                 L_j choices

with a = 1 where active. It is bilinear in phi(x) = (a x^2, a x, a, one-hot choices) and a vector
psi(c) that holds the rest, for any bandwidths h. The log kernels of m configurations under n
centres are therefore one product `phi @ psi`, and the density takes m n exponentials instead of
m n d.

T gives the centre's own choice more than the others: T[c, x] is proportional to s + (x = c), with
s = 1 / (1 + number of centres in which the dimension is active).
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from hpo.arrays import FloatArray
from hpo.space.layout import ALL, Kept, Layout

_LOG_SQRT_2PI = 0.5 * np.log(2 * np.pi)
_MAX_KERNELS = 100  # Bergstra et al.'s "magic clip": bandwidths never fall below 1 / 100 of a range
_MANY_CHOICES = 100  # in all; of more, those that no configuration has are left out
_TINY = 1e-12
_FAR = -8.3  # below it, the normal distribution function is negligible beside 1


def features(layout: Layout, x: FloatArray) -> FloatArray:
    """`(m, 3 n_ranges + all choices)` phi of the module docstring for configurations `(m, d)`."""
    active, v = _filled(x.T[layout.ranges])
    return np.concatenate([v * v, v, active, layout.one_hot(x)], dtype=float).T


def with_prior(
    x: FloatArray, weights: FloatArray, prior_weight: float
) -> tuple[FloatArray, FloatArray]:
    """Centres `(n + 1, d)` and weights `(n + 1,)`, with the prior as the last one."""
    prior = np.full((1, x.shape[1]), np.nan)
    return np.concatenate([x, prior]), np.concatenate([weights, [prior_weight]])


def scott(layout: Layout, x: FloatArray, weights: FloatArray, prior_weight: float) -> FloatArray:
    """`(n_ranges, n)` bandwidths sigma n^(-1 / (d + 4)), the same for all centres `(n, d)`.

    Scott's rule (1992), as in BOHB. n is the effective number of centres in which the dimension is
    active; their variance is shrunk towards that of the prior (1/12), which counts as
    `prior_weight` observations.
    """
    active, v = _filled(x.T[layout.ranges])
    w = weights * active
    total = np.maximum(w.sum(axis=1), _TINY)
    n = total**2 / np.maximum((w * w).sum(axis=1), _TINY)
    mean = (w * v).sum(axis=1) / total
    variance = (w * (v - mean[:, None]) ** 2).sum(axis=1) / total
    sigma = np.sqrt((n * variance + prior_weight / 12) / (n + prior_weight))
    h = np.maximum(sigma * np.maximum(n, 1) ** (-1 / (len(layout.parameters) + 4)), layout.finest)
    return np.repeat(np.minimum(h, 1.0)[:, None], len(x), axis=1)


def neighbours(layout: Layout, x: FloatArray) -> FloatArray:
    """`(n_ranges, n)` bandwidths: the larger distance to the two neighbours (Bergstra et al. 2011).

    Clipped to [1 / min(100, n + 2), 1]. The first and the last centre of a dimension have one
    neighbour.
    """
    active, v = _filled(x.T[layout.ranges], missing=2.0)  # inactive centres come last
    n = np.count_nonzero(active, axis=1)
    order = _order(v) + np.arange(0, v.size, v.shape[1])[:, None]
    edges = np.empty((len(v), v.shape[1] + 2))
    edges[:, 0], edges[:, -1] = 0.0, 1.0
    edges[:, 1:-1] = np.minimum(v.ravel()[order], 1.0)
    gaps = edges[:, 1:] - edges[:, :-1]
    several = np.flatnonzero(n > 1)
    gaps[several, 0] = gaps[several, n[several]] = 0.0
    smallest = np.maximum(1 / np.minimum(_MAX_KERNELS, n + 2), layout.finest)[:, None]
    h = np.empty(v.size)
    h[order] = np.minimum(np.maximum(np.maximum(gaps[:, :-1], gaps[:, 1:]), smallest), 1.0)
    return h.reshape(v.shape)


@dataclass(frozen=True)
class Parzen:
    """A mixture of kernels, one for each centre.

    Attributes:
        layout: the space's columns by kind.
        centres: `(n, d)`, `nan` where inactive; a row of `nan` is the prior.
        weights: `(n,)`, in observations.
        bandwidths: `(n_ranges, n)`.
    """

    layout: Layout
    centres: FloatArray
    weights: FloatArray
    bandwidths: FloatArray

    def log_density(self, phi: FloatArray) -> FloatArray:
        """`(m,)` log densities, relative to the prior, of configurations with these `features`."""
        kept = self._kept(phi)
        terms = phi @ self._psi() if kept is ALL else self._sparse_terms(phi, kept)
        top = terms.max(axis=1)
        terms -= top[:, None]
        # A term below e^-100 of the largest is negligible; the floor avoids denormal numbers, which
        # are slow.
        np.maximum(terms, -100.0, out=terms)
        np.exp(terms, out=terms)
        return np.asarray(np.log(terms @ self.weights / self.weights.sum()) + top)

    def _kept(self, phi: FloatArray) -> Kept:
        """The choices that any configuration has, if there are so many that this saves time."""
        first = 3 * len(self.layout.ranges)
        if phi.shape[1] - first <= _MANY_CHOICES:
            return ALL
        return np.flatnonzero(phi[:, first:].any(axis=0))

    def _sparse_terms(self, phi: FloatArray, kept: Kept) -> FloatArray:
        """The product of phi and psi without choices that no configuration has."""
        first = 3 * len(self.layout.ranges)
        phi = np.concatenate([phi[:, :first], phi[:, first:][:, kept]], axis=1)
        return np.asarray(phi @ self._psi(kept))

    def sample(self, rng: np.random.Generator, m: int) -> FloatArray:
        """`(m, d)` draws, in all dimensions: where a centre is inactive they are uniform."""
        share = np.cumsum(self.weights)
        kernel = np.searchsorted(share / share[-1], rng.random(m), side="right")
        u, c = rng.random((m, len(self.layout.parameters))).T, self.centres[kernel].T
        drawn = np.empty_like(u)
        ranges, choices = self.layout.ranges, self.layout.choices
        low, above = self._tails[:, :, kernel]
        z = ndtri(low + u[ranges] * (1.0 - above - low))
        drawn[ranges] = np.minimum(np.maximum(c[ranges] + self.bandwidths[:, kernel] * z, 0.0), 1.0)
        cell = self._cells[:, kernel]
        n, s = self.layout.n_choices[:, None], self._smoothing[:, None]
        v = u[choices] * (n * s + 1)  # the width of a cell is s, that of the centre's own s + 1
        cell = np.floor(np.maximum(np.minimum(v / s, cell), (v - 1) / s))
        drawn[choices] = (np.minimum(cell, n - 1) + 0.5) / n
        return np.where(np.isnan(c), u, drawn).T

    def widened(self, factor: float) -> "Parzen":
        """The same mixture with bandwidths `factor` times as large, 1 at most."""
        if factor == 1:
            return self
        return replace(self, bandwidths=np.minimum(factor * self.bandwidths, 1.0))

    @cached_property
    def _ranges(self) -> tuple[NDArray[np.bool_], FloatArray]:
        """`(n_ranges, n)` whether the centres are active, and their codes."""
        return _filled(self.centres.T[self.layout.ranges])

    @cached_property
    def _cells(self) -> FloatArray:
        """`(n_choice_columns, n)` choices of the centres."""
        return self.layout.cells(self.centres)

    @cached_property
    def _smoothing(self) -> FloatArray:
        """`(n_choice_columns,)` s of the module docstring."""
        return np.asarray(1 / (1 + np.count_nonzero(~np.isnan(self._cells), axis=1)))

    @cached_property
    def _tails(self) -> FloatArray:
        """`(2, n_ranges, n)` probability of each kernel below and above the unit interval."""
        _, c = self._ranges
        z = (np.array([-c, c - 1.0]) / self.bandwidths).ravel()
        tails, near = np.zeros(z.size), np.flatnonzero(z > _FAR)
        tails[near] = ndtr(z[near])
        return tails.reshape(2, *c.shape)

    def _psi(self, kept: Kept = ALL) -> FloatArray:
        """`(3 n_ranges + choices, n)` psi of the module docstring, for all choices or some."""
        (active, c), h, (below, above) = self._ranges, self.bandwidths, self._tails
        inverse = active / (h * h)
        linear = c * inverse
        constant = -0.5 * c * linear - active * (np.log(h * (1.0 - above - below)) + _LOG_SQRT_2PI)
        n, s, layout = self.layout.n_choices, self._smoothing, self.layout
        own, other = (
            layout.per_choice(np.log(n * t / (n * s + 1)), kept)[:, None] for t in (s + 1, s)
        )
        hit = layout.one_hot(self.centres, kept)
        present = layout.per_choice(~np.isnan(self._cells), kept)
        return np.concatenate(
            [-0.5 * inverse, linear, constant, np.where(hit, own, other * present)]
        )


def _filled(x: FloatArray, missing: float = 0.0) -> tuple[NDArray[np.bool_], FloatArray]:
    """Whether x is active, and x with `missing` where it is not."""
    active = ~np.isnan(x)
    return active, np.where(active, x, missing)


def _order(v: FloatArray) -> NDArray[np.int64]:
    """`(k, n)` indices that sort each row of non-negative numbers; equal numbers keep their order.

    The bits of such numbers, read as integers, sort like the numbers. The index replaces the last
    bits (10 of 52 for 1,000 columns), so that one fast sort gives the same order on every machine.
    """
    n = v.shape[1]
    index = (1 << (n - 1).bit_length()) - 1
    keys: NDArray[np.int64] = v.view(np.int64) & ~index | np.arange(n)
    keys.sort(axis=1)
    keys &= index
    return keys
