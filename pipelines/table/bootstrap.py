"""How sure is a score, and that one model is better than another, given predictions for rows that nobody trained on?

An interval for the score of one model comes from drawing the rows again with replacement, thousands
of times; a comparison of two from the same draws for both.

The paired bootstrap (Efron and Tibshirani 1993): the rows are drawn again with replacement,
thousands of times, and each time both models are scored on the same draw, so that what makes rows
easy or hard for both cancels out. A draw is written as weights, how often it holds each row;
metrics that are means over rows, R² and the area under the ROC curve are computed from the weights
of many draws at once, the others draw by draw.

The plain share of draws with a gain is too sure of itself in two cases, and is corrected downwards
for both.

- A model that is a little better on most rows and much worse on a few has a skewed gain, and draws
  that miss the few are common. So the probability is at most that of Student's statistic with its
  skewness taken out by the cubic of Hall (1992, "On the removal of skewness by transformation").
  BCa (Efron 1987) corrects for the same to the same order, but by half as much as is needed on a
  hundred rows. Spread and skewness come from a jackknife over blocks of rows. Equations are
  numbered as in Efron and Tibshirani.
- The spread of the draws is that of the rows in hand, without n / (n - 1) and without Student's
  tails. Hesterberg (2015, arXiv:1411.5279, "expanded percentile") widens intervals of few rows for
  that; the same is done here. Where few of the rows make up most of the spread, such as the
  positive ones of a rare class, those few are what counts (Satterthwaite 1946).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from hpo.arrays import FloatArray, IntArray
from pipelines.table.metrics import Metric

Scores = Callable[[FloatArray], FloatArray]
"""From weights (draws, rows) to the scores (draws,); nan where a draw does not define the metric."""

MOST_DRAWS, FEWEST_DRAWS = 4_000, 500
CELLS_IN_ALL = 60_000_000  # draws times rows, as far as the fewest draws allow
CELLS_AT_ONCE = 1_000_000  # 8 MB of weights
MOST_ROWS = 100_000  # of a metric that is computed draw by draw
MOST_BLOCKS = 200  # of the jackknife
_ROUNDING = 1e-13  # relative differences that mean nothing


@dataclass(frozen=True)
class Interval:
    """A score of the rows themselves, and the bounds that 95 of 100 such intervals hold the true one between."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Gain:
    """By how much one model is better than another, in the metric's units; greater is better for every metric.

    `value` is that of the rows themselves, between the bounds `low` and `high` of 95 %.
    `probability` is that of a gain greater than the margin that was asked for; `draws` is how many
    it was counted in.
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
    seed: int = 0,
) -> Interval:
    """The metric on these rows with its BCa interval (Efron 1987) at 95 %, expanded for few rows (Hesterberg 2015).

    Arguments are those of `paired_gain`; draws that do not define the metric are left out.

    Raises:
        ValueError: when the metric is not defined on these rows.
    """
    rng = np.random.default_rng([seed, 0xB007])
    value = metric(y, prediction)
    rows = _rows(metric, len(y), rng)
    y, prediction = y[rows], prediction[rows]
    drawn, without, of_rows, n_units = _resampled(
        scores(metric, y, prediction), _units(groups, rows), rng
    )
    defined = drawn[np.isfinite(drawn)]
    low, high = _bounds(defined, without, of_rows, n_units)
    return Interval(value, min(low, value), max(high, value))


def paired_gain(
    metric: Metric,
    y: npt.NDArray[Any],
    one: FloatArray,
    other: FloatArray,
    *,
    margin: float = 0.0,
    groups: IntArray | None = None,
    seed: int = 0,
) -> Gain:
    """The gain of the predictions `one` over `other`, with the probability that it is greater than `margin`.

    Args:
        metric: What both are scored by.
        y: (n,) class codes or values in original units.
        one: (n, k) probabilities or (n,) values, as `Metric` takes them.
        other: The same of the other model.
        margin: In the metric's units; 0 asks for better at all.
        groups: (n,) codes 0, 1, …; rows of a group depend on each other and are drawn together.
        seed: Of the draws.

    Raises:
        ValueError: when the metric is not defined on these rows.
    """
    rng = np.random.default_rng([seed, 0xB007])
    value = _gain(metric, metric(y, one), metric(y, other))
    rows = _rows(metric, len(y), rng)
    y, one, other = y[rows], one[rows], other[rows]
    mine, theirs = scores(metric, y, one), scores(metric, y, other)

    def gains(weights: FloatArray) -> FloatArray:
        found: FloatArray = _gain(metric, mine(weights), theirs(weights))
        return found

    drawn, without, of_rows, n_units = _resampled(gains, _units(groups, rows), rng)
    low, high = _bounds(drawn[np.isfinite(drawn)], without, of_rows, n_units)
    # One more draw is counted against the challenger, so that no finite number of draws makes
    # anything certain; so are undefined ones.
    share = float(np.sum(drawn > margin) / (len(drawn) + 1))
    probability = _less_sure(
        min(share, _hall(without, of_rows, margin)), n_units, _freedom(without, n_units)
    )
    return Gain(value, low, high, probability, len(drawn))


def scores(metric: Metric, y: npt.NDArray[Any], prediction: FloatArray) -> Scores:
    """The metric as a function of the rows' weights; whole weights give what repeated rows would."""
    if metric.name in _MEANS:
        values, link = _MEANS[metric.name]
        losses = values(y, prediction)
        return lambda weights: link(weights @ losses / weights.sum(axis=1))
    if metric.name in _AT_ONCE:
        return _AT_ONCE[metric.name](y, prediction)
    return _row_by_row(metric, y, prediction)


