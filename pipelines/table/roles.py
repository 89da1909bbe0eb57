"""Columns and labels with a role: what weighs the rows, and what counts as positive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hpo.arrays import FloatArray
from hpo.errors import DataError, ParameterError, closest
from serving.names import normal_name
from serving.numbers import numbers
from serving.values import as_text, relative

if TYPE_CHECKING:
    from pipelines.table.splits import Rows


@dataclass(frozen=True)
class Roles:
    """The roles of columns and labels; the attributes are options of the same names.

    Attributes:
        weight: the column with the weight of each row; "" for none.
        positive: the label that counts as positive, as text; "" for the last in the alphabet.
    """

    weight: str = ""
    positive: str = ""

    @classmethod
    def of(cls, weight: object = None, positive: object = None) -> Roles:
        """The roles that options name; None names none."""
        return cls(
            weight="" if weight is None else normal_name(weight),
            positive="" if positive is None else as_text(positive),
        )

    def as_options(self) -> dict[str, Any]:
        """The options that give these roles, without those that name none."""
        given = {"weight": self.weight, "positive": self.positive}
        return {name: value for name, value in given.items() if value}


def check_role(frame: pd.DataFrame, option: str, column: str, target: str) -> None:
    """Check that a column can have a role.

    Raises:
        ParameterError: if the table has no such column, or it is the target.
    """
    names = list(map(str, frame.columns))
    if column not in names:
        raise ParameterError(
            f"{option}={column!r}: the table has no such column{closest(column, names)}; columns: "
            f"{', '.join(names[:20])}"
        )
    if column == target:
        raise ParameterError(f"{option}={column!r} is the target; name another column")


def read_weights(frame: pd.DataFrame, column: str, shown: str = "the table") -> FloatArray:
    """The weight of each row, `(n,)`.

    Raises:
        DataError: if a row has no weight of 0 or more, or all weights are 0.
    """
    weights, unreadable = numbers(relative(frame[column]))
    wrong = unreadable | ~np.isfinite(weights) | (weights < 0)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        first = as_text(frame[column].iloc[row])
        raise DataError(
            f"weight={column!r} needs a number of 0 or more in every row, but {int(wrong.sum()):,} "
            f"of {len(wrong):,} rows of {shown} have none, the first is {first!r} in row "
            f"{row + 1:,}; correct them, or leave the rows out"
        )
    if not weights.any():
        raise DataError(f"weight={column!r}: all weights of {shown} are 0; name another column")
    return np.asarray(weights, dtype=np.float64)


def scaled_weights(weights: FloatArray, rows: Rows, column: str) -> FloatArray:
    """The weights with a mean of 1 over the rows that the search uses.

    Regularisation in the libraries depends on their sum, which must not depend on their unit.

    Raises:
        DataError: if all training, validation or test rows weigh nothing.
    """
    parts = {"test": [rows.test], "training": [], "validation": []}
    for train, valid in rows.folds:
        parts["training"].append(train)
        parts["validation"].append(valid)
    for name, found in parts.items():
        if any(len(part) and not weights[part].any() for part in found):
            raise DataError(
                f"weight={column!r}: all weights of the {name} rows are 0; give more rows a "
                "weight, or divide the rows in another way"
            )
    mean = float(weights[rows.rest].mean())
    return weights / mean
