"""Which rows are for testing, training and validation: made once, from the seed.

``random`` is stratified: by class, or by the target's rank for regression. ``time:COLUMN`` tests on
the last rows and validates on the last of the others (``cv:K``: expanding windows); rows of one
time stay together. ``group:COLUMN`` keeps the rows of a group together.

The rows that a search may see can be divided again, many times (`resample`), to compare a few
configurations on more than one division.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hpo.errors import DataError, ParameterError, closest
from serving.values import FloatArray, IntArray, date_part, dates, distinct, numbers

MIN_ROWS = 10
MAX_STRATA = 10
ROWS_PER_STRATUM = 20
SPLITS = ("random", "time", "group")


@dataclass(frozen=True)
class Validation:
    """Holdout (``folds`` = 0) or cross-validation with ``folds`` folds."""

    folds: int

    @property
    def parts(self) -> int:
        """The number of training and validation pairs."""
        return self.folds or 1

    @classmethod
    def parse(cls, text: str) -> Validation:
        """Read "holdout" or "cv:K" with 2 <= K <= 20; ``ParameterError`` otherwise."""
        match = re.fullmatch(r"cv:(\d+)", text)
        if text == "holdout":
            return cls(0)
        if match and 2 <= int(match[1]) <= 20:
            return cls(int(match[1]))
        raise ParameterError(
            f"validation must be 'holdout' or 'cv:K' with 2 <= K <= 20, but got {text!r}"
        )


@dataclass(frozen=True)
class Split:
    """How rows are divided: ``kind`` is one of ``SPLITS``, ``column`` belongs to time and group."""

    kind: str
    column: str = ""

    @classmethod
    def parse(cls, text: str, columns: list[str]) -> Split:
        """Read "random", "time:COLUMN" or "group:COLUMN"; ``ParameterError`` otherwise."""
        kind, colon, column = text.partition(":")
        if kind not in SPLITS or (kind == "random") == bool(colon):
            raise ParameterError(
                f"split must be 'random', 'time:COLUMN' or 'group:COLUMN', but got {text!r}{closest(kind, SPLITS)}"
            )
        if colon and column not in columns:
            raise ParameterError(
                f"split {text!r}: the table has no column {column!r}{closest(column, columns)}; columns: "
                f"{', '.join(columns[:20])}"
            )
        return cls(kind, column)


@dataclass(frozen=True)
class Outer:
    """One of the ``folds`` parts of a table that are held out in turn: the ``number``-th, from 1 on."""

    number: int
    folds: int

    def __str__(self) -> str:
        """As ``parse`` reads it."""
        return f"{self.number}/{self.folds}"

    @classmethod
    def parse(cls, text: str) -> Outer:
        """Read "2/5"; ``ParameterError`` for anything else."""
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if match and 1 <= int(match[1]) <= int(match[2]):
            return cls(int(match[1]), int(match[2]))
        raise ParameterError(f"an outer fold is written like 2/5, but got {text!r}")


@dataclass(frozen=True)
class Rows:
    """Row numbers, ascending: ``test``, and a training and validation pair of each fold."""

    test: IntArray
    folds: tuple[tuple[IntArray, IntArray], ...]

    @cached_property
    def rest(self) -> IntArray:
        """All rows that the search may see."""
        seen = np.zeros(1 + max(int(part[-1]) for fold in self.folds for part in fold), dtype=bool)
        for part in (part for fold in self.folds for part in fold):
            seen[part] = True
        return np.flatnonzero(seen)

    @cached_property
    def digest(self) -> str:
        """32 hex digits that stand for this division."""
        total = hashlib.blake2b(digest_size=16)
        for part in (self.test, *(part for fold in self.folds for part in fold)):
            total.update(len(part).to_bytes(8, "little") + part.astype("<i8").tobytes())
        return total.hexdigest()


def divide(
    frame: pd.DataFrame,
    strata: IntArray,
    split: Split,
    validation: Validation,
    test_share: float,
    seed: int,
    outer: Outer | None = None,
) -> Rows:
    """Divide the rows of a table.

    ``strata``: (n,) non-negative codes whose shares random parts keep. The test rows depend on the
    seed, the split and the share, not on the validation. With ``outer`` they are that part of the
    table instead (in time: the rows after it are not used at all). Raises ``DataError`` when there
    are too few rows, times or groups.
    """
    if len(frame) < MIN_ROWS:
        raise DataError(
            f"{len(frame)} rows are too few to train, validate and test on; at least {MIN_ROWS} are needed"
        )
    rng = np.random.default_rng([seed, 0x5B117])
    if split.kind == "random":
        return _random(strata, validation, test_share, rng, outer)
    blocks = _times(frame, split.column) if split.kind == "time" else _groups(frame, split.column)
    wanted = validation.parts + 2
    if blocks.max() + 1 < wanted:
        raise DataError(
            f"split {split.kind}:{split.column} finds {blocks.max() + 1} different value(s), but at least {wanted} are "
            "needed (test, training and validation share none); use another column or split=random"
        )
    rows = (
        _by_time(blocks, validation, test_share, outer)
        if split.kind == "time"
        else _by_group(blocks, validation, test_share, rng, outer)
    )
    if rows is None:
        raise DataError(
            f"split {split.kind}:{split.column} has too few different values for outer fold {outer}: it needs one to "
            f"hold out and {wanted - 1} to search on; use fewer folds, another column or split=random"
        )
    return rows


def resample(
    frame: pd.DataFrame,
    strata: IntArray,
    split: Split,
    rest: IntArray,
    *,
    repeats: int,
    folds: int,
    seed: int,
) -> tuple[tuple[IntArray, IntArray], ...]:
    """Divide the rows ``rest`` into ``folds`` parts ``repeats`` times: a training and validation pair for each part.

    ``random`` keeps the strata's shares and ``group:COLUMN`` the groups whole; with fewer groups
    than folds there are as many folds as groups. Time has one direction only: the last half of the
    rows is cut into ``repeats`` * ``folds`` windows (fewer when there are fewer times), each
    predicted from all rows before it. Strata as for ``divide``.
    """
    if split.kind == "time":
        times = _times(frame, split.column)[rest]
        most = min(repeats * folds, max(len(np.unique(times)) // 2, 1))
        return tuple(
            (rest[train], rest[valid])
            for train, valid in _windows(
                times, [len(rest) * (0.5 + 0.5 * i / most) for i in range(most)]
            )
        )
    pairs = []
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, repeat, 0xF01D])
        if split.kind == "group":
            fold_of = _deal_whole(_groups(frame, split.column)[rest], folds, rng)
        else:
            fold_of = _deal(strata, rest, folds, rng)
        pairs += [(rest[fold_of != i], rest[fold_of == i]) for i in range(int(fold_of.max()) + 1)]
    return tuple(pairs)


def group_codes(split: str, frame: pd.DataFrame) -> IntArray | None:
    """Return (n,) codes of rows that depend on each other; None where the split keeps no groups together."""
    kind, _, column = split.partition(":")
    if kind != "group" or column not in frame.columns:
        return None
    codes, texts = distinct(frame[column])
    return np.where(codes < 0, len(texts), codes).astype(np.int64)


def quantile_strata(values: FloatArray) -> IntArray:
    """Return (n,) codes of about equally filled ranges of a regression target."""
    n_strata = int(np.clip(len(values) // ROWS_PER_STRATUM, 1, MAX_STRATA))
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return ranks * n_strata // max(1, len(values))


# --- random --------------------------------------------------------------------------------------


def _random(
    strata: IntArray,
    validation: Validation,
    test_share: float,
    rng: np.random.Generator,
    outer: Outer | None,
) -> Rows:
    rows = np.arange(len(strata))
    if outer:
        hand = _deal(strata, rows, outer.folds, rng)
        test, rest = rows[hand == outer.number - 1], rows[hand != outer.number - 1]
    else:
        keep = max(2, validation.folds)  # of each stratum, for training and every validation
        test, rest = _take_share(strata, rows, test_share, keep, rng)
    if not validation.folds:
        valid, train = _take_share(strata, rest, test_share, 1, rng)
        return Rows(test, ((train, valid),))
    fold_of = _deal(strata, rest, validation.folds, rng)
    pairs = tuple((rest[fold_of != i], rest[fold_of == i]) for i in range(validation.folds))
    return Rows(test, pairs)


def _take_share(
    strata: IntArray, rows: IntArray, share: float, keep: int, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Return a share of the rows with the strata's proportions, and the others.

    Of each stratum at least ``keep`` rows are left, and beyond these at least one is taken.
    """
    members = np.bincount(strata[rows])
    exact = members * share
    quota = np.floor(exact).astype(np.int64)
    short = round(share * len(rows)) - int(quota.sum())
    by_remainder = np.argsort(quota - exact, kind="stable")
    quota[by_remainder[: max(0, short)]] += 1
    quota = np.minimum(np.maximum(quota, 1), np.maximum(members - keep, 0))
    taken = _rank_within(strata, rows, rng) < quota[strata[rows]]
    if not taken.any():
        taken[np.argmax(members[strata[rows]])] = True
    return rows[taken], rows[~taken]