def _units(groups: IntArray | None, rows: IntArray) -> IntArray:
    """(rows,) codes 0, 1, … of what is drawn together."""
    if groups is None:
        return np.arange(len(rows))
    codes: IntArray = np.unique(groups[rows], return_inverse=True)[1]
    return codes


def _resampled(
    score: Scores, units: IntArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, float, int]:
    """The scores of the draws, those without each block of the jackknife, that of the rows, and the units."""
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = np.concatenate([score(weights) for weights in _weights(units, rng)])
        without = np.concatenate([score(weights) for weights in _all_but_one(units, rng)])
        of_rows = float(score(np.ones((1, len(units))))[0])
    return drawn, without, of_rows, int(units.max()) + 1


def _gain(metric: Metric, one: Any, other: Any) -> Any:
    return one - other if metric.greater_is_better else other - one


def _bounds(
    drawn: FloatArray, without: FloatArray, value: float, units: int
) -> tuple[float, float]:
    """The expanded BCa interval at 95 % from the draws that define the score."""
    if units < 2 or not len(drawn):
        return -np.inf, np.inf
    tail = np.sqrt(units / (units - 1)) * stats.t.ppf([0.025, 0.975], _freedom(without, units))
    levels = _bca_levels(tail, _bias(drawn, value), _acceleration(without))
    low, high = np.quantile(drawn, levels)
    return float(low), float(high)


def _hall(without: FloatArray, value: float, margin: float) -> float:
    """The probability that the true value exceeds the margin, from Student's statistic without its skewness.

    Hall's cubic is T + 2 a T^2 + 4/3 a^2 T^3 + a, with the acceleration a, a sixth of the
    statistic's skewness.
    """
    influence = _influence(without)
    k = len(influence)
    spread = np.sqrt((k - 1) / k * np.square(influence).sum())  # the jackknife's (eq. 11.5)
    if spread == 0:
        return float(value > margin)
    t, a = (value - margin) / spread, _acceleration(without)
    return float(stats.norm.cdf(t + 2 * a * t**2 + 4 / 3 * a**2 * t**3 + a))


def _freedom(without: FloatArray, units: int) -> float:
    """Degrees of freedom of a score's spread: `units` - 1 where influences are normal, fewer where few rows rule.

    Satterthwaite's 2 / var(s^2 / sigma^2); the excess kurtosis of the rows is that of the blocks
    times their size.
    """
    influence = _influence(without)
    squares = np.square(influence)
    if not squares.any():
        return float(max(units - 1, 1))
    excess = (
        max(len(squares) * np.square(squares).sum() / squares.sum() ** 2 - 3, 0.0)
        * units
        / len(squares)
    )
    return float(max(2 / (2 / max(units - 1, 1) + excess / units), 1.0))


