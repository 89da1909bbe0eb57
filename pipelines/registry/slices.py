"""The check that a challenger is not worse on any large group of a column."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hpo.arrays import IntArray
from hpo.errors import DataError, closest, counted
from pipelines.registry.gate import Check
from pipelines.registry.heldout import HeldOut
from pipelines.registry.pair import Pair
from serving.values import distinct

MIN_SLICE_ROWS = 50  # smaller groups are not checked
REFUSAL_PROBABILITY = 0.95  # of being worse, over all groups of a column together


@dataclass(frozen=True)
class _Groups:
    """The groups of a column.

    `codes` (n,) is the group of each row, `sizes` (k,) the rows of each group, `labels` their
    names. Missing values form the last group.
    """

    codes: IntArray
    sizes: IntArray
    labels: tuple[str, ...]

    @property
    def large(self) -> IntArray:
        """The codes of the groups that are checked."""
        return np.flatnonzero(self.sizes >= MIN_SLICE_ROWS)

    @property
    def n_small(self) -> int:
        """The number of groups that are too small to check."""
        return int(np.count_nonzero(self.sizes)) - len(self.large)


def slice_checks(
    pair: Pair, rows: HeldOut, column: str, tolerance: float
) -> tuple[list[Check], list[str]]:
    """A check for each large group of a column, and notes on groups with too few rows to be sure.

    A group fails if the other model would win on its rows, as a challenger wins, by the margin
    `tolerance`. The groups share an error probability of `1 - REFUSAL_PROBABILITY` (Bonferroni).

    Raises:
        DataError: If there is no such column, or no large group.
    """
    groups = _groups_of(rows, column)
    n_large = len(groups.large)
    checks: list[Check] = []
    n_uncertain = 0
    for code in groups.large:
        members = np.flatnonzero(groups.codes == code)
        name = f"slice {column}={groups.labels[code]!r:.40}"
        check, low = _slice_check(pair.subset(members), name, tolerance, n_large)
        checks.append(check)
        n_uncertain += check.passed is True and low < -tolerance
    checks += _small_groups(groups, column)
    note = (
        f"on {n_uncertain} of {n_large} groups of {column!r} the rows cannot rule out that the "
        f"challenger is worse by more than {tolerance:g} (the lower bound of its gain); use more "
        "rows (-P data=)"
    )
    return checks, [note] if n_uncertain else []


def _groups_of(rows: HeldOut, column: str) -> _Groups:
    names = list(map(str, rows.frame.columns))
    if column not in names:
        raise DataError(
            f"slice={column!r} is not a column of the {rows.origin}{closest(column, names)}; "
            f"columns: {', '.join(names[:20])}"
        )
    codes, labels = distinct(rows.frame[column])
    codes = np.where(codes < 0, len(labels), codes)
    sizes = np.bincount(codes, minlength=len(labels) + 1)
    groups = _Groups(codes, sizes, (*labels, "(missing)"))
    if not len(groups.large):
        raise DataError(
            f"slice={column!r} has no group with {MIN_SLICE_ROWS} of the {rows.origin} or more "
            f"(the largest of {groups.n_small:,} has {sizes.max()}); take a column with fewer "
            "values"
        )
    return groups


def _slice_check(pair: Pair, name: str, tolerance: float, n_slices: int) -> tuple[Check, float]:
    """The check of one group, and the lower bound of the challenger's gain."""
    n_rows = len(pair.y)
    try:
        worse = pair.swapped.gain(tolerance)
    except ValueError:
        return Check(name, f"{pair.metric.name} is not defined on its {n_rows:,} rows", ""), np.nan
    # The number of draws limits how high a probability they can show.
    level = min(1 - (1 - REFUSAL_PROBABILITY) / n_slices, 1 - 4 / worse.draws)
    gain, low, high = (0.0 - bound for bound in (worse.value, worse.high, worse.low))  # never -0
    found = (
        f"{pair.scores}, gain {gain:+.4g} [{low:+.4g}, {high:+.4g}], {n_rows:,} rows, worse with "
        f"probability {worse.probability:.4f}"
    )
    rule = f"worse by more than {tolerance:g} with probability < {level:.4g}"
    return Check(name, found, rule, worse.probability < level), low


def _small_groups(groups: _Groups, column: str) -> Iterator[Check]:
    n = groups.n_small
    if n:
        found = counted(n, "group")
        yield Check(f"slice {column}, others", found, f"fewer than {MIN_SLICE_ROWS} rows each")
