"""Gaussian processes fitted to the losses and seconds of trained configurations, one per rung."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import solve
from scipy.stats import spearmanr
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.model_selection import KFold, cross_val_predict

from benchmarks.tabulated.curves import Process
from benchmarks.tabulated.making import MAX_QUANTILE
from hpo.arrays import FloatArray


@dataclass(frozen=True)
class Scaled:
    """Values `(n, r)` to fit, and the location and unit `(r,)` that undo the scaling."""

    values: FloatArray
    center: FloatArray
    width: FloatArray


@dataclass(frozen=True)
class Fit:
    """A process, and the rank correlation of cross-validated with true values at each rung."""

    process: Process
    correlations: tuple[float, ...]


def squashed(model: str, losses: FloatArray, uniform: int) -> Scaled:
    """Losses `(n, r)`, squashed by arcsinh.

    Losses above the quantile `MAX_QUANTILE` of a rung's `uniform` configurations, which come first,
    and those of diverged trainings (nan) are cut to it.
    """
    level = np.fmin(losses, np.nanquantile(losses[:uniform], MAX_QUANTILE[model], axis=0))
    low, center, high = np.quantile(level, [0.25, 0.5, 0.75], axis=0)
    width = np.where(high > low, high - low, 1.0)
    return Scaled(np.arcsinh((level - center) / width), center, width)


def standardised(seconds: FloatArray) -> Scaled:
    """Logarithms of seconds `(n, r)`, standardised at each rung."""
    logs = np.log(np.maximum(seconds, 1e-4))
    center, width = logs.mean(axis=0), logs.std(axis=0)
    return Scaled((logs - center) / width, center, width)


def fit(x: FloatArray, scaled: Scaled) -> Fit:
    """Fit the kernel to the values at the last rung and the weights at every rung.

    `x` are the features `(n, p)` of the configurations.
    """
    y = scaled.values
    matern = ConstantKernel(1.0) * Matern(np.ones(x.shape[1]), (0.1, 30), nu=2.5)
    kernel = matern + WhiteKernel(0.05, (1e-4, 1))
    regressor = GaussianProcessRegressor(kernel, random_state=0, n_restarts_optimizer=1)
    with warnings.catch_warnings():
        # length scales of parameters without influence end at their bound of 30
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = regressor.fit(x, y[:, -1]).kernel_
    fixed = GaussianProcessRegressor(fitted, optimizer=None)
    expected = cross_val_predict(fixed, x, y, cv=KFold(5, shuffle=True, random_state=0))
    process = Process(
        x=x,
        alpha=single_precision(solve(fitted(x), y, assume_a="pos")),
        length=single_precision(fitted.k1.k2.length_scale),
        signal=float(single_precision(fitted.k1.k1.constant_value)),
        center=single_precision(scaled.center),
        width=single_precision(scaled.width),
    )
    correlations = [float(spearmanr(a, b)[0]) for a, b in zip(expected.T, y.T, strict=True)]
    return Fit(process, tuple(correlations))


def single_precision(values: Any) -> FloatArray:
    """The values as they come back from a file that stores them in single precision."""
    return np.asarray(values, dtype=np.float32).astype(float)
