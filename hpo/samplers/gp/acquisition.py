"""What a configuration is worth trying for, given the mean and deviation of a loss."""

import numpy as np
from scipy.special import erfcx, log_ndtr, ndtr

from hpo.arrays import FloatArray

_LOG_ROOT = 0.5 * np.log(2 * np.pi)
_FAR = 1e3  # standard deviations beyond which the leading term of the series is exact


def log_expected_improvement(mean: FloatArray, sd: FloatArray, best: float) -> FloatArray:
    """`(m,)` the logarithm of the expected improvement on `best`, exact in the far tail.

    With z = (best - mean) / sd, the improvement is sd (phi(z) + z Phi(z)). For z < -1 this is
    sd phi(z) (1 - |z| M(|z|)) with Mills' ratio M, which does not underflow.
    """
    z = (best - mean) / sd
    near = np.maximum(z, -1.0)
    direct = np.log(np.exp(-0.5 * near**2 - _LOG_ROOT) + near * ndtr(near))
    far = np.maximum(-z, 1.0)
    mills = np.sqrt(np.pi / 2) * erfcx(far / np.sqrt(2))
    rest = np.where(far < _FAR, 1 - np.minimum(far, _FAR) * mills, far**-2.0)
    tail = -0.5 * far**2 - _LOG_ROOT + np.log(rest)
    return np.asarray(np.log(sd) + np.where(z > -1, direct, tail))


def log_probability_of_improvement(mean: FloatArray, sd: FloatArray, best: float) -> FloatArray:
    """`(m,)` the logarithm of the probability of a loss below `best`."""
    return np.asarray(log_ndtr((best - mean) / sd))
