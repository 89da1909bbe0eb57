"""The confidence of a score and of a comparison of two models, from predictions on held-out rows.

The rows are drawn again with replacement, thousands of times. The paired bootstrap (Efron and
Tibshirani 1993) scores both models on the same draws, so that what makes rows easy or hard for both
cancels out. A draw is represented by weights: how often it holds each row (see
`pipelines.table.scores.weighted`).

The plain share of draws with a gain is overconfident in two cases, and is corrected downwards for
both.

- A model that is slightly better on most rows and much worse on a few has a skewed gain, and draws
  without the few rows are common. So the probability is at most that of Student's statistic with
  its skewness removed by the cubic of Hall (1992, "On the removal of skewness by transformation").
  BCa (Efron 1987) corrects for the same to the same order, but by half as much as is needed on a
  hundred rows. Spread and skewness come from a jackknife over blocks of rows. Equations are
  numbered as in Efron and Tibshirani.
- The spread of the draws is that of the rows at hand, without the factor n / (n - 1) and without
  Student's tails. Hesterberg (2015, arXiv:1411.5279, "expanded percentile") widens intervals of few
  rows for that, and so does this module. Where a few rows make up most of the spread, such as the
  positive ones of a rare class, only those few count (Satterthwaite 1946).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from hpo.arrays import FloatArray, IntArray
from pipelines.table.scores.metrics import Metric, Weights
from pipelines.table.scores.weighted import WeightedScore, is_vectorised, weighted_score

MAX_DRAWS, MIN_DRAWS = 4_000, 500
MAX_CELLS = 60_000_000  # draws times rows, unless this gives fewer than MIN_DRAWS
CELLS_AT_ONCE = 1_000_000  # 8 MB of weights
MAX_ROWS = 100_000  # for a metric that is computed draw by draw
MAX_BLOCKS = 200  # of the jackknife
TAILS = (0.025, 0.975)  # of an interval at 95 %
_ROUNDING = 1e-13  # relative differences below it are rounding errors
_STREAM = 0xB007  # so that no other generator of this seed draws the same numbers


@dataclass(frozen=True)
class Interval:
    """A score of the rows and its confidence interval at 95 %."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Gain:
    """The advantage of one model over another, in the metric's units; positive is better.

    Attributes:
        value: of the rows themselves.
        low: lower bound at 95 %.
        high: upper bound at 95 %.
        probability: that the gain exceeds the requested margin.
        draws: number of bootstrap draws behind the probability.
    """

    value: float
    low: float
    high: float
    probability: float
    draws: int


def score_interval(
    metric: Metric,
    y: npt.NDArray[Any],
    prediction: FloatArray,
    *,
    groups: IntArray | None = None,
    weight: Weights = None,
    seed: int = 0,
) -> Interval:
    """Score a prediction, with the expanded BCa interval at 95 % (Efron 1987, Hesterberg 2015).

    Draws that do not define the metric are left out.

    Args:
        metric: how to score.
        y: `(n,)` class codes or values in original units.
        prediction: `(n, k)` probabilities or `(n,)` values, as `Metric` takes them.
        groups: `(n,)` codes from 0; rows of a group depend on each other and are drawn together.
        weight: `(n,)` weights of the rows; None for equal ones.
        seed: of the draws.

    Raises:
        ValueError: if the metric is not defined on these rows.
    """
    rng = np.random.default_rng([seed, _STREAM])
    value = metric(y, prediction, weight)
    rows = _sampled_rows(metric, len(y), rng)
    score = weighted_score(metric, y[rows], prediction[rows], _of(weight, rows))
    low, high = _resample(score, _units(groups, rows), rng, _most_draws(metric)).bounds()
    return Interval(value, min(low, value), max(high, value))