def _deal(strata: IntArray, rows: IntArray, hands: int, rng: np.random.Generator) -> IntArray:
    """Return a hand (0 .. hands - 1) for each row, dealt stratum by stratum so that sizes differ by at most one."""
    order = np.lexsort((rng.random(len(rows)), strata[rows]))
    hand = np.empty(len(rows), dtype=np.int64)
    hand[order] = np.arange(len(rows)) % hands
    return hand


def _rank_within(strata: IntArray, rows: IntArray, rng: np.random.Generator) -> IntArray:
    """Return each row's place in a random order of its stratum."""
    order = np.lexsort((rng.random(len(rows)), strata[rows]))
    ordered = strata[rows][order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    place = np.arange(len(rows)) - np.repeat(starts, np.diff(np.append(starts, len(rows))))
    rank = np.empty(len(rows), dtype=np.int64)
    rank[order] = place
    return rank


# --- time and groups -----------------------------------------------------------------------------


def _times(frame: pd.DataFrame, column: str) -> IntArray:
    """Return each row's position in time, 0 the earliest; rows of one time share it."""
    series = frame[column]
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        values = _days(series)
    else:
        values, unreadable = numbers(series)
        values = _days(series) if unreadable.any() else values
    _refuse_missing(column, np.isnan(values), "time", "a number or an ISO date")
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _days(series: pd.Series) -> FloatArray:
    codes, found = dates(series, "ISO8601")
    return np.append(date_part(found, "days"), np.nan)[codes]


def _groups(frame: pd.DataFrame, column: str) -> IntArray:
    codes, _ = distinct(frame[column])
    _refuse_missing(column, codes < 0, "group", "a value")
    return codes


def _refuse_missing(column: str, missing: npt.NDArray[Any], kind: str, wanted: str) -> None:
    if missing.any():
        raise DataError(
            f"split {kind}:{column} needs {wanted} in every row, but {int(missing.sum()):,} of {len(missing):,} "
            "have none; fill these cells or leave the rows out"
        )


def _by_time(
    times: IntArray, validation: Validation, test_share: float, outer: Outer | None
) -> Rows | None:
    """Return None when an outer fold leaves too few times."""
    if outer:
        k = outer.folds
        if times.max() < k:
            return None
        rest, test = _windows(times, [len(times) * i / (k + 1) for i in range(1, k + 1)])[
            outer.number - 1
        ]
        if len(np.unique(times[rest])) < validation.parts + 1:
            return None
    else:
        first_test = _cut(times, len(times) * (1 - test_share), low=validation.parts + 1)
        test, rest = np.flatnonzero(times >= first_test), np.flatnonzero(times < first_test)
    if not validation.folds:
        first_valid = _cut(times[rest], len(rest) * (1 - test_share), low=1)
        return Rows(test, ((rest[times[rest] < first_valid], rest[times[rest] >= first_valid]),))
    k = validation.folds
    windows = _windows(times[rest], [len(rest) * i / (k + 1) for i in range(1, k + 1)])
    return Rows(test, tuple((rest[train], rest[valid]) for train, valid in windows))


def _windows(times: IntArray, rows_before: list[float]) -> list[tuple[IntArray, IntArray]]:
    """Return a training and validation pair for each window; windows begin after about ``rows_before`` rows.

    Each window ends where the next begins, the last one with the rows; training rows are all before
    it.
    """
    k = len(rows_before)
    times = np.unique(times, return_inverse=True)[1]
    cuts = [0]
    for before in rows_before:
        cuts.append(max(cuts[-1] + 1, _cut(times, before, low=1)))
    top = int(times.max()) + 1
    for i in range(k, 0, -1):  # no block may be empty
        cuts[i] = min(cuts[i], top - (k + 1 - i))
    ends = [*cuts[2:], top]
    return [
        (np.flatnonzero(times < start), np.flatnonzero((times >= start) & (times < end)))
        for start, end in zip(cuts[1:], ends, strict=True)
    ]


def _cut(times: IntArray, rows_before: float, low: int) -> int:
    """Return the time before which nearest to ``rows_before`` rows lie; at least ``low`` times are before it."""
    before = np.append(0, np.cumsum(np.bincount(times)))
    cut = int(np.abs(before - rows_before).argmin())
    return int(np.clip(cut, low, len(before) - 2))


def _by_group(
    groups: IntArray,
    validation: Validation,
    test_share: float,
    rng: np.random.Generator,
    outer: Outer | None,
) -> Rows | None:
    """Return None when an outer fold leaves too few groups."""
    sizes = np.bincount(groups)
    order = rng.permutation(len(sizes))
    if outer:
        test_groups = _deal_groups(_largest_first(order, sizes), sizes, outer.folds)[
            outer.number - 1
        ]
        rest_groups = order[~np.isin(order, test_groups)]
        if not len(test_groups) or len(rest_groups) < validation.parts + 1:
            return None
    else:
        test_groups, rest_groups = _take_groups(order, sizes, test_share, keep=validation.parts + 1)
    test = np.flatnonzero(np.isin(groups, test_groups))
    if not validation.folds:
        valid_groups, _ = _take_groups(rest_groups, sizes, test_share, keep=1)
        folds = [valid_groups]
    else:
        folds = _deal_groups(_largest_first(rest_groups, sizes), sizes, validation.folds)
    rest = np.flatnonzero(np.isin(groups, rest_groups))
    pairs = []
    for members in folds:
        is_valid = np.isin(groups[rest], members)
        pairs.append((rest[~is_valid], rest[is_valid]))
    return Rows(test, tuple(pairs))


def _take_groups(
    order: IntArray, sizes: IntArray, share: float, keep: int
) -> tuple[IntArray, IntArray]:
    """Return the first groups of the order whose rows come nearest to a share, and the others (``keep`` at least)."""
    filled = np.cumsum(sizes[order])
    n_taken = int(np.abs(filled - share * filled[-1]).argmin()) + 1
    n_taken = min(n_taken, len(order) - keep)
    return order[:n_taken], order[n_taken:]


def _largest_first(order: IntArray, sizes: IntArray) -> IntArray:
    return order[np.argsort(-sizes[order], kind="stable")]


def _deal_groups(order: IntArray, sizes: IntArray, folds: int) -> list[IntArray]:
    """Deal groups to folds in their order, each to the fold with the fewest rows."""
    filled = np.zeros(folds, dtype=np.int64)
    hands: list[list[int]] = [[] for _ in range(folds)]
    for group in order:
        emptiest = int(filled.argmin())
        hands[emptiest].append(int(group))
        filled[emptiest] += sizes[group]
    return [np.array(hand, dtype=np.int64) for hand in hands]


def _deal_whole(groups: IntArray, folds: int, rng: np.random.Generator) -> IntArray:
    """Return a fold (0 .. folds - 1) for each row; groups are dealt whole, in a random order."""
    codes = np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(codes)
    fold_of = np.empty(len(sizes), dtype=np.int64)
    for i, members in enumerate(
        _deal_groups(rng.permutation(len(sizes)), sizes, min(folds, len(sizes)))
    ):
        fold_of[members] = i
    dealt: IntArray = fold_of[codes]
    return dealt
