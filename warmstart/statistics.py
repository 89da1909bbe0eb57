"""Statistics of single columns; `nan` where a statistic is undefined, without a warning."""

import math

import numpy as np
import numpy.typing as npt

from hpo.arrays import FloatArray, IntArray

TAIL = 0.01
FENCE = 1.5


def winsorised(values: FloatArray) -> FloatArray:
    """The numbers, clipped to their 1 % and 99 % quantiles; `nan` remains."""
    present = values[~np.isnan(values)]
    if not len(present):
        return values
    return np.clip(values, *np.quantile(present, [TAIL, 1 - TAIL]))


def standardised(values: FloatArray) -> FloatArray:
    """The numbers with mean 0 and deviation 1; 0 where missing, and all 0 if they are constant."""
    present = ~np.isnan(values)
    if not present.any() or values[present].min() == values[present].max():
        return np.zeros(len(values))
    centred = values - values[present].mean()
    spread = centred[present].std()
    return np.where(present, centred / spread, 0.0) if spread > 0 else np.zeros(len(values))


def skewness(values: FloatArray) -> float:
    """m₃ / m₂^1.5 of `(n,)` numbers without `nan`, m the central moments."""
    z = standardised(values)
    return float(np.mean(z**3)) if z.any() else math.nan


def kurtosis(values: FloatArray) -> float:
    """m₄ / m₂² of `(n,)` numbers without `nan`, m the central moments; 3 for a normal sample."""
    z = standardised(values)
    return float(np.mean(z**4)) if z.any() else math.nan


def outlier_share(values: FloatArray) -> float:
    """The share of `(n,)` numbers outside the fences of Tukey (1977), "Exploratory data analysis".

    The fences are 1.5 interquartile ranges below the lower and above the upper quartile.
    """
    if not len(values):
        return math.nan
    low, high = np.quantile(values, [0.25, 0.75])
    reach = FENCE * (high - low)
    return float(np.mean((values < low - reach) | (values > high + reach)))


def counts_of(values: FloatArray | IntArray) -> IntArray:
    """`(k,)` counts of the distinct values in their order, without missing ones (`nan`, -1)."""
    return np.unique(values[~_missing(values)], return_counts=True)[1].astype(np.int64)


def entropy(counts: npt.NDArray[np.integer]) -> float:
    """H = -Σ p ln p, in nats, of `(k,)` counts."""
    p = counts[counts > 0] / max(1, counts.sum())
    return -float(np.sum(p * np.log(p))) + 0.0


def evenness(counts: npt.NDArray[np.integer]) -> float:
    """Entropy of `(k,)` positive counts relative to its maximum ln k; `nan` if k < 2."""
    return entropy(counts) / np.log(len(counts)) if len(counts) > 1 else math.nan


def binned(values: FloatArray | IntArray, bins: int) -> IntArray:
    """`(n,)` codes 0 … k - 1 of at most `bins` bins, and one more bin for missing values if any.

    Up to `bins` distinct values get a bin each. More numbers are cut at quantiles; of more
    categories, the most frequent ones get a bin each and the others share one.
    """
    missing = _missing(values)
    present = values[~missing]
    distinct, codes, counts = np.unique(present, return_inverse=True, return_counts=True)
    if len(distinct) > bins and values.dtype == np.float64:
        edges = np.unique(np.quantile(present, np.linspace(0, 1, bins + 1)[1:-1]))
        codes = np.searchsorted(edges, present, side="left")
    elif len(distinct) > bins:
        rank = np.empty(len(distinct), dtype=np.int64)
        rank[np.argsort(-counts, kind="stable")] = np.arange(len(distinct))
        codes = np.minimum(rank, bins - 1)[codes]
    found = np.full(len(values), -1, dtype=np.int64)
    found[~missing] = codes
    return np.unique(found, return_inverse=True)[1].astype(np.int64)


def mutual_information(a: IntArray, b: IntArray) -> float:
    """I(a; b) = H(a) + H(b) - H(a, b), in nats, of `(n,)` codes, with Miller's bias correction.

    Miller (1955), "Note on the bias of information estimates": each entropy is too small by
    (k - 1) / 2n, where k is the number of values that occur. The result is clipped to lie between
    0 and the smaller entropy.
    """
    pairs = np.unique(a * (b.max() + 1) + b, return_counts=True)[1]
    one, other = counts_of(a), counts_of(b)
    plain = entropy(one) + entropy(other) - entropy(pairs)
    corrected = plain + (len(one) + len(other) - len(pairs) - 1) / (2 * len(a))
    return min(max(0.0, corrected), entropy(one), entropy(other))


def _missing(values: FloatArray | IntArray) -> npt.NDArray[np.bool_]:
    return np.isnan(values) if values.dtype == np.float64 else values < 0