def paired_gain(
    metric: Metric,
    y: npt.NDArray[Any],
    one: FloatArray,
    other: FloatArray,
    *,
    margin: float = 0.0,
    groups: IntArray | None = None,
    weight: Weights = None,
    seed: int = 0,
) -> Gain:
    """The gain of the predictions `one` over `other`, and the probability that it is real.

    Args:
        metric: how to score both.
        y: `(n,)` class codes or values in original units.
        one: `(n, k)` probabilities or `(n,)` values, as `Metric` takes them.
        other: the same of the other model.
        margin: that the gain must exceed, in the metric's units.
        groups: `(n,)` codes from 0; rows of a group depend on each other and are drawn together.
        weight: `(n,)` weights of the rows; None for equal ones.
        seed: of the draws.

    Raises:
        ValueError: if the metric is not defined on these rows.
    """
    rng = np.random.default_rng([seed, _STREAM])
    if not metric.greater_is_better:
        one, other = other, one  # so that the difference is a gain
    value = metric(y, one, weight) - metric(y, other, weight)
    rows = _sampled_rows(metric, len(y), rng)
    score_one = weighted_score(metric, y[rows], one[rows], _of(weight, rows))
    score_other = weighted_score(metric, y[rows], other[rows], _of(weight, rows))

    def gain(weights: FloatArray) -> FloatArray:
        return score_one(weights) - score_other(weights)

    resamples = _resample(gain, _units(groups, rows), rng, _most_draws(metric))
    low, high = resamples.bounds()
    return Gain(value, low, high, resamples.probability(margin), len(resamples.drawn))


@dataclass(frozen=True)
class Jackknife:
    """How much blocks of rows contribute to a score.

    Attributes:
        influence: `(blocks,)` up to a common factor, positive where a block raises the score.
        n_units: number of rows or groups that are drawn.
    """

    influence: FloatArray
    n_units: int

    @classmethod
    def of(cls, without: FloatArray, n_units: int) -> Jackknife:
        """The influence of blocks, from the scores without each; undefined scores are left out."""
        defined = without[np.isfinite(without)]
        if not len(defined):
            return cls(np.zeros(1), n_units)
        influence = defined.mean() - defined
        negligible = np.abs(influence) <= _ROUNDING * np.abs(defined).max()
        return cls(np.where(negligible, 0.0, influence), n_units)

    def acceleration(self) -> float:
        """A sixth of the skewness of the score (eq. 14.15)."""
        spread = np.square(self.influence).sum() ** 1.5
        return float((self.influence**3).sum() / (6 * spread)) if spread > 0 else 0.0

    def freedom(self) -> float:
        """Degrees of freedom of the spread: units - 1, or fewer where few rows dominate it.

        Satterthwaite's 2 / var(s² / σ²). The excess kurtosis of the rows is that of the blocks
        times their size.
        """
        squares = np.square(self.influence)
        most = max(self.n_units - 1, 1)
        if not squares.any():
            return float(most)
        n_blocks = len(squares)
        kurtosis = n_blocks * np.square(squares).sum() / squares.sum() ** 2
        excess = max(kurtosis - 3, 0.0) * self.n_units / n_blocks
        return float(max(2 / (2 / most + excess / self.n_units), 1.0))

    def probability_above(self, value: float, margin: float) -> float:
        """The probability that the true value exceeds the margin (Hall 1992).

        Hall's cubic T + 2 a T² + 4/3 a² T³ + a removes the skewness of Student's statistic T; a is
        the acceleration.
        """
        k = len(self.influence)
        spread = np.sqrt((k - 1) / k * np.square(self.influence).sum())  # eq. 11.5
        if spread == 0:
            return float(value > margin)
        t, a = (value - margin) / spread, self.acceleration()
        return float(stats.norm.cdf(t + 2 * a * t**2 + 4 / 3 * a**2 * t**3 + a))

    def expanded(self, probability: float) -> float:
        """Correct a probability for the number of units (Hesterberg 2015)."""
        if self.n_units < 2:
            return 0.0
        quantile = stats.norm.ppf(probability) * np.sqrt((self.n_units - 1) / self.n_units)
        return float(stats.t.cdf(quantile, self.freedom()))

    def tails(self) -> FloatArray:
        """Normal quantiles of an interval at 95 %, expanded for the number of units."""
        expansion = np.sqrt(self.n_units / (self.n_units - 1))
        quantiles: FloatArray = expansion * stats.t.ppf(TAILS, self.freedom())
        return quantiles


