"""What scores on resampled rows say: an interval for their mean, whether two configurations differ, and for many.

The training sets of k-fold cross-validation, repeated or not, share most of their rows, so the
scores are not independent and their plain variance is far too small. Nadeau and Bengio (2003,
"Inference for the generalization error") replace 1/n in the variance of the mean by 1/n +
n_test/n_train; Bouckaert and Frank (2004) use it for repeated k-fold cross-validation, as is done
here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from hpo.arrays import FloatArray

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over n resamplings, and the bounds of its interval at 95 %."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """By how much one configuration is better than another on the same resamplings, in the metric's units.

    `p` is that of the corrected resampled t-test, two-sided, `adjusted` the same after Holm's
    correction.
    """

    estimate: Estimate
    p: float
    adjusted: float


def mean_of(scores: Sequence[float] | FloatArray, ratio: float) -> Estimate:
    """The mean of (n,) scores, with n - 1 degrees of freedom and the corrected variance (Nadeau and Bengio, eq. 9).

    `ratio` is n_test / n_train. One score has bounds at infinity.
    """
    values = np.asarray(scores, dtype=np.float64)
    mean = float(values.mean())
    if len(values) < 2:
        return Estimate(mean, -np.inf, np.inf)
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * _deviation(values, ratio)
    return Estimate(mean, mean - half, mean + half)


def differences(
    pairs: Sequence[Sequence[float] | FloatArray], ratio: float
) -> tuple[Difference, ...]:
    """The corrected resampled t-test for each of several (n,) vectors of paired gains, with Holm's correction.

    Gains that are all zero have p = 1.
    """
    estimates = [mean_of(gains, ratio) for gains in pairs]
    found = [_p(np.asarray(gains, dtype=np.float64), ratio) for gains in pairs]
    return tuple(Difference(*each) for each in zip(estimates, found, holm(found), strict=True))


def holm(p: Sequence[float]) -> tuple[float, ...]:
    """The p-values of several tests so that none is false with the stated probability (Holm 1979, step-down)."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * (len(values) - np.arange(len(values))))
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(stepped, 1.0)
    return tuple(map(float, adjusted))


def _deviation(values: FloatArray, ratio: float) -> float:
    return float(np.sqrt((1 / len(values) + ratio) * values.var(ddof=1)))


def _p(gains: FloatArray, ratio: float) -> float:
    deviation = _deviation(gains, ratio) if len(gains) > 1 else np.nan
    if not deviation > 0:  # always the same gain: nothing to tell it from but zero
        return 1.0 if len(gains) < 2 or gains[0] == 0 else 0.0
    return float(2 * stats.t.sf(abs(gains.mean()) / deviation, len(gains) - 1))
