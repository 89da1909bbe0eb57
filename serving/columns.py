"""The kinds of columns, and their encodings as numbers or codes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from serving.dates import date_part, dates
from serving.numbers import PLAIN, NumberFormat, numbers
from serving.values import (
    MISSING_MARKS,
    MISSING_TOKENS,
    BoolArray,
    CodeArray,
    FloatArray,
    as_text,
    distinct,
    factorize,
    masked,
)

__all__ = [
    "BooleanColumn",
    "CategoricalColumn",
    "CodeArray",
    "Column",
    "DateColumn",
    "NumberFormat",
    "NumericColumn",
    "column_from_dict",
    "column_to_dict",
]

AMBIGUOUS, MISSING = -2, -3  # instead of the code of a level
MAX_EXACT = 2**53  # of the whole numbers that a float holds
BOOLEANS = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}


@dataclass(frozen=True)
class NumericColumn:
    """A number.

    Attributes:
        name: of the column.
        dirty: whether entries that cannot be read count as missing, as in the training rows.
        format: how its texts write a number.
        precision: the bits of a float in training; if fewer than 64, others are rounded to it.
    """

    name: str
    dirty: bool = False
    format: NumberFormat = PLAIN
    precision: int = 64

    @property
    def numeric_names(self) -> tuple[str, ...]:
        """Names of the numeric columns that it becomes."""
        return (self.name,)

    def encode(self, series: pd.Series) -> FloatArray:
        """`(n,)` values.

        Raises:
            ValueError: for infinite values, and for unreadable ones unless `dirty`.
        """
        values, unreadable = numbers(series, self.format)
        _check_readable(self, series, unreadable, self.expected)
        if unreadable.any():
            values = np.where(unreadable, np.nan, values)
        infinite = np.isinf(values)
        if infinite.any():
            raise ValueError(
                f"column {self.name!r} holds {infinite.sum()} infinite value(s), but numbers must "
                "be finite; leave the cell empty where the value is unknown"
            )
        if self.precision < 64:  # 0.1 and the 0.10000000149 of 32 bits are one value
            with np.errstate(over="ignore"):
                return values.astype(f"f{self.precision // 8}").astype(np.float64)
        return values

    @property
    def expected(self) -> str:
        """What the cells must hold, for messages."""
        if self.format == PLAIN:
            return "a number"
        kind = "a duration" if self.format.duration else "a number"
        return f"{kind} in a text like '{self.format}'"


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
        readable = [text in MISSING_MARKS or text.lower() in BOOLEANS for text in texts]
        _check_readable(self, series, masked(codes, np.logical_not(readable)), "true or false")
        return lookup[codes]


@dataclass(frozen=True)
class DateColumn:
    """A date, expanded into parts; dates with a zone are converted to UTC.

    Attributes:
        name: of the column.
        format: a `strftime` pattern, "ISO8601", or "%Y-Q%q" for quarters; several with "|" between
            them, if the column mixes them.
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
        codes, found, unreadable = dates(series, self.format)
        _check_readable(self, series, unreadable, f"a date of the form {self.format}")
        lookup = np.full((len(found) + 1, len(self.parts)), np.nan)
        for j, part in enumerate(self.parts):
            lookup[:-1, j] = date_part(found, part)
        return lookup[codes]