@dataclass(frozen=True)
class Resamples:
    """Scores of bootstrap draws, and of the rows without each block of a jackknife.

    Attributes:
        value: of the rows themselves.
        drawn: `(draws,)` scores of the draws; `nan` where the metric is not defined.
        jackknife: of the same rows.
    """

    value: float
    drawn: FloatArray
    jackknife: Jackknife

    def bounds(self) -> tuple[float, float]:
        """The expanded BCa interval at 95 %, from the draws that define the score."""
        defined = self.drawn[np.isfinite(self.drawn)]
        if self.jackknife.n_units < 2 or not len(defined):
            return -np.inf, np.inf
        quantiles = bca_quantiles(
            self.jackknife.tails(), _bias(defined, self.value), self.jackknife.acceleration()
        )
        low, high = np.quantile(defined, quantiles)
        return float(low), float(high)

    def probability(self, margin: float) -> float:
        """The probability that the true value exceeds the margin.

        Undefined draws count as no gain, and so does one additional draw: no finite number of draws
        makes a gain certain.
        """
        share = float(np.sum(self.drawn > margin) / (len(self.drawn) + 1))
        hall = self.jackknife.probability_above(self.value, margin)
        return self.jackknife.expanded(min(share, hall))


def bca_quantiles(tails: FloatArray, bias: float, acceleration: float) -> FloatArray:
    """The shares of draws below the bounds whose normal quantiles are `tails` (eq. 14.10)."""
    shifted = bias + tails
    stretch = np.maximum(1 - acceleration * shifted, 1e-6)  # below it, the bound is the last draw
    quantiles: FloatArray = stats.norm.cdf(bias + shifted / stretch)
    return quantiles


def _bias(drawn: FloatArray, value: float) -> float:
    """The normal quantile of the share of draws below the value (eq. 14.14); ties count half."""
    below = np.sum(drawn < value) + np.sum(drawn == value) / 2 + 0.5
    return float(stats.norm.ppf(below / (len(drawn) + 1)))


def _sampled_rows(metric: Metric, n: int, rng: np.random.Generator) -> IntArray:
    """All rows; a random sample of many rows if the metric is computed draw by draw."""
    if is_vectorised(metric) or n <= MAX_ROWS:
        return np.arange(n)
    return np.sort(rng.choice(n, MAX_ROWS, replace=False))


def _of(weight: Weights, rows: IntArray) -> Weights:
    return None if weight is None else weight[rows]


def _units(groups: IntArray | None, rows: IntArray) -> IntArray:
    """Codes `(rows,)` from 0 of what is drawn together."""
    if groups is None:
        return np.arange(len(rows))
    codes: IntArray = np.unique(groups[rows], return_inverse=True)[1]
    return codes


def _most_draws(metric: Metric) -> int:
    return MIN_DRAWS if metric.is_costly else MAX_DRAWS


def _resample(
    score: WeightedScore, units: IntArray, rng: np.random.Generator, most: int
) -> Resamples:
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = np.concatenate([*map(score, bootstrap_weights(units, rng, most))])
        without = np.concatenate([*map(score, _jackknife_weights(units, rng))])
        value = float(score(np.ones((1, len(units))))[0])
    return Resamples(value, drawn, Jackknife.of(without, int(units.max()) + 1))


def bootstrap_weights(
    units: IntArray, rng: np.random.Generator, most: int = MAX_DRAWS
) -> Iterator[FloatArray]:
    """Blocks (draws, rows) of bootstrap weights.

    Args:
        units: `(rows,)` codes of what is drawn together.
        rng: of the draws.
        most: how many draws at most.
    """
    n_rows, n_units = len(units), int(units.max()) + 1
    left = int(np.clip(MAX_CELLS // n_rows, MIN_DRAWS, most))
    while left:
        draws = min(left, max(1, CELLS_AT_ONCE // n_rows))
        drawn = rng.integers(n_units, size=(draws, n_units)) + n_units * np.arange(draws)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=draws * n_units).reshape(draws, n_units)
        yield (counts if n_units == n_rows else counts[:, units]).astype(np.float64)
        left -= draws


def _jackknife_weights(units: IntArray, rng: np.random.Generator) -> Iterator[FloatArray]:
    """Matrices (blocks, rows) of weights, each row of which leaves out one block of units."""
    n_units = int(units.max()) + 1
    n_blocks = min(n_units, MAX_BLOCKS)
    block = rng.permutation(np.arange(n_units) % n_blocks)[units]
    at_once = max(1, CELLS_AT_ONCE // len(units))
    for start in range(0, n_blocks, at_once):
        left_out = np.arange(start, min(start + at_once, n_blocks))
        yield (block != left_out[:, None]).astype(np.float64)
