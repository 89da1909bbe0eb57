"""The kinds of columns, and their encodings as numbers or codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from serving.values import BoolArray, CodeArray, FloatArray, date_part, dates, distinct, numbers

__all__ = [
    "BooleanColumn",
    "CategoricalColumn",
    "CodeArray",
    "Column",
    "DateColumn",
    "NumericColumn",
    "column_from_dict",
    "column_to_dict",
]

BOOLEANS = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}


@dataclass(frozen=True)
class NumericColumn:
    """A number.

    Attributes:
        name: of the column.
        dirty: whether entries that cannot be read count as missing, as in the training rows.
    """

    name: str
    dirty: bool = False

    @property
    def numeric_names(self) -> tuple[str, ...]:
        """Names of the numeric columns that it becomes."""
        return (self.name,)

    def encode(self, series: pd.Series) -> FloatArray:
        """`(n,)` values.

        Raises:
            ValueError: for infinite values, and for unreadable ones unless `dirty`.
        """
        values, unreadable = numbers(series)
        _check_readable(self, series, unreadable, "a number")
        infinite = np.isinf(values)
        if infinite.any():
            raise ValueError(
                f"column {self.name!r} holds {infinite.sum()} infinite value(s), but numbers must "
                "be finite; leave the cell empty where the value is unknown"
            )
        return values


@dataclass(frozen=True)
class BooleanColumn:
    """True or false, as 1.0 and 0.0; `dirty` as for `NumericColumn`."""

    name: str
    dirty: bool = False

    @property
    def numeric_names(self) -> tuple[str, ...]:
        """Names of the numeric columns that it becomes."""
        return (self.name,)

    def encode(self, series: pd.Series) -> FloatArray:
        """`(n,)` values.

        Raises:
            ValueError: for entries that are neither true nor false, unless `dirty`.
        """
        codes, texts = distinct(series)
        lookup = np.array([BOOLEANS.get(text.lower(), np.nan) for text in texts] + [np.nan])
        values = lookup[codes]
        _check_readable(self, series, np.isnan(values) & (codes >= 0), "true or false")
        return values


@dataclass(frozen=True)
class DateColumn:
    """A date, expanded into parts; dates with a zone are converted to UTC.

    Attributes:
        name: of the column.
        format: a `strftime` pattern or "ISO8601".
        parts: those that varied in training; `days` are counted from 1970-01-01, with the time as
            their fraction.
        dirty: as for `NumericColumn`.
    """

    name: str
    format: str
    parts: tuple[str, ...]
    dirty: bool = False

    @property
    def numeric_names(self) -> tuple[str, ...]:
        """Names of the numeric columns that it becomes: `column.part`."""
        return tuple(f"{self.name}.{part}" for part in self.parts)

    def encode(self, series: pd.Series) -> FloatArray:
        """`(n, parts)` values.

        Raises:
            ValueError: for dates that cannot be read, unless `dirty`.
        """
        codes, found = dates(series, self.format)
        unknown = np.append(found.isna(), False)[codes]  # code -1 is a missing entry
        _check_readable(self, series, unknown, f"a date of the form {self.format}")
        lookup = np.full((len(found) + 1, len(self.parts)), np.nan)
        for j, part in enumerate(self.parts):
            lookup[:-1, j] = date_part(found, part)
        return lookup[codes]


@dataclass(frozen=True)
class CategoricalColumn:
    """One of several levels.

    Attributes:
        name: of the column.
        levels: that have a code of their own, in this order.
        other: whether rare and unseen levels share the next code; else they are -1.
        missing: whether missing values have the last code; else they are -1.
    """

    name: str
    levels: tuple[str, ...]
    other: bool = False
    missing: bool = False

    @property
    def numeric_names(self) -> tuple[str, ...]:
        """Names of the numeric columns that it becomes: none."""
        return ()

    @property
    def cardinality(self) -> int:
        """The number of codes."""
        return len(self.levels) + self.other + self.missing

    def encode(self, series: pd.Series) -> CodeArray:
        """`(n,)` codes."""
        codes, texts = distinct(series)
        unseen = len(self.levels) if self.other else -1
        missing = self.cardinality - 1 if self.missing else -1
        known = {level: code for code, level in enumerate(self.levels)}
        lookup = np.array([known.get(text, unseen) for text in texts] + [missing], dtype=np.int32)
        return lookup[codes]


Column = NumericColumn | BooleanColumn | DateColumn | CategoricalColumn
_KINDS: dict[str, type[Column]] = {
    "numeric": NumericColumn,
    "boolean": BooleanColumn,
    "date": DateColumn,
    "categorical": CategoricalColumn,
}
_KIND_OF = {column: kind for kind, column in _KINDS.items()}


def column_to_dict(column: Column) -> dict[str, Any]:
    """A JSON-serialisable form."""
    return {"kind": _KIND_OF[type(column)], **asdict(column)}


def column_from_dict(entry: Mapping[str, Any]) -> Column:
    """The inverse of `column_to_dict`."""
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()
    }
    kind = fields.pop("kind")
    if kind not in _KINDS:
        raise ValueError(f"unknown kind of column {kind!r}; known: {', '.join(_KINDS)}")
    return _KINDS[kind](**fields)


def _check_readable(
    column: NumericColumn | BooleanColumn | DateColumn,
    series: pd.Series,
    unreadable: BoolArray,
    expected: str,
) -> None:
    if column.dirty or not unreadable.any():
        return
    first = series.iloc[int(np.flatnonzero(unreadable)[0])]
    raise ValueError(
        f"column {column.name!r} must hold {expected} in every row, as in training, but "
        f"{int(unreadable.sum())} entry/entries do not, the first is {first!r}; send null where "
        "the value is unknown"
    )
