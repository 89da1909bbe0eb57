"""How the rows of a table are divided into test, training and validation rows, from a seed.

- `random` keeps the proportions of the classes, or of quantile ranges of a regression target, and
  equal rows together.
- `time:COLUMN` tests on the last rows and validates on the last of the others; `cv:K` uses
  expanding windows. Rows of one time stay together.
- `group:COLUMN` keeps the rows of a group together.

The rows of a test or a validation table, and folds that a column names, are given: they are not
divided here.

`resample` divides the rows of a search again, many times, to compare a few configurations on more
than one division.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from hpo.arrays import FloatArray, IntArray
from hpo.errors import DataError, ParameterError, closest, counted
from pipelines.table.cells import groups, times
from pipelines.table.division.copies import copies
from pipelines.table.division.partition import ByGroup, ByStrata, ByTime, Pair, Partition
from pipelines.table.division.validation import Validation, named_folds
from pipelines.table.overrides import DROP, Overrides
from serving.names import normal_name

MIN_ROWS = 10
MAX_STRATA = 10
ROWS_PER_STRATUM = 20
SPLITS = ("random", "time", "group")
TIMES = ("date", "number")  # the types of a column that orders rows in time
_DIVIDE, _RESAMPLE = 0x5B117, 0xF01D  # keep the random streams of one seed apart


@dataclass(frozen=True)
class Split:
    """How rows are divided: one of `SPLITS`, and the column of times or groups.

    Attributes:
        kind: one of `SPLITS`.
        column: of times or groups.
        type: of that column, if the user chose it: one of `serving.columns.KINDS`.
    """

    kind: str
    column: str = ""
    type: str | None = None

    def __str__(self) -> str:
        """The text that `parse` reads."""
        return f"{self.kind}:{self.column}" if self.column else self.kind

    @classmethod
    def parse(cls, text: str, columns: list[str], overrides: Overrides | None = None) -> Split:
        """Read "random", "time:COLUMN" or "group:COLUMN".

        Args:
            text: to read.
            columns: of the table.
            overrides: types of columns that the user chose.

        Raises:
            ParameterError: for any other text, for a column that the table lacks, and for one whose
                type has no order in time.
        """
        kind, colon, column = text.partition(":")
        if kind not in SPLITS or (kind == "random") == bool(colon):
            raise ParameterError(
                f"split must be 'random', 'time:COLUMN' or 'group:COLUMN', but got {text!r}"
                f"{closest(kind, SPLITS)}"
            )
        column = normal_name(column)
        if colon and column not in columns:
            raise ParameterError(
                f"split {text!r}: the table has no column {column!r}{closest(column, columns)}; "
                f"columns: {', '.join(columns[:20])}"
            )
        chosen = (overrides or {}).get(column, DROP)
        if kind == "time" and chosen not in (*TIMES, DROP):
            raise ParameterError(
                f"split {text!r} needs a column of dates or numbers, but types reads {column!r} as "
                f"{chosen}; take it out of types, or use another column"
            )
        return cls(kind, column, None if chosen == DROP else chosen)


@dataclass(frozen=True)
class Outer:
    """One fold of an outer cross-validation: the `number`-th of `folds`, from 1, is held out."""

    number: int
    folds: int

    def __str__(self) -> str:
        """The text that `parse` reads."""
        return f"{self.number}/{self.folds}"

    @classmethod
    def parse(cls, text: str) -> Outer:
        """Read a text like "2/5".

        Raises:
            ParameterError: for any other text.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if match and 1 <= int(match[1]) <= int(match[2]):
            return cls(int(match[1]), int(match[2]))
        raise ParameterError(f"an outer fold is written like 2/5, but got {text!r}")