def _bca_levels(tail: FloatArray, bias: float, acceleration: float) -> FloatArray:
    """The shares of the draws that lie below the bounds whose normal quantiles are `tail` (eq. 14.10)."""
    shifted = bias + tail
    stretch = np.maximum(
        1 - acceleration * shifted, 1e-6
    )  # beyond it there is no bound but the last draw
    levels: FloatArray = stats.norm.cdf(bias + shifted / stretch)
    return levels


def _bias(drawn: FloatArray, value: float) -> float:
    """How far the draws lie beside the value of the rows, as a normal quantile (eq. 14.14); ties count half."""
    below = np.sum(drawn < value) + np.sum(drawn == value) / 2 + 0.5
    return float(stats.norm.ppf(below / (len(drawn) + 1)))


def _acceleration(without: FloatArray) -> float:
    """A sixth of the skewness of the gain, from its values without each block (eq. 14.15)."""
    influence = _influence(without)
    spread = np.square(influence).sum() ** 1.5
    return float((influence**3).sum() / (6 * spread)) if spread > 0 else 0.0


def _influence(without: FloatArray) -> FloatArray:
    """By how much each block raises the score, up to a factor; blocks without which there is none are left out."""
    defined = without[np.isfinite(without)]
    if not len(defined):
        return np.zeros(1)
    influence = defined.mean() - defined
    return np.where(np.abs(influence) > _ROUNDING * np.abs(defined).max(), influence, 0.0)


def _less_sure(probability: float, units: int, freedom: float) -> float:
    """A probability from `units` rows or groups, corrected for their number (Hesterberg 2015)."""
    if units < 2:
        return 0.0
    quantile = stats.norm.ppf(probability) * np.sqrt((units - 1) / units)
    return float(stats.t.cdf(quantile, freedom))


def _rows(metric: Metric, n: int, rng: np.random.Generator) -> IntArray:
    if metric.name in _MEANS or metric.name in _AT_ONCE or n <= MOST_ROWS:
        return np.arange(n)
    return np.sort(rng.choice(n, MOST_ROWS, replace=False))


