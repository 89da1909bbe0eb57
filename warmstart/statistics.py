"""Statistics of single columns. Where a statistic has no value it is `nan`, without a warning or an error."""

import math

import numpy as np
import numpy.typing as npt

from hpo.arrays import FloatArray, IntArray

TAIL = 0.01
FENCE = 1.5


def winsorised(values: FloatArray) -> FloatArray:
    """The numbers, with those beyond the 1 % and the 99 % quantile set to these; `nan` stays."""
    present = values[~np.isnan(values)]
    if not len(present):
        return values
    return np.clip(values, *np.quantile(present, [TAIL, 1 - TAIL]))


def standardised(values: FloatArray) -> FloatArray:
    """Mean 0 and standard deviation 1, and then 0 for what is missing; all 0 if the values do not differ."""
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
    """m₄ / m₂² of `(n,)` numbers without `nan`, m the central moments; 3 for normal ones, at least 1."""
    z = standardised(values)
    return float(np.mean(z**4)) if z.any() else math.nan


def outlier_share(values: FloatArray) -> float:
    """The share of `(n,)` numbers outside the fences of Tukey (1977), "Exploratory data analysis".

    They stand 1.5 interquartile ranges below the lower and above the upper quartile.
    """
    if not len(values):
        return math.nan
    low, high = np.quantile(values, [0.25, 0.75])
    reach = FENCE * (high - low)
    return float(np.mean((values < low - reach) | (values > high + reach)))


def distinct(values: FloatArray | IntArray) -> IntArray:
    """`(k,)` counts of the distinct values, in their order; missing ones (`nan`, -1) are not counted."""
    missing = np.isnan(values) if values.dtype == np.float64 else values < 0
    return np.unique(values[~missing], return_counts=True)[1].astype(np.int64)


def entropy(counts: npt.NDArray[np.integer]) -> float:
    """H = -Σ p ln p, in nats, of `(k,)` counts."""
    p = counts[counts > 0] / max(1, counts.sum())
    return -float(np.sum(p * np.log(p))) + 0.0


def binned(values: FloatArray | IntArray, bins: int) -> IntArray:
    """`(n,)` codes 0 … k - 1 of at most `bins` bins, and one more for missing values where there are any.

    As many distinct values as bins keep a bin each. With more, numbers are cut at quantiles, and of
    categories the most frequent keep theirs and the others share one.
    """
    missing = np.isnan(values) if values.dtype == np.float64 else values < 0
    levels, codes, counts = np.unique(values[~missing], return_inverse=True, return_counts=True)
    if len(levels) > bins and values.dtype == np.float64:
        edges = np.unique(np.quantile(values[~missing], np.linspace(0, 1, bins + 1)[1:-1]))
        codes = np.searchsorted(edges, values[~missing], side="left")
    elif len(levels) > bins:
        rank = np.empty(len(levels), dtype=np.int64)
        rank[np.argsort(-counts, kind="stable")] = np.arange(len(levels))
        codes = np.minimum(rank, bins - 1)[codes]
    found = np.full(len(values), -1, dtype=np.int64)
    found[~missing] = codes
    return np.unique(found, return_inverse=True)[1].astype(np.int64)


def mutual_information(a: IntArray, b: IntArray) -> float:
    """I(a; b) = H(a) + H(b) - H(a, b), in nats, of `(n,)` codes, corrected for the bias of small samples.

    Miller (1955), "Note on the bias of information estimates": each entropy is short by (k - 1) /
    2n, k the number of values that occur. The result stays between 0 and the smaller entropy.
    """
    pairs = np.unique(a * (b.max() + 1) + b, return_counts=True)[1]
    one, other = distinct(a), distinct(b)
    plain = entropy(one) + entropy(other) - entropy(pairs)
    corrected = plain + (len(one) + len(other) - len(pairs) - 1) / (2 * len(a))
    return min(max(0.0, corrected), entropy(one), entropy(other))
