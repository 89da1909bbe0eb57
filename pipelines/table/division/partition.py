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
        units: `(n,)` numbers of rows that stay together: each has the number of the first row of
            its unit. None divides all rows freely.
    """

    strata: IntArray
    rng: np.random.Generator
    units: IntArray | None = None

    def holdout(self, rows: IntArray, share: float, keep: int) -> Pair:
        """Take at least one row of each stratum that has more than `keep`."""
        stratum, first = self._strata(rows)
        members = np.bincount(stratum)
        start, size = self._ranks(stratum, first)
        quota = _quota(members, share, keep)[stratum]
        taken = (start + size / 2 <= quota) | ((start == 0) & (quota > 0))
        taken &= start + size <= (members - keep)[stratum]
        if not taken.any():
            taken = first == first[np.argmax(members[stratum])]
        return rows[taken], rows[~taken]

    def folds(self, rows: IntArray, k: int) -> list[Pair]:
        """Deal the units stratum by stratum; two folds differ by at most one unit."""
        stratum, first = self._strata(rows)
        order = self._shuffled(stratum, first)
        fold_of = np.empty(len(rows), dtype=np.int64)
        fold_of[order] = (np.cumsum(np.diff(first[order], prepend=-1) != 0) - 1) % k
        return _pairs(rows, fold_of)

    def n_units(self, rows: IntArray) -> int:
        """The number of rows, of which equal ones count once."""
        return len(rows) if self.units is None else len(np.unique(self.units[rows]))

    def _strata(self, rows: IntArray) -> tuple[IntArray, IntArray]:
        """The stratum of each row's unit, and the position of the unit's first row."""
        if self.units is None:
            return self.strata[rows], np.arange(len(rows))
        units = self.units[rows]
        _, first, inverse = np.unique(units, return_index=True, return_inverse=True)
        return self.strata[units], first[inverse]

    def _shuffled(self, stratum: IntArray, first: IntArray) -> IntArray:
        """A random order of the units within each stratum, one stratum after the other."""
        keys = self.rng.random(len(stratum))[first]
        return np.lexsort((first, keys, stratum))

    def _ranks(self, stratum: IntArray, first: IntArray) -> tuple[IntArray, IntArray]:
        """The rows before each row's unit in a random order of its stratum; the unit's size."""
        order = self._shuffled(stratum, first)
        position = np.empty(len(stratum), dtype=np.int64)
        position[order] = np.arange(len(stratum))
        unit_start = np.full(len(stratum), len(stratum))
        np.minimum.at(unit_start, first, position)
        stratum_start = np.append(0, np.cumsum(np.bincount(stratum)))[stratum]
        size = np.bincount(first, minlength=len(stratum))
        return unit_start[first] - stratum_start, size[first]


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
