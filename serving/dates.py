"""Reading dates: one reader for features, for splits by time and for requests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import SupportsFloat

import numpy as np
import pandas as pd

from serving.months import shortened, tidied
from serving.values import (
    MISSING_MARKS,
    BoolArray,
    FloatArray,
    IntArray,
    bare,
    factorize,
    masked,
    relative,
)

ISO = "ISO8601"
QUARTER = "%Y-Q%q"
WEEK = "%G-W%V"
ORDINAL = "%Y-%j"
OR = "|"  # between the patterns of a column that mixes them
DATE_PARTS = ("year", "month", "day", "weekday", "hour", "days")
SECONDS_PER_DAY = 86_400

NUMERIC_DATES = {
    "%Y%m%d": (8, 0),
    "%Y%m": (6, 0),
    "%m.%Y": (7, 4),
    "%Y%m%d%H%M": (12, 0),
    "%Y%m%d%H%M%S": (14, 0),
}
"""Forms of dates that a reader of tables may take for numbers: the width of such a number's text,
and its decimals."""

EPOCHS = {
    "seconds since 1970": 1.0,
    "milliseconds since 1970": 1e3,
    "microseconds since 1970": 1e6,
    "nanoseconds since 1970": 1e9,
}
"""Patterns of times that are counted, and how many of the unit are a second."""

MILLISECONDS = 1e11, 1e13  # smaller numbers may be seconds, and all others no dates
_WEEK = re.compile(
    r"(\d{4})[-/ ]?(?:W|KW)[-/ ]?(\d{1,2})(?:-([1-7]))?|(?:W|KW)[-/ ]?(\d{1,2})[-/ ](\d{4})", re.I
)
_DAY_OF_YEAR = re.compile(r"\d{4}-[0-3]\d\d")
_MIDNIGHT = re.compile(r"(?<=[ T,])24(:00(?::00(?:\.0+)?)?)$")  # the end of a day
_YEAR, _PART = r"(?:FY ?)?'?(\d{4}|\d{2})", r"(Q[1-4]|[1-4]Q|H[12]|[12]H|[1-4]\. ?Quartal)"
_PERIOD = re.compile(rf"{_YEAR}[-/. ]?{_PART}|{_PART}[-/. ]?{_YEAR}", re.I)
_UNITS = ("s", "ms", "us", "ns")
_CENTURY_BEGINS = 69  # as for %y: 69 is 1969, and 68 is 2068


def dates(series: pd.Series, pattern: str) -> tuple[IntArray, pd.DatetimeIndex, BoolArray]:
    """Read a column as dates.

    Texts follow the pattern or ISO 8601. A number is a date that was read as a number, like
    20240131, or milliseconds since 1970, which is how JSON has dates.

    Returns:
        `(n,)` codes into the distinct dates, -1 where missing; these dates in UTC without zone,
        `NaT` where they could not be read; and `(n,)` whether an entry could not be read.
    """
    series = relative(series)
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        codes, uniques = pd.factorize(series)
        found = pd.DatetimeIndex(uniques)
        found = found if found.tz is None else found.tz_convert("UTC").tz_localize(None)
        return codes, found, np.zeros(len(series), dtype=bool)
    codes, raw = factorize(series)
    missing = np.array([isinstance(value, str) and value.strip() in MISSING_MARKS for value in raw])
    found = parse_dates([_as_text(value, pattern) for value in raw], pattern)
    return codes, found, masked(codes, np.asarray(found.isna()) & ~missing.astype(bool))


def parse_dates(texts: Sequence[str], pattern: str) -> pd.DatetimeIndex:
    """The date of each text in UTC without zone, `NaT` where it follows neither pattern nor ISO."""
    found = pd.Series(parse_strictly(texts, pattern))
    if pattern != ISO and found.isna().any():
        others = [text if "-" in text else "" for text in texts]
        found = found.fillna(pd.Series(parse_strictly(others, ISO)))
    elif found.isna().any():  # a quarter that was read as its first day
        quarters = [text if "Q" in text else "" for text in texts]
        found = found.fillna(pd.Series(parse_strictly(quarters, QUARTER)))
    return pd.DatetimeIndex(found)


def parse_strictly(texts: Sequence[str], pattern: str) -> pd.DatetimeIndex:
    """The date of each text in UTC without zone, `NaT` where it does not follow the pattern.

    A pattern may name several, in their order: "%d.%m.%Y|ISO8601".
    """
    first, _, further = pattern.partition(OR)
    if further:
        found = pd.Series(parse_strictly(texts, first))
        unread = found.isna()
        if unread.any():
            rest = [text for text, is_unread in zip(texts, unread, strict=True) if is_unread]
            found = _filled(found, pd.Series(parse_strictly(rest, further), found.index[unread]))
        return pd.DatetimeIndex(found)
    if pattern in EPOCHS:
        counted = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce") / EPOCHS[pattern]
        found = pd.to_datetime(counted.astype(np.float64), unit="s", errors="coerce")
        return pd.DatetimeIndex(found)
    if pattern == QUARTER:
        texts, pattern = [*map(_first_month, texts)], ISO
    if pattern == ORDINAL:  # not "2024-12", which is a month
        texts = [text if _DAY_OF_YEAR.fullmatch(text.strip()) else "" for text in texts]
    if pattern == WEEK:
        texts, pattern = [*map(_monday, texts)], "%G-W%V-%u"
    column = pd.Series(texts, dtype=object).str.strip()
    found = pd.to_datetime(column, format=pattern, errors="coerce", utc=True)
    if found.isna().any() and (found.isna() & column.str.contains("24:00", regex=False)).any():
        ends = column.str.replace(_MIDNIGHT, r"00\1", regex=True)
        following = pd.to_datetime(ends, format=pattern, errors="coerce", utc=True)
        found = _filled(found, (following + pd.Timedelta(days=1)).where(ends != column))
    for form in (tidied, shortened):
        unread = found.isna()
        if unread.any():
            again = column[unread].map(form)
            others = pd.to_datetime(again, format=pattern, errors="coerce", utc=True)
            found = _filled(found, others)
    return pd.DatetimeIndex(found).tz_localize(None)


def _filled(found: pd.Series, others: pd.Series) -> pd.Series:
    """The dates with others in place of `NaT`, in the finer of their units."""
    unit = max(found.dt.unit, others.dt.unit, key=_UNITS.index)
    filled: pd.Series = found.dt.as_unit(unit).fillna(others.dt.as_unit(unit))
    return filled


def date_part(found: pd.DatetimeIndex, part: str) -> FloatArray:
    """One of `DATE_PARTS` for each date, `nan` for `NaT`."""
    if part == "days":
        seconds = found.as_unit("s")  # finer units overflow some centuries away
        return np.where(seconds.isna(), np.nan, seconds.asi8 / SECONDS_PER_DAY)
    name = "day_of_week" if part == "weekday" else part
    return np.asarray(getattr(found, name), dtype=np.float64)


def days(series: pd.Series, pattern: str) -> FloatArray:
    """`(n,)` days since 1970-01-01 with the time as their fraction, `nan` where missing."""
    codes, found, _ = dates(series, pattern)
    return np.append(date_part(found, "days"), np.nan)[codes]


def _as_text(value: object, pattern: str) -> str:
    """The text of a date, however it was stored; empty if it is none."""
    if isinstance(value, str):
        return bare(value)
    if isinstance(value, date | np.datetime64):
        return str(value)
    if isinstance(value, pd.Period):
        return str(value.start_time)
    if isinstance(value, bool | np.bool_) or not isinstance(value, SupportsFloat):
        return ""
    number = float(value)
    if pattern in EPOCHS:
        return repr(number)
    if pattern in NUMERIC_DATES and number > 0:
        width, decimals = NUMERIC_DATES[pattern]
        text = f"{number:0{width}.{decimals}f}"
        if len(text) == width:
            return text if abs(float(text) - number) < 1e-9 else ""  # as JSON rounds them
    low, high = MILLISECONDS
    return _from_milliseconds(number) if low <= abs(number) < high else ""


def _from_milliseconds(number: float) -> str:
    try:
        return pd.Timestamp(int(number), unit="ms").isoformat()
    except (ValueError, OverflowError):
        return ""


def _first_month(text: str) -> str:
    """The first month of a quarter or half of a year in ISO 8601; empty for another text."""
    match = _PERIOD.fullmatch(text.strip())
    if match is None:
        return ""
    digits, part = match[1] or match[4], match[2] or match[3]
    year = int(digits)
    if len(digits) == 2:
        year += 1900 if year >= _CENTURY_BEGINS else 2000
    months = 6 if "H" in part.upper() else 3
    number = int(part.strip("QHqh").split(".")[0])
    return f"{year:04}-{months * (number - 1) + 1:02}"


def is_period(text: str) -> bool:
    """Whether a text is a quarter or a half of a year."""
    return _PERIOD.fullmatch(text) is not None


def _monday(text: str) -> str:
    """The day of a week of ISO 8601, its Monday without one; empty for another text."""
    match = _WEEK.fullmatch(text.strip())
    if match is None:
        return ""
    return f"{match[1] or match[5]}-W{int(match[2] or match[4]):02}-{match[3] or 1}"
