"""Statistics of scores on resampled rows: the interval of a mean, and tests of differences.

The training sets of k-fold cross-validation, repeated or not, share most of their rows, so the
scores are not independent and their plain variance is far too small. Nadeau and Bengio (2003,
"Inference for the generalization error") replace 1/n in the variance of the mean by 1/n +
n_test/n_train. Bouckaert and Frank (2004) apply it to repeated k-fold cross-validation, as this
module does.
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
    """A mean over resamplings and its confidence interval at 95 %."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """The gain of one configuration over another on the same resamplings.

    Attributes:
        estimate: the mean gain, in the metric's units.
        p: the two-sided p-value of the corrected resampled t-test.
        adjusted: the same after Holm's correction for several tests.
    """

    estimate: Estimate
    p: float
    adjusted: float


def mean_of(scores: Sequence[float] | FloatArray, ratio: float) -> Estimate:
    """The mean of scores with the corrected interval of Nadeau and Bengio (eq. 9).

    Args:
        scores: `(n,)`. The interval of a single score is infinite.
        ratio: n_test / n_train.
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
    """Corrected resampled t-tests with Holm's correction.

    Args:
        pairs: for each test `(n,)` paired gains; p is 1 if all are zero.
        ratio: n_test / n_train.
    """
    gains = [np.asarray(values, dtype=np.float64) for values in pairs]
    estimates = [mean_of(values, ratio) for values in gains]
    p = [_p_value(values, ratio) for values in gains]
    return tuple(map(Difference, estimates, p, holm(p)))


def holm(p: Sequence[float]) -> tuple[float, ...]:
    """Adjust the p-values of several tests for the family-wise error rate (Holm 1979)."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * (len(values) - np.arange(len(values))))
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(stepped, 1.0)
    return tuple(map(float, adjusted))


def _deviation(values: FloatArray, ratio: float) -> float:
    return float(np.sqrt((1 / len(values) + ratio) * values.var(ddof=1)))


def _p_value(gains: FloatArray, ratio: float) -> float:
    deviation = _deviation(gains, ratio) if len(gains) > 1 else np.nan
    if not deviation > 0:  # a constant gain is significant unless it is zero
        return 1.0 if len(gains) < 2 or gains[0] == 0 else 0.0
    return float(2 * stats.t.sf(abs(gains.mean()) / deviation, len(gains) - 1))
