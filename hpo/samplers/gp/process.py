"""A Gaussian process over the configurations of one study.

The kernel is Matérn 5/2 with a length for each parameter (`hpo.kernels`). Lengths, signal and noise
are the most likely ones given the results and these priors, by gradient:

- **Lengths** are lognormal, and grow with the square root of the number of parameters (Hvarfner,
  Hellsten & Nardi 2024, "Vanilla Bayesian optimization performs great in high dimensions", ICML).
  A parameter of no influence gets a long one.
- **Noise** is small unless the results say otherwise.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular

from hpo.arrays import FloatArray
from hpo.kernels import JITTER, KernelFit, Prior, coordinates, matern, owners
from hpo.samplers.tpe import thin
from hpo.space import SearchSpace

FITTED = 60  # results to which lengths, signal and noise are fitted
STEPS = 30  # of that fit
_SIGNAL = Prior(0.0, 1.0, -3.0, 3.0)
_NOISE = Prior(-5.0, 2.0, -12.0, 0.5)
_SMALLEST = 1e-10  # variance, in units of the signal


class At(NamedTuple):
    """What a process knows of configurations.

    Attributes:
        mean: `(m,)` of the values there.
        sd: `(m,)` their standard deviations, without noise.
        nearest: `(m,)` largest difference from the nearest known configuration in any coordinate.
    """

    mean: FloatArray
    sd: FloatArray
    nearest: FloatArray


@dataclass(frozen=True, eq=False)
class Process:
    """A Gaussian process given values at some configurations, the known ones.

    Attributes:
        space: the search space.
        known: `(n, p)` coordinates of the known configurations, those without a value last.
        lengths: `(p,)` of the kernel, by coordinate.
        signal: the variance of the values without noise.
        noise: the variance of the noise.
        centre: their mean.
        weights: `(v,)` of the known configurations with a value, in the mean elsewhere.
        whitening: `(n, n)` the inverse of the Cholesky factor of the covariance.
    """

    space: SearchSpace
    known: FloatArray
    lengths: FloatArray
    signal: float
    noise: float
    centre: float
    weights: FloatArray
    whitening: FloatArray

    @classmethod
    def fitted(
        cls, space: SearchSpace, x: FloatArray, values: FloatArray, pending: FloatArray
    ) -> "Process":
        """The process of values `(n,)` at codes `(n, d)`, best first, and of pending codes."""
        d, n = len(space), len(x)
        half = FITTED // 2
        others = np.arange(half, max(n, half))
        rows = np.concatenate([np.arange(min(half, n)), thin(others, FITTED - half)])
        prior = Prior(-0.5 + 0.5 * np.log(d), 1.2, np.log(0.05), np.log(100.0))
        fit = KernelFit.of(space, x[rows][None], values[rows][None], prior, _SIGNAL, _NOISE)
        found = fit.most_likely(STEPS)
        lengths, (signal, noise) = found[:d][owners(space)], found[d:].tolist()
        centre = float(values[rows].mean())
        known = coordinates(space, np.concatenate([x, pending]))
        covariance = signal * matern(known / lengths, known / lengths)
        covariance += (noise + JITTER) * np.eye(len(known))
        factor = cholesky(covariance, lower=True)
        weights = cho_solve((factor[:n, :n], True), values - centre)
        whitening = solve_triangular(factor, np.eye(len(known)), lower=True)
        return cls(space, known, lengths, signal, noise, centre, weights, whitening)

    def at(self, x: FloatArray) -> At:
        """What is known of the codes `(m, d)`."""
        points = coordinates(self.space, x)
        kernel = matern(points / self.lengths, self.known / self.lengths)
        nearest = self.known[np.argmax(kernel, axis=1)]
        kernel *= self.signal
        mean = self.centre + kernel[:, : len(self.weights)] @ self.weights
        explained = np.square(kernel @ self.whitening.T).sum(axis=1)
        variance = np.maximum(self.signal - explained, _SMALLEST * self.signal)
        return At(mean, np.sqrt(variance), np.abs(points - nearest).max(axis=1))
