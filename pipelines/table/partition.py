"""Ways to divide rows: by strata, along time, or by groups.

Each `Partition` takes out one part (`holdout`), or all parts in turn (`folds`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from hpo.arrays import IntArray

Pair = tuple[IntArray, IntArray]
"""Training and validation rows."""


class Partition(Protocol):
    """A rule by which the rows of a table are divided."""

    def holdout(self, rows: IntArray, share: float, keep: int) -> Pair:
        """Take about a share of the rows.

        Args:
            rows: ascending row numbers.
            share: of the rows, between 0 and 1.
            keep: units (rows of each stratum, times or groups) that must remain.

        Returns:
            The rows that were taken, and the remaining ones.
        """
        ...

    def folds(self, rows: IntArray, k: int) -> list[Pair]:
        """Training and validation rows of k folds, or of fewer where there are too few units."""
        ...

    def n_units(self, rows: IntArray) -> int:
        """The number of units that must not be divided: rows, times or groups."""
        ...


@dataclass(frozen=True)
class ByStrata:
    """Random parts with the proportions of all strata.

    Attributes:
        strata: `(n,)` codes.
        rng: consumed by each call.
    """

    strata: IntArray
    rng: np.random.Generator

    def holdout(self, rows: IntArray, share: float, keep: int) -> Pair:
        """Take at least one row of each stratum that has more than `keep`."""
        stratum = self.strata[rows]
        members = np.bincount(stratum)
        taken = self._rank_within(stratum) < _quota(members, share, keep)[stratum]
        if not taken.any():
            taken[np.argmax(members[stratum])] = True
        return rows[taken], rows[~taken]

    def folds(self, rows: IntArray, k: int) -> list[Pair]:
        """Deal the rows stratum by stratum; the sizes of two folds differ by at most one row."""
        fold_of = np.empty(len(rows), dtype=np.int64)
        fold_of[self._shuffled(self.strata[rows])] = np.arange(len(rows)) % k
        return _pairs(rows, fold_of)

    def n_units(self, rows: IntArray) -> int:
        """The number of rows."""
        return len(rows)

    def _shuffled(self, stratum: IntArray) -> IntArray:
        """A random order of the rows within each stratum, one stratum after the other."""
        return np.lexsort((self.rng.random(len(stratum)), stratum))

    def _rank_within(self, stratum: IntArray) -> IntArray:
        """Each row's place in a random order of its stratum."""
        order = self._shuffled(stratum)
        starts = np.flatnonzero(np.diff(stratum[order], prepend=-1))
        lengths = np.diff(np.append(starts, len(stratum)))
        rank = np.empty(len(stratum), dtype=np.int64)
        rank[order] = np.arange(len(stratum)) - np.repeat(starts, lengths)
        return rank


@dataclass(frozen=True)
class ByTime:
    """Later rows are predicted from earlier ones; rows of one time stay together.

    Attributes:
        times: `(n,)` positions in time, 0 the earliest.
    """

    times: IntArray

    def holdout(self, rows: IntArray, share: float, keep: int) -> Pair:
        """Take the last times; at least `keep` times remain."""
        times = self.times[rows]
        taken = times >= _cut(times, len(rows) * (1 - share), low=keep)
        return rows[taken], rows[~taken]

    def folds(self, rows: IntArray, k: int) -> list[Pair]:
        """Expanding windows: k + 1 blocks of about equal size, all but the first predicted."""
        if self.n_units(rows) <= k:
            return []
        return self.windows(rows, len(rows) * np.arange(1, k + 1) / (k + 1))

    def n_units(self, rows: IntArray) -> int:
        """The number of distinct times."""
        return len(np.unique(self.times[rows]))

    def windows(self, rows: IntArray, starts: npt.NDArray[np.float64]) -> list[Pair]:
        """Predict each window from all rows before it.

        A window begins after about as many rows as `starts` says, and ends where the next begins.
        """
        k = len(starts)
        times = np.unique(self.times[rows], return_inverse=True)[1]
        n_times = int(times.max()) + 1
        cuts = [0]
        for start in starts:
            cuts.append(max(cuts[-1] + 1, _cut(times, start, low=1)))
        first = np.minimum(cuts[1:], n_times - np.arange(k, 0, -1))  # no window may be empty
        last = np.append(first[1:], n_times)
        return [
            (rows[times < begin], rows[(times >= begin) & (times < end)])
            for begin, end in zip(first, last, strict=True)
        ]


class ByGroup:
    """Random parts that keep the rows of a group together.

    Args:
        groups: `(n,)` codes from 0.
        rng: for the order of the groups.
    """

    def __init__(self, groups: IntArray, rng: np.random.Generator) -> None:
        self._groups = groups
        self._sizes = np.bincount(groups)
        self._order = rng.permutation(len(self._sizes))

    def holdout(self, rows: IntArray, share: float, keep: int) -> Pair:
        """Take the first groups whose rows come nearest to the share; `keep` groups remain."""
        order = self._ordered(rows)
        filled = np.cumsum(self._sizes[order])
        n_taken = int(np.abs(filled - share * filled[-1]).argmin()) + 1
        taken = np.isin(self._groups[rows], order[: min(n_taken, len(order) - keep)])
        return rows[taken], rows[~taken]

    def folds(self, rows: IntArray, k: int) -> list[Pair]:
        """Deal the groups, the largest first, each to the fold with the fewest rows."""
        order = self._ordered(rows)
        largest_first = order[np.argsort(-self._sizes[order], kind="stable")]
        return self._dealt(rows, largest_first, k)

    def shuffled_folds(self, rows: IntArray, k: int) -> list[Pair]:
        """Deal the groups in their random order, each to the fold with the fewest rows."""
        return self._dealt(rows, self._ordered(rows), k)

    def n_units(self, rows: IntArray) -> int:
        """The number of groups."""
        return len(np.unique(self._groups[rows]))

    def _ordered(self, rows: IntArray) -> IntArray:
        """The groups of the rows, in random order."""
        return self._order[np.isin(self._order, self._groups[rows])]

    def _dealt(self, rows: IntArray, order: IntArray, k: int) -> list[Pair]:
        filled = np.zeros(min(k, len(order)), dtype=np.int64)
        fold_of = np.empty(len(self._sizes), dtype=np.int64)
        for group in order:
            fold_of[group] = filled.argmin()
            filled[fold_of[group]] += self._sizes[group]
        return _pairs(rows, fold_of[self._groups[rows]])


def _pairs(rows: IntArray, fold_of: IntArray) -> list[Pair]:
    n_folds = int(fold_of.max()) + 1
    return [(rows[fold_of != i], rows[fold_of == i]) for i in range(n_folds)]


def _quota(members: IntArray, share: float, keep: int) -> IntArray:
    """How many rows to take of each stratum: at least one, but `keep` must remain."""
    exact = members * share
    quota = np.floor(exact).astype(np.int64)
    short = round(share * int(members.sum())) - int(quota.sum())
    by_remainder = np.argsort(quota - exact, kind="stable")
    quota[by_remainder[: max(0, short)]] += 1
    limited: IntArray = np.minimum(np.maximum(quota, 1), np.maximum(members - keep, 0))
    return limited


def _cut(times: IntArray, rows_before: float, low: int) -> int:
    """The time before which about `rows_before` rows lie, and at least `low` times."""
    before = np.append(0, np.cumsum(np.bincount(times)))
    cut = int(np.abs(before - rows_before).argmin())
    return int(np.clip(cut, low, len(before) - 2))