@dataclass(frozen=True)
class Rows:
    """Ascending row numbers: the test rows, and the training and validation rows of each fold.

    Attributes:
        test: the test rows.
        folds: the training and validation rows of each fold.
        n_copies: rows that are equal to an earlier one, and were kept with it.
    """

    test: IntArray
    folds: tuple[Pair, ...]
    n_copies: int = 0

    @cached_property
    def rest(self) -> IntArray:
        """All rows that the search may use."""
        parts = [*self._fold_parts()]
        used = np.zeros(1 + max(int(part[-1]) for part in parts if len(part)), dtype=bool)
        for part in parts:
            used[part] = True
        return np.flatnonzero(used)

    @cached_property
    def digest(self) -> str:
        """32 hex digits that identify this division."""
        total = hashlib.blake2b(digest_size=16)
        for part in (self.test, *self._fold_parts()):
            total.update(len(part).to_bytes(8, "little") + part.astype("<i8").tobytes())
        return total.hexdigest()

    def _fold_parts(self) -> Iterator[IntArray]:
        for train, valid in self.folds:
            yield train
            yield valid


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

    Args:
        frame: the table.
        strata: `(n,)` non-negative codes; random parts have the same proportions of them.
        split: the kind of division.
        validation: how to divide the rows that are not test rows.
        test_share: share of the test rows; 0 for none, because a table of its own has them.
        seed: the test rows depend on it, the split and the share, not on the validation.
        outer: the fold to test on instead of a share. Along time, the rows after it are not used.

    Raises:
        DataError: if there are too few rows, times or groups.
    """
    if len(frame) < MIN_ROWS:
        raise DataError(
            f"{len(frame)} rows are too few to train, validate and test on; at least {MIN_ROWS} "
            "are needed"
        )
    rows, rng = np.arange(len(frame)), np.random.default_rng([seed, _DIVIDE])
    tests = bool(outer) or test_share > 0
    partition: Partition
    if split.kind == "random":
        keep = max(2, validation.folds)  # of each stratum, for training and every validation
        least = keep + (outer.folds if outer else 2)
        partition = ByStrata(strata, rng, copies(frame, strata, least))
        n_copies = len(rows) - partition.n_units(rows)
    else:
        keep, n_copies = validation.needed, 0
        partition = _partition(frame, split, rng)
        _check_units(partition.n_units(rows), keep + tests, split)
    test, rest = rows[:0], rows
    if outer:
        test, rest = _outer_fold(partition, rows, outer, split, keep)
    elif tests:
        test, rest = partition.holdout(rows, test_share, keep)
    return Rows(test, _pairs(frame, partition, rest, validation), n_copies)


def _pairs(
    frame: pd.DataFrame, partition: Partition, rest: IntArray, validation: Validation
) -> tuple[Pair, ...]:
    """The training and validation rows of each fold, among the rows that are not test rows."""
    if validation.given:
        return ((rest, rest[:0]),)
    if validation.column:
        return named_folds(frame, validation.column, rest)
    if validation.folds:
        return tuple(partition.folds(rest, validation.folds))
    valid, train = partition.holdout(rest, validation.share, keep=1)
    return ((train, valid),)


def resample(
    frame: pd.DataFrame,
    strata: IntArray,
    split: Split,
    rest: IntArray,
    *,
    repeats: int,
    folds: int,
    seed: int,
) -> tuple[Pair, ...]:
    """Cross-validate on some rows several times, with another division each time.

    Along time there is one direction only: the last half of the rows is cut into
    `repeats` * `folds` windows (fewer if there are fewer times), each predicted from all rows
    before it.

    Args:
        frame: the table.
        strata: as for `divide`.
        split: the kind of division.
        rest: ascending numbers of the rows to divide.
        repeats: number of divisions.
        folds: of each division; fewer if there are fewer groups.
        seed: of the divisions.

    Returns:
        A training and validation pair for each fold of each repeat.
    """
    if split.kind == "time":
        by_time = ByTime(_times(frame, split))
        n = min(repeats * folds, max(by_time.n_units(rest) // 2, 1))
        return tuple(by_time.windows(rest, len(rest) * (0.5 + 0.5 * np.arange(n) / n)))
    pairs: list[Pair] = []
    units = copies(frame, strata, folds + 2) if split.kind == "random" else None
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, repeat, _RESAMPLE])
        if split.kind == "group":
            pairs += _group_folds(_groups(frame, split), rest, folds, rng)
        else:
            pairs += ByStrata(strata, rng, units).folds(rest, folds)
    return tuple(pairs)


def group_codes(split: str, frame: pd.DataFrame, overrides: Overrides) -> IntArray | None:
    """Codes `(n,)` of rows that depend on each other; None unless rows are split by group."""
    how = Split.parse(split, [normal_name(split.partition(":")[2])], overrides)
    if how.kind != "group" or how.column not in frame.columns:
        return None
    codes = groups(frame[how.column], how.type)
    return np.where(codes < 0, codes.max(initial=-1) + 1, codes)


def quantile_strata(values: FloatArray) -> IntArray:
    """Codes `(n,)` of about equally filled ranges of a regression target."""
    n_strata = int(np.clip(len(values) // ROWS_PER_STRATUM, 1, MAX_STRATA))
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return ranks * n_strata // max(1, len(values))


def _partition(frame: pd.DataFrame, split: Split, rng: np.random.Generator) -> Partition:
    if split.kind == "time":
        return ByTime(_times(frame, split))
    return ByGroup(_groups(frame, split), rng)


def _outer_fold(
    partition: Partition, rows: IntArray, outer: Outer, split: Split, keep: int
) -> Pair:
    """The test rows of an outer fold, and the other rows that the search may use."""
    folds = partition.folds(rows, outer.folds)
    if outer.number <= len(folds):
        rest, test = folds[outer.number - 1]
        if split.kind == "random" or partition.n_units(rest) >= keep:
            return test, rest
    raise DataError(
        f"split {split} has too few different values for outer fold {outer}: it needs one to hold "
        f"out and {keep} to search on; use fewer folds, another column or split=random"
    )


def _group_folds(
    groups: IntArray, rest: IntArray, folds: int, rng: np.random.Generator
) -> list[Pair]:
    codes = np.unique(groups[rest], return_inverse=True)[1]
    pairs = ByGroup(codes, rng).shuffled_folds(np.arange(len(rest)), folds)
    return [(rest[train], rest[valid]) for train, valid in pairs]


def _check_units(found: int, needed: int, split: Split) -> None:
    if found < needed:
        raise DataError(
            f"split {split} finds {counted(found, 'different value')}, but at least {needed} are "
            "needed (test, training and validation share none); use another column or split=random"
        )


def _times(frame: pd.DataFrame, split: Split) -> IntArray:
    """Each row's position in time, 0 the earliest; rows of one time share it."""
    values = times(frame[split.column], split.type)
    _check_complete(split, np.isnan(values), "a number or a date")
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _groups(frame: pd.DataFrame, split: Split) -> IntArray:
    codes = groups(frame[split.column], split.type)
    _check_complete(split, codes < 0, "a value")
    return codes


def _check_complete(split: Split, missing: npt.NDArray[np.bool_], needed: str) -> None:
    if missing.any():
        raise DataError(
            f"split {split} needs {needed} in every row, but {int(missing.sum()):,} of "
            f"{len(missing):,} have none; fill these cells or leave the rows out"
        )
