"""How the rows that are not test rows are used to train and to validate."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hpo.arrays import IntArray
from hpo.errors import DataError, ParameterError, counted
from pipelines.table.division.partition import Pair
from serving.names import normal_name
from serving.values import labelled

MAX_FOLDS = 20
SHARE = 0.2  # of the validation rows of a holdout
HOLDOUT, TABLE = "holdout", "table"
AUTO_FOLDS = 5
# At the same seconds, folds made ensembles of several families better on tables below, and not on
# one of 6,554 rows (docs/tables.md).
MOST_ROWS, MOST_CELLS = 5_000, 1_000_000


@dataclass(frozen=True)
class Validation:
    """How the rows that are not test rows are used to train and to validate.

    Attributes:
        folds: of a cross-validation; 0 for any other way.
        share: of the validation rows of a holdout.
        column: whose values are the folds; "" for none.
        given: whether a table of its own validates, so that no row is held out.
    """

    folds: int
    share: float = SHARE
    column: str = ""
    given: bool = False

    @property
    def parts(self) -> int:
        """The number of training and validation pairs, at least; of a column there may be more."""
        return self.folds or (2 if self.column else 1)

    @property
    def needed(self) -> int:
        """How many rows of a class, times or groups it needs: none may be on two sides."""
        if self.given:
            return 1
        return 2 if self.column else self.parts + 1

    def __str__(self) -> str:
        """The text that `parse` reads."""
        if self.given:
            return TABLE
        if self.column:
            return f"fold:{self.column}"
        if self.folds:
            return f"cv:{self.folds}"
        return HOLDOUT if self.share == SHARE else f"{HOLDOUT}:{self.share:g}"

    @classmethod
    def parse(cls, text: str) -> Validation:
        """Read "holdout", "holdout:SHARE", "cv:K", "fold:COLUMN" or "table".

        Raises:
            ParameterError: for any other text, and for an impossible share or number of folds.
        """
        kind, _, value = text.partition(":")
        match kind:
            case "holdout" if kind == text:
                return cls(0)
            case "holdout" if re.fullmatch(r"0?\.\d+", value) and float(value) > 0:
                return cls(0, float(value))
            case "cv" if re.fullmatch(r"\d{1,3}", value) and 2 <= int(value) <= MAX_FOLDS:
                return cls(int(value))
            case "fold" if value:
                return cls(0, column=normal_name(value))
            case "table" if kind == text:
                return cls(0, given=True)
        raise ParameterError(unknown_validation(text))


def suited(frame: pd.DataFrame, counts: IntArray, share: float, *, mixed: bool) -> Validation:
    """Folds on a small table, or else a holdout.

    Args:
        frame: the rows that are divided.
        counts: `(k,)` rows of each class; empty for numbers.
        share: of the test rows.
        mixed: whether rows may be divided at random, and not by their time or group.
    """
    rows = len(frame) * (1 - share)
    is_small = rows <= MOST_ROWS and rows * frame.shape[1] <= MOST_CELLS
    enough = counts.min(initial=len(frame)) * (1 - share) >= 2 * AUTO_FOLDS
    return Validation(AUTO_FOLDS if is_small and enough and mixed else 0)


def unknown_validation(text: str) -> str:
    """The message for a text that names no way to validate."""
    return (
        "validation must be 'auto', 'holdout', 'holdout:SHARE' with a share between 0 and 1, "
        f"'cv:K' with 2 <= K <= {MAX_FOLDS}, or a table of validation rows, but got {text!r}"
    )


def named_folds(frame: pd.DataFrame, column: str, rest: IntArray) -> tuple[Pair, ...]:
    """A fold for each value of a column, in the order of the values, among some rows.

    Raises:
        DataError: if its values are no folds.
    """
    codes, values = labelled(frame[column])
    if (codes < 0).any():
        raise DataError(
            f"fold={column!r} needs a value in every row, but {int((codes < 0).sum()):,} of "
            f"{len(codes):,} have none; fill these cells or leave the rows out"
        )
    found = np.unique(codes[rest])
    if not 2 <= len(found) <= MAX_FOLDS:
        among = "" if len(rest) == len(frame) else " in the rows that are not held out"
        raise DataError(
            f"fold={column!r} has {counted(len(found), 'different value')}{among}, but folds "
            f"are 2 to {MAX_FOLDS}; take another column, or validation=cv:K with "
            f"split=group:{column} to keep rows of one value together"
        )
    numbers_first = [(isinstance(values[i], str), values[i], i) for i in found.tolist()]
    order = [i for *_, i in sorted(numbers_first)]
    return tuple((rest[codes[rest] != i], rest[codes[rest] == i]) for i in order)
