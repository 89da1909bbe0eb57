"""Reading dates: one reader for features, for splits by time and for requests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import SupportsFloat

import numpy as np
import pandas as pd

from serving.values import (
    MISSING_MARKS,
    BoolArray,
    FloatArray,
    IntArray,
    factorize,
    masked,
    relative,
)

ISO = "ISO8601"
QUARTER = "%Y-Q%q"
DATE_PARTS = ("year", "month", "day", "weekday", "hour", "days")
SECONDS_PER_DAY = 86_400

NUMERIC_DATES = {"%Y%m%d": "08.0f", "%Y%m": "06.0f", "%m.%Y": "07.4f"}
"""Forms of dates that a reader of tables may take for numbers, and how such a number is written."""

MIN_MILLISECONDS = 1e11  # smaller numbers may be seconds, or no dates
_QUARTER = re.compile(r"(\d{4})[-/. ]?Q([1-4])|Q([1-4])[-/. ]?(\d{4})|([1-4])Q[-/. ]?(\d{4})", re.I)


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
    return pd.DatetimeIndex(found)


def parse_strictly(texts: Sequence[str], pattern: str) -> pd.DatetimeIndex:
    """The date of each text in UTC without zone, `NaT` where it does not follow the pattern."""
    if pattern == QUARTER:
        texts, pattern = [*map(_first_month, texts)], ISO
    column = pd.Series(texts, dtype=object).str.strip()
    found = pd.to_datetime(column, format=pattern, errors="coerce", utc=True)
    return pd.DatetimeIndex(found).tz_localize(None)


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
        return value
    if isinstance(value, date | np.datetime64):
        return str(value)
    if isinstance(value, bool | np.bool_) or not isinstance(value, SupportsFloat):
        return ""
    number = float(value)
    if pattern in NUMERIC_DATES and 0 < number < MIN_MILLISECONDS:
        text = format(number, NUMERIC_DATES[pattern])
        return text if float(text) == number else ""
    return _from_milliseconds(number) if abs(number) >= MIN_MILLISECONDS else ""


def _from_milliseconds(number: float) -> str:
    try:
        return pd.Timestamp(int(number), unit="ms").isoformat()
    except (ValueError, OverflowError):
        return ""


def _first_month(text: str) -> str:
    """The first month of a quarter in ISO 8601; empty for another text."""
    match = _QUARTER.fullmatch(text.strip())
    if match is None:
        return ""
    year = match[1] or match[4] or match[6]
    quarter = int(match[2] or match[3] or match[5])
    return f"{year}-{3 * quarter - 2:02}"
