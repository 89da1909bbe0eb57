"""The Matérn kernel over configurations, and the fit of its lengths to past studies."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize

from hpo.arrays import FloatArray
from hpo.space import SearchSpace

_LOG_LENGTH_MEAN, _LOG_LENGTH_SD = 0.5, 3.0  # prior of the logarithm of a length
_INACTIVE_DISTANCE = 0.5  # between active and inactive, in edges of the unit cube
_JITTER = 1e-5  # added to the noise, so that covariances can be inverted


def matern(a: FloatArray, b: FloatArray) -> FloatArray:
    """`(m, n)` Matérn 5/2 kernel between points `(m, p)` and `(n, p)` in units of its length."""
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    r = np.sqrt(5 * np.maximum(squared, 0.0))
    return np.asarray((1 + r + r * r / 3) * np.exp(-r))


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


@dataclass(frozen=True, eq=False)
class LengthFit:
    """The lengths, signal and noise under which the scores of several studies are most likely.

    Attributes:
        gaps: `(d, s, n, n)` squared distances between a study's configurations, by parameter.
        scores: `(s, n)` scores of s studies with n results each, with mean 0 in each study.
    """

    gaps: FloatArray
    scores: FloatArray

    @classmethod
    def of(cls, space: SearchSpace, x: FloatArray, scores: FloatArray) -> "LengthFit":
        """The fit to scores `(s, n)` at codes `(s, n, d)`."""
        s, n, d = x.shape
        points = coordinates(space, x.reshape(s * n, d)).reshape(s, n, -1)
        gaps = np.zeros((d, s, n, n))
        for column, owner in enumerate(owners(space)):
            c = points[:, :, column]
            gaps[owner] += (c[:, :, None] - c[:, None]) ** 2
        return cls(gaps, scores - scores.mean(axis=1, keepdims=True))

    def lengths(self) -> FloatArray:
        """`(d,)` the most likely lengths of the kernel, in edges of the unit cube."""
        d = len(self.gaps)
        start = np.array([0.0] * d + [0.0, -2.0])
        bounds = [(np.log(0.1), np.log(10.0))] * d + [(-4.0, 4.0), (-6.0, 1.0)]
        options = {"maxiter": 40}
        found = minimize(
            self.loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options
        )
        return np.asarray(np.exp(found.x[:d]))

    def loss(self, theta: FloatArray) -> tuple[float, FloatArray]:
        """The negative log posterior per study, up to a constant, and its gradient.

        Args:
            theta: `(d + 2,)` logarithms of the lengths, of the signal and of the noise.
        """
        d, s, n, _ = self.gaps.shape
        logs, signal, noise = theta[:d], np.exp(theta[d]), np.exp(theta[d + 1])
        scaled = self.gaps * np.exp(-2 * logs)[:, None, None, None]
        r = np.sqrt(5 * scaled.sum(axis=0))
        decay = signal * np.exp(-r)
        kernel = decay * (1 + r + r * r / 3)
        covariance = kernel + (noise + _JITTER) * np.eye(n)
        inverse = np.linalg.inv(covariance)
        alpha = (inverse @ self.scores[:, :, None])[:, :, 0]
        log_determinants = np.linalg.slogdet(covariance)[1]
        value = 0.5 * ((self.scores * alpha).sum() + log_determinants.sum()) / s
        slope = inverse - alpha[:, :, None] * alpha[:, None]  # twice the value's, by covariance
        by_length = 0.5 * np.einsum("ijk,dijk->d", slope * decay * (5 / 3) * (1 + r), scaled) / s
        by_signal = 0.5 * (slope * kernel).sum() / s
        by_noise = 0.5 * noise * np.trace(slope, axis1=1, axis2=2).sum() / s
        pull = (logs - _LOG_LENGTH_MEAN) / _LOG_LENGTH_SD**2  # gradient of the prior
        prior = 0.5 * _LOG_LENGTH_SD**2 * (pull**2).sum()
        return value + prior, np.array([*(by_length + pull), by_signal, by_noise])
