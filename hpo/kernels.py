"""The Matérn kernel over configurations, and the fit of its parameters to results."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize

from hpo.arrays import FloatArray
from hpo.space import SearchSpace

_INACTIVE_DISTANCE = 0.5  # between active and inactive, in edges of the unit cube
JITTER = 1e-6  # added to the noise, so that covariances can be inverted


def matern(a: FloatArray, b: FloatArray) -> FloatArray:
    """`(m, n)` Matérn 5/2 kernel between points `(m, p)` and `(n, p)` in units of its length."""
    squared = (-10 * a) @ b.T  # five times the squared distances, in place: this is the hot spot
    squared += 5 * (a**2).sum(axis=1)[:, None]
    squared += 5 * (b**2).sum(axis=1)
    np.maximum(squared, 0.0, out=squared)
    r = np.sqrt(squared)
    squared /= 3
    squared += r
    squared += 1
    squared *= np.exp(np.negative(r, out=r), out=r)
    return np.asarray(squared)


def negative_log_likelihood(covariance: FloatArray, y: FloatArray) -> float:
    """Of values `(n,)` under a normal distribution with mean 0, up to a constant."""
    factor = cholesky(covariance, lower=True)
    half = solve_triangular(factor, y, lower=True)
    return float(0.5 * half @ half + np.log(np.diag(factor)).sum())


def coordinates(space: SearchSpace, x: FloatArray) -> FloatArray:
    """`(m, p)` coordinates of the codes `(m, d)`, between which the kernel measures distances.

    A range has two: its code, and a flag that is set where it is inactive. A categorical parameter
    has one for each choice.
    """
    ranges = x[:, space.layout.ranges]
    inactive = np.isnan(ranges)
    choices = np.sqrt(0.5) * space.layout.one_hot(x).T  # different choices are one edge apart
    return np.concatenate(
        [np.where(inactive, 0.5, ranges), _INACTIVE_DISTANCE * inactive, choices], axis=1
    )


def owners(space: SearchSpace) -> NDArray[np.intp]:
    """`(p,)` the column of the parameter that each coordinate belongs to."""
    layout = space.layout
    of_choices = layout.per_choice(layout.choices.astype(float)).astype(np.intp)
    return np.concatenate([layout.ranges, layout.ranges, of_choices])


@dataclass(frozen=True)
class Prior:
    """A normal distribution of the logarithm of a positive number, and bounds of the logarithm."""

    mean: float
    sd: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class KernelFit:
    """The lengths, signal and noise under which the scores of one or more studies are most likely.

    Attributes:
        gaps: `(d, s, n, n)` squared distances between a study's configurations, by parameter.
        scores: `(s, n)` scores of s studies with n results each, with mean 0 in each study.
        length: the prior of each length, in edges of the unit cube.
        signal: the prior of the variance of the scores.
        noise: the prior of the variance of the noise.
    """

    gaps: FloatArray
    scores: FloatArray
    length: Prior
    signal: Prior
    noise: Prior

    @classmethod
    def of(
        cls,
        space: SearchSpace,
        x: FloatArray,
        scores: FloatArray,
        length: Prior,
        signal: Prior,
        noise: Prior,
    ) -> "KernelFit":
        """The fit to scores `(s, n)` at codes `(s, n, d)`."""
        s, n, d = x.shape
        points = coordinates(space, x.reshape(s * n, d)).reshape(s, n, -1)
        gaps = np.zeros((d, s, n, n))
        for column, owner in enumerate(owners(space)):
            c = points[:, :, column]
            gaps[owner] += (c[:, :, None] - c[:, None]) ** 2
        centred = scores - scores.mean(axis=1, keepdims=True)
        return cls(gaps, centred, length, signal, noise)

    @property
    def priors(self) -> tuple[Prior, ...]:
        """The prior of each number that is fitted."""
        return (*[self.length] * len(self.gaps), self.signal, self.noise)

    def most_likely(self, steps: int = 40) -> FloatArray:
        """`(d + 2,)` the most likely lengths, signal and noise, after at most so many steps."""
        start = np.array([min(max(p.mean, p.low), p.high) for p in self.priors])
        found = minimize(
            self.loss,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=[(prior.low, prior.high) for prior in self.priors],
            options={"maxiter": steps},
        )
        return np.asarray(np.exp(found.x))

    def loss(self, theta: FloatArray) -> tuple[float, FloatArray]:
        """The negative log posterior per study, up to a constant, and its gradient.

        Args:
            theta: `(d + 2,)` logarithms of the lengths, of the signal and of the noise.
        """
        d, s, n, _ = self.gaps.shape
        inverse_squares, signal, noise = np.exp(-2 * theta[:d]), *np.exp(theta[d:])
        gaps = self.gaps.reshape(d, -1)
        r = np.sqrt(5 * (inverse_squares @ gaps)).reshape(s, n, n)
        decay = signal * np.exp(-r)
        kernel = decay * (1 + r + r * r / 3)
        covariance = kernel + (noise + JITTER) * np.eye(n)
        inverse = np.linalg.inv(covariance)
        alpha = (inverse @ self.scores[:, :, None])[:, :, 0]
        diagonals = np.diagonal(np.linalg.cholesky(covariance), axis1=1, axis2=2)
        value = (0.5 * (self.scores * alpha).sum() + np.log(diagonals).sum()) / s
        slope = inverse - alpha[:, :, None] * alpha[:, None]  # twice the value's, by covariance
        by_gap = (slope * decay * (5 / 3) * (1 + r)).ravel()
        by_length = 0.5 * (gaps @ by_gap) * inverse_squares / s
        by_signal = 0.5 * (slope * kernel).sum() / s
        by_noise = 0.5 * noise * np.trace(slope, axis1=1, axis2=2).sum() / s
        means = np.array([prior.mean for prior in self.priors])
        sds = np.array([prior.sd for prior in self.priors])
        away = (theta - means) / sds
        gradient = np.array([*by_length, by_signal, by_noise]) + away / sds
        return value + 0.5 * float(away @ away), gradient
