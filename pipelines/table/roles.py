"""Columns and labels with a role: row weights, the positive label, directions of effects."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hpo.arrays import FloatArray
from hpo.errors import DataError, ParameterError, closest, raise_all
from serving.columns import Column, kind_of
from serving.features import FeatureEncoder
from serving.names import listed, normal_name
from serving.numbers import numbers
from serving.values import as_text, relative

if TYPE_CHECKING:
    from pipelines.table.splits import Rows


OFF, ON = "off", "on"


@dataclass(frozen=True)
class Roles:
    """The roles of columns and labels; the attributes are options of the same names.

    Attributes:
        weight: the column with the weight of each row; "" for none.
        positive: the label that counts as positive, as text; "" for the last in the alphabet.
        monotone: 1 or -1 by column: predictions rise or fall with its values.
        balance: whether all classes weigh the same in training.
    """

    weight: str = ""
    positive: str = ""
    monotone: Mapping[str, int] = field(default_factory=dict)
    balance: bool = False

    @classmethod
    def of(
        cls,
        weight: object = None,
        positive: object = None,
        monotone: object = None,
        balance: object = OFF,
    ) -> Roles:
        """The roles that options name; None names none.

        Raises:
            ParameterError: for directions that are not 1 or -1 by column.
        """
        return cls(
            weight="" if weight is None else normal_name(weight),
            positive="" if positive is None else as_text(positive),
            monotone=parse_monotone(monotone),
            balance=balance == ON,
        )

    def check_task(self, kind: str) -> None:
        """Check that a task of this kind knows such roles.

        Raises:
            ParameterError: for one that it does not know.
        """
        if self.monotone and kind == "multiclass":
            raise ParameterError(
                "monotone is for numbers and two classes, but the task is multiclass"
            )
        if self.balance and kind == "regression":
            raise ParameterError(
                "balance=on is for classes, but the task is regression; leave it out"
            )

    def as_options(self) -> dict[str, Any]:
        """The options that give these roles, without those that name none."""
        directions = [f"{name}:{sign:+d}" for name, sign in self.monotone.items()]
        given = {
            "weight": self.weight,
            "positive": self.positive,
            "monotone": ",".join(directions),
            "balance": ON if self.balance else "",
        }
        return {name: value for name, value in given.items() if value}


def parse_monotone(given: object) -> dict[str, int]:
    """The directions in a mapping like `{"age": 1}` or a text like "age:+1,income:-1".

    Raises:
        ParameterError: for anything else.
    """
    pairs: list[tuple[object, object]] = []
    if isinstance(given, str):
        for pair in listed(given):
            name, _, sign = pair.rpartition(":")
            pairs.append((name, {"+1": 1, "1": 1, "-1": -1}.get(sign.strip(), sign)))
    elif isinstance(given, Mapping):
        pairs = list(given.items())
    wrong = given is not None and (not pairs or any(sign not in (1, -1) for _, sign in pairs))
    if wrong or any(not str(name).strip() for name, _ in pairs):
        raise ParameterError(
            f"monotone={given!r} must give +1 or -1 to columns, such as age:+1,income:-1, or in "
            "Python {'age': 1, 'income': -1}"
        )
    return {normal_name(name): int(str(sign)) for name, sign in pairs}


def monotone_signs(monotone: Mapping[str, int], features: FeatureEncoder) -> tuple[int, ...]:
    """The direction of each dense column (`serving.features.Matrix.dense`); () if none has one.

    Raises:
        ParameterError: for columns that are no numbers.
    """
    if not monotone:
        return ()
    columns = {column.name: column for column in features.columns}
    mistakes = [_no_direction(name, columns) for name in monotone]
    raise_all(ParameterError, filter(None, mistakes))
    signs = [monotone.get(name, 0) for name in features.numeric_names]
    return (*signs, *(0 for _ in features.categorical_names))


def check_directions(monotone: Mapping[str, int], names: Collection[str]) -> None:
    """Check that the columns exist which predictions rise or fall with.

    Raises:
        ParameterError: naming every one that does not.
    """
    raise_all(
        ParameterError,
        (
            f"monotone: the table has no column {name!r}{closest(name, names)}"
            for name in monotone
            if name not in names
        ),
    )


def _no_direction(name: str, columns: Mapping[str, Column]) -> str:
    """Why predictions cannot rise with a column of the table; "" if they can."""
    column = columns.get(name)
    if column is None:
        return f"monotone: column {name!r} is not used as a feature; leave it out"
    if column.numeric_names != (name,):
        return (
            f"monotone: column {name!r} is a {kind_of(column)}, but only numbers have a direction; "
            "leave it out, or read it as a number by types="
        )
    return ""


def check_role(frame: pd.DataFrame, option: str, column: str, target: str) -> None:
    """Check that a column can have a role; "" is none.

    Raises:
        ParameterError: if the table has no such column, or it is the target.
    """
    names = list(map(str, frame.columns))
    if column and column not in names:
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
