"""Medians, ranks and bootstrap intervals."""

from collections.abc import Callable

import numpy as np
from scipy.stats import rankdata

from hpo.arrays import FloatArray

RESAMPLES = 2000
SEED = 7


def interval(
    values: FloatArray, statistic: Callable[..., FloatArray] = np.median, level: float = 0.95
) -> tuple[float, float]:
    """The percentile bootstrap interval of a statistic of values `(n,)`.

    `statistic` must accept the argument `axis`.
    """
    rng = np.random.default_rng(SEED)
    draws = statistic(values[rng.integers(len(values), size=(RESAMPLES, len(values)))], axis=1)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def ratio_interval(
    above: FloatArray, below: FloatArray, level: float = 0.95
) -> tuple[float, float, float]:
    """The ratio of two medians and its bootstrap interval, both samples resampled."""
    rng = np.random.default_rng(SEED)
    top = np.median(above[rng.integers(len(above), size=(RESAMPLES, len(above)))], axis=1)
    bottom = np.median(below[rng.integers(len(below), size=(RESAMPLES, len(below)))], axis=1)
    low, high = np.quantile(top / bottom, [(1 - level) / 2, (1 + level) / 2])
    return float(np.median(above) / np.median(below)), float(low), float(high)


def paired_ratio(above: FloatArray, below: FloatArray) -> tuple[float, float, float]:
    """The ratio of the means of two paired samples `(n,)`, and its bootstrap interval."""
    pairs = np.stack([above, below], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):  # a draw may have zeros only
        low, high = interval(pairs, lambda drawn, axis: np.divide(*drawn.mean(axis=axis).T))
    return float(above.mean() / below.mean()), low, high


def ranks(scores: FloatArray) -> FloatArray:
    """Ranks `(n_methods, ...)` along the first axis; 1 is the lowest, ties get the mean rank."""
    return np.asarray(rankdata(scores, axis=0), dtype=float)


def best_so_far(losses: FloatArray) -> FloatArray:
    """The running minimum along the last axis."""
    return np.minimum.accumulate(losses, axis=-1)


def wins(mine: FloatArray, other: FloatArray, level: float = 0.95) -> tuple[float, float, float]:
    """The share of races that `mine` wins, and its interval over seeds; ties count half.

    Both arrays hold losses or regrets `(n_problems, n_seeds)`.
    """
    won = (mine < other) + 0.5 * (mine == other)
    n_problems, n_seeds = won.shape
    chosen = np.random.default_rng(SEED).integers(n_seeds, size=(RESAMPLES, n_problems, n_seeds))
    draws = won[np.arange(n_problems)[:, None], chosen].mean(axis=(1, 2))
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(won.mean()), float(low), float(high)


def mean_rank(regrets: FloatArray) -> FloatArray:
    """Mean ranks `(n_methods,)` of regrets `(n_methods, n_problems, n_seeds)`.

    Methods are ranked within each seed of each problem.
    """
    return np.asarray(ranks(regrets).mean(axis=(1, 2)))


def mean_rank_intervals(regrets: FloatArray, level: float = 0.95) -> FloatArray:
    """Bootstrap intervals `(n_methods, 2)` of `mean_rank`; seeds are resampled by problem."""
    ranked = ranks(regrets)
    _, n_problems, n_seeds = ranked.shape
    rng = np.random.default_rng(SEED)
    chosen = rng.integers(n_seeds, size=(RESAMPLES, n_problems, n_seeds))
    problems = np.arange(n_problems)[:, None]
    draws = np.stack([ranked[:, problems, seeds].mean(axis=(1, 2)) for seeds in chosen])
    return np.asarray(np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0).T)


def first_times(times: FloatArray, losses: FloatArray, target: float) -> float:
    """The first of the ascending times `(n,)` with a loss of at most `target`; infinite if none."""
    reached = np.flatnonzero(losses <= target)
    return float(times[reached[0]]) if len(reached) else float("inf")


def speed_up(times: FloatArray, horizon: float, level: float = 0.95) -> tuple[float, float, float]:
    """How many times sooner than at `horizon` a target is reached, with its interval.

    The figure is the median over problems of horizon / median time. Times are
    `(n_problems, n_seeds)`, infinite where a search did not reach the target; 0 means never. For
    the interval, problems and seeds within problems are resampled; the targets are fixed.
    """
    rng = np.random.default_rng(SEED)
    n_problems, n_seeds = times.shape
    draws = []
    for chosen in rng.integers(n_problems, size=(RESAMPLES, n_problems)):
        seeds = rng.integers(n_seeds, size=(n_problems, n_seeds))
        draws.append(_median_ratio(horizon, times[chosen[:, None], seeds]))
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return _median_ratio(horizon, times), float(low), float(high)


def median_times(times: FloatArray) -> FloatArray:
    """Upper medians `(n_problems,)` of times `(n_problems, n_seeds)` that may be infinite."""
    return np.asarray(np.sort(times, axis=1)[:, times.shape[1] // 2])


def _median_ratio(horizon: float, times: FloatArray) -> float:
    return float(np.median(horizon / median_times(times)))
