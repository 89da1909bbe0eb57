"""The kinds of columns, and how each becomes numbers or codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from serving.values import FloatArray, date_part, dates, distinct, numbers

CodeArray = npt.NDArray[np.int32]

BOOLEANS = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}


@dataclass(frozen=True)
class NumericColumn:
    """A number; ``dirty`` when training rows held unreadable entries, which then count as missing."""

    name: str
    dirty: bool = False

    def encode(self, series: pd.Series) -> FloatArray:
        """Return (n,) values; one infinite, or unreadable unless ``dirty``, is a ``ValueError``."""
        values, unreadable = numbers(series)
        if not self.dirty and unreadable.any():
            raise _unreadable(self.name, series, unreadable, "a number")
        infinite = np.isinf(values)
        if infinite.any():
            raise ValueError(
                f"column {self.name!r} holds {infinite.sum()} infinite value(s); numbers must be finite: leave "
                "the cell empty where the value is unknown"
            )
        return values


@dataclass(frozen=True)
class BooleanColumn:
    """True or false, as 1.0 and 0.0; ``dirty`` as for ``NumericColumn``."""

    name: str
    dirty: bool = False

    def encode(self, series: pd.Series) -> FloatArray:
        """Return (n,) values; an entry that is no truth value is a ``ValueError`` unless ``dirty``."""
        codes, texts = distinct(series)
        lookup = np.array([BOOLEANS.get(text.lower(), np.nan) for text in texts] + [np.nan])
        values = lookup[codes]
        unreadable = np.isnan(values) & (codes >= 0)
        if not self.dirty and unreadable.any():
            raise _unreadable(self.name, series, unreadable, "true or false")
        return values


@dataclass(frozen=True)
class DateColumn:
    """A date, expanded into ``parts`` (those that varied in training); zones are turned into UTC.

    ``format`` is a ``strftime`` pattern or "ISO8601"; the part ``days`` counts from 1970-01-01,
    with the time as its fraction.
    """

    name: str
    format: str
    parts: tuple[str, ...]
    dirty: bool = False

    def encode(self, series: pd.Series) -> FloatArray:
        """Return (n, parts) values; an unreadable date is a ``ValueError`` unless ``dirty``."""
        codes, found = dates(series, self.format)
        missing = codes < 0
        unreadable = (
            ~missing & found.isna()[codes] if len(found) else np.zeros(len(codes), dtype=bool)
        )
        if not self.dirty and unreadable.any():
            raise _unreadable(self.name, series, unreadable, f"a date of the form {self.format}")
        lookup = np.full((len(found) + 1, len(self.parts)), np.nan)
        for j, part in enumerate(self.parts):
            lookup[:-1, j] = date_part(found, part)
        return lookup[codes]


@dataclass(frozen=True)
class CategoricalColumn:
    """One of ``levels``; codes follow their order, then ``other`` (rare and new ones), then ``missing``.

    Without ``other`` a level that training has not seen is -1; so is a missing value without
    ``missing``.
    """

    name: str
    levels: tuple[str, ...]
    other: bool = False
    missing: bool = False

    @property
    def cardinality(self) -> int:
        """The number of codes."""
        return len(self.levels) + self.other + self.missing

    def encode(self, series: pd.Series) -> CodeArray:
        """Return (n,) codes."""
        codes, texts = distinct(series)
        unseen = len(self.levels) if self.other else -1
        known = {level: code for code, level in enumerate(self.levels)}
        missing = self.cardinality - 1 if self.missing else -1
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
    """Return a JSON-serialisable form."""
    return {"kind": _KIND_OF[type(column)], **asdict(column)}


def column_from_dict(entry: Mapping[str, Any]) -> Column:
    """Read what ``column_to_dict`` wrote."""
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()
    }
    kind = fields.pop("kind")
    if kind not in _KINDS:
        raise ValueError(f"unknown kind of column {kind!r}; known: {', '.join(_KINDS)}")
    return _KINDS[kind](**fields)


def _unreadable(
    name: str, series: pd.Series, where: npt.NDArray[np.bool_], wanted: str
) -> ValueError:
    first = series.iloc[int(np.flatnonzero(where)[0])]
    return ValueError(
        f"column {name!r} must hold {wanted} in every row, as it did in training, but {int(where.sum())} "
        f"entry/entries do not, the first is {first!r}; send null where the value is unknown"
    )
