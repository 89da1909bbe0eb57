"""Reading numbers: plain ones, and those that exports and spreadsheets write as text.

A column has one format, which is inferred in training and kept with the model. A cell that is no
text is the number that it is, unless its text could have been misread: "1.234" is a thousand and
more in a column of "1.234,56", but a reader of CSV takes it for 1.234.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import time
from functools import cached_property

import numpy as np
import pandas as pd

from serving.values import (
    MISSING_MARKS,
    TRUTHS,
    BoolArray,
    FloatArray,
    factorize,
    masked,
    relative,
)

# What stands for a space, an apostrophe or a minus sign.
_TYPOGRAPHY = str.maketrans("\u00a0\u2007\u2009\u202f\u2019\u02bc\u2212", "    ''-")
_TIME = re.compile(r"(?:(-?\d+) days?,? ?)?([+-]?)(\d+):([0-5]\d)(?::([0-5]\d(?:\.\d+)?))?")
AMBIGUOUS_BELOW = 1000  # "1.234" has at most three digits before its mark


@dataclass(frozen=True)
class NumberFormat:
    """How the texts of a column write its numbers.

    Attributes:
        decimal: the decimal mark.
        thousands: the mark between groups of three digits; empty if there is none.
        unit: a currency, percent sign or unit before or after the number. It is left out:
            "12.3 %" is 12.3.
        duration: whether the texts are times like "05:30" or "1 days 02:00:00", in seconds.
    """

    decimal: str = "."
    thousands: str = ""
    unit: str = ""
    duration: bool = False

    def __str__(self) -> str:
        """A number of this format."""
        if self.duration:
            return "1 days 02:30:00"
        return f"1{self.thousands}234{self.decimal}5{self.unit and ' '}{self.unit}"

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        mark, unit = re.escape(self.thousands), f"(?:{re.escape(self.unit)})?"
        shortest = 2 if self.thousands == "," else 3  # 12,34,567 in India
        groups = rf"\d{{1,3}}(?:{mark}\d{{{shortest},3}})*{mark}\d{{3}}|" if mark else ""
        sign, point = r"([+-]?)\s*", re.escape(self.decimal)
        number = rf"({groups}\d+)?(?:{point}(\d*))?([eE][+-]?\d+)?"
        return re.compile(rf"{sign}{unit}\s*{sign}{number}\s*{unit}\s*(-?)")

    def number(self, text: str) -> float:
        """The number of a text, `nan` if it does not follow the format."""
        text = text.translate(_TYPOGRAPHY).strip()
        if self.duration:
            return _seconds(text)
        in_brackets = text.startswith("(") and text.endswith(")")  # a negative amount
        match = self._pattern.fullmatch(text[1:-1].strip() if in_brackets else text)
        if match is None or not (match[3] or match[4]):
            return np.nan
        whole = (match[3] or "0").replace(self.thousands or " ", "")
        value = float(f"{whole}.{match[4] or '0'}{match[5] or ''}")
        signs = [match[1], match[2], match[6], "-" if in_brackets else ""]
        return -value if signs.count("-") % 2 else value


PLAIN = NumberFormat()


def numbers(series: pd.Series, how: NumberFormat = PLAIN) -> tuple[FloatArray, BoolArray]:
    """Read a column as numbers.

    Returns:
        `(n,)` numbers with `nan` where missing, and `(n,)` whether an entry could not be read.
    """
    series = relative(series)
    dtype = series.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "fiub":
        values = series.to_numpy(dtype=np.float64)
        return values, _ambiguous(values, how, is_float=dtype.kind == "f")
    if pd.api.types.is_timedelta64_dtype(dtype):
        return series.dt.total_seconds().to_numpy(dtype=np.float64), np.zeros(len(series), bool)
    if pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype):
        values = series.to_numpy(dtype=np.float64, na_value=np.nan)
        return values, _ambiguous(values, how, is_float=pd.api.types.is_float_dtype(dtype))
    codes, raw = factorize(series)
    found = _numbers_of(raw, how)
    missing = [isinstance(value, str) and value.strip() in MISSING_MARKS for value in raw]
    return np.append(found, np.nan)[codes], masked(
        codes, np.isnan(found) & ~np.array(missing, bool)
    )


def _ambiguous(values: FloatArray, how: NumberFormat, is_float: bool) -> BoolArray:
    """Whether each number may be a text of the format that was misread, or lacks its unit."""
    if how.duration:
        return ~np.isnan(values)
    if how.thousands == "." and is_float:
        return np.abs(values) < AMBIGUOUS_BELOW
    return np.zeros(len(values), dtype=bool)


def _numbers_of(raw: Sequence[object], how: NumberFormat) -> FloatArray:
    """The number of each value, `nan` if there is none."""
    texts = [value if isinstance(value, str) else "" for value in raw]
    found = parse_numbers(texts, how)
    for i, value in enumerate(raw):
        if isinstance(value, str):
            continue
        if isinstance(value, time) and how.duration:
            found[i] = _seconds(value.isoformat())
        elif hasattr(value, "total_seconds"):
            found[i] = value.total_seconds()
        elif hasattr(value, "__float__") and not isinstance(value, complex):
            number = np.array([float(value)])
            is_whole = isinstance(value, int | np.integer | bool | np.bool_)
            found[i] = np.nan if _ambiguous(number, how, is_float=not is_whole)[0] else number[0]
    return found


def parse_numbers(texts: Sequence[str], how: NumberFormat = PLAIN) -> FloatArray:
    """The number in each text, `nan` if there is none; "true" is 1 and "false" is 0."""
    if how != PLAIN:
        return np.array([how.number(text) for text in texts], dtype=np.float64)
    ones = dict(zip(TRUTHS, ("1", "0"), strict=True))
    plain = [ones.get(text.lower(), text) if len(text) in (4, 5) else text for text in texts]
    found = pd.to_numeric(pd.Series(plain, dtype=object), errors="coerce")
    return found.to_numpy(dtype=np.float64, copy=True)


def _seconds(text: str) -> float:
    match = _TIME.fullmatch(text)
    if match is None:
        found = pd.to_timedelta(text, errors="coerce") if text[:1] in ("P", "-") else pd.NaT
        return np.nan if found is pd.NaT else float(found.total_seconds())
    days, sign, hours, minutes, seconds = match.groups()
    clock = 3600 * int(hours) + 60 * int(minutes) + float(seconds or 0)
    return 86_400 * int(days or 0) + (-clock if sign == "-" else clock)