def _weights(units: IntArray, rng: np.random.Generator) -> Iterator[FloatArray]:
    """Blocks (draws, rows) of weights; `units` are the (rows,) codes of what is drawn together."""
    n_rows, n_units = len(units), int(units.max()) + 1
    left = int(np.clip(CELLS_IN_ALL // n_rows, FEWEST_DRAWS, MOST_DRAWS))
    while left:
        draws = min(left, max(1, CELLS_AT_ONCE // n_rows))
        drawn = rng.integers(n_units, size=(draws, n_units)) + n_units * np.arange(draws)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=draws * n_units).reshape(draws, n_units)
        yield (counts if n_units == n_rows else counts[:, units]).astype(np.float64)
        left -= draws


def _all_but_one(units: IntArray, rng: np.random.Generator) -> Iterator[FloatArray]:
    """Blocks (blocks, rows) of weights that leave out one part of the rows each; each row or group is in one part."""
    n_units = int(units.max()) + 1
    n_parts = min(n_units, MOST_BLOCKS)
    part = rng.permutation(np.arange(n_units) % n_parts)[units]
    at_once = max(1, CELLS_AT_ONCE // len(units))
    for start in range(0, n_parts, at_once):
        yield (part != np.arange(start, min(start + at_once, n_parts))[:, None]).astype(np.float64)


# --- metrics of weighted rows
# -----------------------------------------------------------------------


def _log_losses(y: IntArray, p: FloatArray) -> FloatArray:
    eps = np.finfo(np.float64).eps
    chosen: FloatArray = -np.log(np.clip(p[np.arange(len(y)), y] / p.sum(axis=1), eps, 1 - eps))
    return chosen


def _hits(y: IntArray, p: FloatArray) -> FloatArray:
    hits: FloatArray = (p.argmax(axis=1) == y).astype(np.float64)
    return hits


def _squared_errors(y: FloatArray, p: FloatArray) -> FloatArray:
    return np.square(y - p)


def _same(mean: FloatArray) -> FloatArray:
    return mean


# Metrics that are a function of a mean over the rows: the rows' values, and that function.
_MEANS: Mapping[
    str,
    tuple[Callable[[npt.NDArray[Any], FloatArray], FloatArray], Callable[[FloatArray], FloatArray]],
] = {
    "log_loss": (_log_losses, _same),
    "accuracy": (_hits, _same),
    "brier": (lambda y, p: np.square(p[:, 1] - (y == 1)), _same),
    "rmse": (_squared_errors, np.sqrt),
    "mae": (lambda y, p: np.abs(y - p), _same),
    "mape": (lambda y, p: np.abs((y - p) / y), _same),
    "rmsle": (lambda y, p: np.square(np.log1p(np.maximum(p, 0)) - np.log1p(y)), np.sqrt),
}


def _r2(y: FloatArray, p: FloatArray) -> Scores:
    centred = y - y.mean()  # for the digits
    errors = np.square(y - p)

    def of(weights: FloatArray) -> FloatArray:
        total = weights.sum(axis=1)
        spread = weights @ np.square(centred) - np.square(weights @ centred) / total
        found: FloatArray = np.where(spread > 0, 1 - weights @ errors / spread, np.nan)
        return found

    return of


def _roc_auc(positive: npt.NDArray[np.bool_], p: FloatArray) -> Scores:
    """The Mann-Whitney statistic; rows are sorted once, for all draws."""
    counts = _counts_of_runs(positive, p)

    def of(weights: FloatArray) -> FloatArray:
        above, below = counts(weights)
        wins = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
        found: FloatArray = wins / (above.sum(axis=1) * below.sum(axis=1))
        return found

    return of


def _roc_auc_ovr(y: IntArray, p: FloatArray) -> Scores:
    """The mean over the classes that a draw holds, each against the rest."""
    areas = [_roc_auc(y == c, p[:, c]) for c in np.unique(y)]

    def of(weights: FloatArray) -> FloatArray:
        found = np.stack([area(weights) for area in areas])  # (classes, draws)
        defined = np.isfinite(found)
        mean: FloatArray = np.where(defined, found, 0.0).sum(axis=0) / defined.sum(axis=0)
        return mean

    return of


def _average_precision(y: IntArray, p: FloatArray) -> Scores:
    """Precision times the step in recall, summed over distinct scores from above."""
    counts = _counts_of_runs(y == 1, -p[:, 1])

    def of(weights: FloatArray) -> FloatArray:
        hits, misses = counts(weights)
        found, seen = np.cumsum(hits, axis=1), np.cumsum(hits + misses, axis=1)
        area: FloatArray = (found / np.maximum(seen, 1.0) * hits).sum(axis=1) / found[:, -1]
        return area

    return of


def _counts_of_runs(
    positive: npt.NDArray[np.bool_], values: FloatArray
) -> Callable[[FloatArray], tuple[FloatArray, FloatArray]]:
    """From weights (draws, rows) to the weight of positive and of other rows (draws, runs) at each distinct value."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order], prepend=-np.inf))
    is_positive = positive[order]

    def of(weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        sorted_ = weights[:, order]
        above: FloatArray = np.add.reduceat(sorted_ * is_positive, starts, axis=1)
        below: FloatArray = np.add.reduceat(sorted_ * ~is_positive, starts, axis=1)
        return above, below

    return of


# Metrics of which many draws are computed at once, from the weights.
_AT_ONCE: Mapping[str, Callable[[npt.NDArray[Any], FloatArray], Scores]] = {
    "r2": _r2,
    "roc_auc": lambda y, p: _roc_auc(y == 1, p[:, 1]),
    "roc_auc_ovr": _roc_auc_ovr,
    "average_precision": _average_precision,
}


def _row_by_row(metric: Metric, y: npt.NDArray[Any], p: FloatArray) -> Scores:
    rows = np.arange(len(y))

    def of(weights: FloatArray) -> FloatArray:
        draws = (np.repeat(rows, counts) for counts in weights.astype(np.int64))
        return np.array([metric.function(y[draw], p[draw]) for draw in draws])

    return of