@dataclass(frozen=True)
class CategoricalColumn:
    """One of several levels.

    A level is found by its text. A number finds the level that it would be read from, like 2101 the
    level "02101", if there is just one in the training rows.

    Attributes:
        name: of the column.
        levels: that have a code of their own, in this order.
        other: whether rare and unseen levels share the next code; else they are -1.
        missing: whether missing values have the last code; else they are -1.
        ambiguous: one of the texts of each number that several training texts write, like "1" and
            "01" do.
    """

    name: str
    levels: tuple[str, ...]
    other: bool = False
    missing: bool = False
    ambiguous: tuple[str, ...] = ()

    @property
    def numeric_names(self) -> tuple[str, ...]:
        """Names of the numeric columns that it becomes: none."""
        return ()

    @property
    def cardinality(self) -> int:
        """The number of codes."""
        return len(self.levels) + self.other + self.missing

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {level: code for code, level in enumerate(self.levels)}

    @cached_property
    def _codes_of_numbers(self) -> dict[int | float, int]:
        """The code of the level that writes a number; it is -2 if several do."""
        truths = zip((0, 1), ("false", "true"), strict=True)  # as databases store them
        codes: dict[int | float, int] = {
            number: self._codes[text] for number, text in truths if text in self._codes
        }
        for text, number in written_numbers(self.levels):
            codes[number] = self._codes[text]
        return codes | {number: AMBIGUOUS for _, number in written_numbers(self.ambiguous)}

    @cached_property
    def _has_long_numbers(self) -> bool:
        """Whether levels are whole numbers with more digits than a float holds."""
        found = (number for _, number in written_numbers(self.levels))
        return any(isinstance(number, int) and abs(number) >= MAX_EXACT for number in found)

    def encode(self, series: pd.Series) -> CodeArray:
        """`(n,)` codes.

        Raises:
            ValueError: for numbers that may stand for several levels.
        """
        codes, raw = factorize(series)
        as_numbers = pd.api.types.is_numeric_dtype(series.dtype)
        found = np.array([self._code(value, as_numbers) for value in raw], dtype=np.int32)
        refused = masked(codes, found == AMBIGUOUS)
        if refused.any():
            first = series.iloc[int(np.flatnonzero(refused)[0])]
            raise ValueError(
                f"column {self.name!r} holds the number {first!s}, which may stand for several "
                f"levels of the training rows, such as {self._similar(first)}; send the texts of "
                f"training, with pandas.read_csv(…, dtype={{{self.name!r}: str}}) for example"
            )
        missing = self.cardinality - 1 if self.missing else -1
        found[found == MISSING] = missing
        return np.append(found, np.int32(missing))[codes]

    def _code(self, value: object, as_numbers: bool) -> int:
        """The code of a value, `AMBIGUOUS` or `MISSING`.

        A number in a column of numbers may have been a text. In a column of mixed values it is
        known to be a number.
        """
        text = as_text(value)
        if text in MISSING_TOKENS:
            return MISSING
        is_long = isinstance(value, float) and MAX_EXACT <= abs(value) < math.inf
        if is_long and self._has_long_numbers:  # its last digits are lost
            return AMBIGUOUS
        number = value if isinstance(value, float) else written_number(text)
        if isinstance(value, bool | np.bool_):
            number = None
        by_number = None if number is None else self._codes_of_numbers.get(number)
        if text in self._codes and not (as_numbers and by_number == AMBIGUOUS):
            return self._codes[text]
        if by_number is not None and not (by_number == AMBIGUOUS and isinstance(value, str)):
            return by_number
        return len(self.levels) if self.other else -1

    def _similar(self, value: object) -> str:
        """Two texts of training that write the number."""
        number = float(as_text(value))
        texts = dict.fromkeys((*self.levels, *self.ambiguous))
        same = [text for text, other in written_numbers(texts) if float(other) == number]
        return " and ".join(map(repr, same[:2] or self.levels[:2]))


_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.I)


def written_number(text: str) -> int | float | None:
    """The number that a reader of tables makes of a text; None if it stays a text."""
    if not _NUMBER.fullmatch(text):
        return None
    return int(text) if text.lstrip("+-").isdecimal() else float(text)


def written_numbers(texts: Iterable[str]) -> Iterator[tuple[str, int | float]]:
    """Each text that a reader of tables may take for a number, and this number."""
    for text in texts:
        number = written_number(text)
        if number is not None:
            yield text, number


def ambiguous_numbers(texts: Sequence[str]) -> tuple[str, ...]:
    """The texts whose number an earlier text has written, in another way."""
    seen: set[int | float] = set()
    found: dict[int | float, str] = {}
    for text, number in written_numbers(texts):
        if number in seen:
            found[number] = text
        seen.add(number)
    return tuple(sorted(found.values()))


Column = NumericColumn | BooleanColumn | DateColumn | CategoricalColumn
KINDS: dict[str, type[Column]] = {
    "number": NumericColumn,
    "boolean": BooleanColumn,
    "date": DateColumn,
    "category": CategoricalColumn,
}
_KIND_OF = {column: kind for kind, column in KINDS.items()}


def column_to_dict(column: Column) -> dict[str, Any]:
    """A JSON-serialisable form."""
    return {"kind": kind_of(column), **asdict(column)}


def kind_of(column: Column) -> str:
    """One of `KINDS`."""
    return _KIND_OF[type(column)]


def column_from_dict(entry: Mapping[str, Any]) -> Column:
    """The inverse of `column_to_dict`."""
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()
    }
    kind = fields.pop("kind")
    if kind not in KINDS:
        raise ValueError(f"unknown kind of column {kind!r}; known: {', '.join(KINDS)}")
    if kind == "number":
        fields["format"] = NumberFormat(**fields["format"])
    return KINDS[kind](**fields)


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
