"""Reading single columns: the meaning of a cell does not depend on how its table was stored."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
CodeArray = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]
Label = str | int | float | bool
T = TypeVar("T", bound=Label)

MISSING_TOKENS = frozenset(
    ["", "?", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"]
    + ["<NA>", "N/A", "NA", "NULL", "NaN", "NaT", "None", "n/a", "nan", "null"]
)
"""Texts that mean "missing" in a feature column: the list of pandas, and "?" of the UCI tables."""

SAMPLED_CELLS = 1000
SECONDS_PER_DAY = 86_400
DATE_PARTS = ("year", "month", "day", "weekday", "hour", "days")


def numbers(series: pd.Series) -> tuple[FloatArray, BoolArray]:
    """Read a column as numbers.

    Returns:
        `(n,)` numbers with `nan` where missing, and `(n,)` whether an entry could not be read.
    """
    dtype = series.dtype
    nothing = np.zeros(len(series), dtype=bool)
    if isinstance(dtype, np.dtype) and dtype.kind in "fiub":
        return series.to_numpy(dtype=np.float64), nothing
    if pd.api.types.is_timedelta64_dtype(dtype):
        return series.dt.total_seconds().to_numpy(dtype=np.float64), nothing
    if pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype):
        return series.to_numpy(dtype=np.float64, na_value=np.nan), nothing
    codes, texts = distinct(series)
    values = np.append(parse_numbers(texts), np.nan)[codes]
    return values, np.isnan(values) & (codes >= 0)


def parse_numbers(texts: Sequence[str]) -> FloatArray:
    """The number in each text, `nan` if there is none; "true" is 1 and "false" is 0."""
    booleans = {"true": "1", "false": "0"}
    plain = pd.Series([booleans.get(text.lower(), text) for text in texts], dtype=object)
    return pd.to_numeric(plain, errors="coerce").to_numpy(dtype=np.float64)


def dates(series: pd.Series, pattern: str) -> tuple[IntArray, pd.DatetimeIndex]:
    """Read a column as dates.

    Returns:
        `(n,)` codes into the distinct dates, -1 where missing, and these dates in UTC without zone,
        `NaT` where the text does not follow the pattern.
    """
    if not pd.api.types.is_datetime64_any_dtype(series.dtype):
        codes, texts = distinct(series)
        return codes, parse_dates(texts, pattern)
    codes, uniques = pd.factorize(series)
    found = pd.DatetimeIndex(uniques)
    return codes, found if found.tz is None else found.tz_convert("UTC").tz_localize(None)


def parse_dates(texts: Sequence[str], pattern: str) -> pd.DatetimeIndex:
    """The date of each text in UTC without zone, `NaT` where it does not follow the pattern."""
    found = pd.to_datetime(
        pd.Series(texts, dtype=object), format=pattern, errors="coerce", utc=True
    )
    return pd.DatetimeIndex(found).tz_localize(None)


def date_part(found: pd.DatetimeIndex, part: str) -> FloatArray:
    """One of `DATE_PARTS` for each date, `nan` for `NaT`."""
    if part == "days":
        seconds = found.as_unit("s")  # finer units overflow some centuries away
        return np.where(seconds.isna(), np.nan, seconds.asi8 / SECONDS_PER_DAY)
    name = "day_of_week" if part == "weekday" else part
    return np.asarray(getattr(found, name), dtype=np.float64)


def distinct(series: pd.Series) -> tuple[IntArray, list[str]]:
    """The distinct texts of a column.

    A value has the same text however the table was stored: 3, 3.0 and "3" are equal.

    Returns:
        `(n,)` codes into the texts, -1 where missing, and the texts.
    """
    return _coded(series, as_text, MISSING_TOKENS)


def labelled(series: pd.Series) -> tuple[IntArray, list[Label]]:
    """The distinct labels of a column.

    Texts are taken literally ("NA" is a label); only the empty text is missing.

    Returns:
        `(n,)` codes into the labels, -1 where missing, and the labels.
    """
    return _coded(series, _as_label, ("",))


def _coded(
    series: pd.Series, convert: Callable[[object], T], missing: Collection[object]
) -> tuple[IntArray, list[T]]:
    """Codes into the distinct converted values, -1 where missing, and these values."""
    raw_codes, uniques = _factorize(series)
    found: dict[T, int] = {}
    lookup = np.full(len(uniques) + 1, -1, dtype=np.int64)
    for position, value in enumerate(map(convert, uniques)):
        if value not in missing:
            lookup[position] = found.setdefault(value, len(found))
    return lookup[raw_codes], list(found)


def as_text(value: object) -> str:
    """The text of a value as a category."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace").strip()
    return str(value)


def _as_label(value: object) -> Label:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return int(value) if float(value).is_integer() else float(value)
    return as_text(value)


def is_nested(series: pd.Series) -> bool:
    """Whether cells hold lists, mappings, arrays or the like."""
    if isinstance(series.dtype, np.dtype) and series.dtype != object:
        return False
    nested = (list, dict, set, np.ndarray)
    return any(isinstance(value, nested) for value in series.head(SAMPLED_CELLS))


def _factorize(series: pd.Series) -> tuple[IntArray, Sequence[object]]:
    try:
        codes, uniques = pd.factorize(series)
    except (TypeError, NotImplementedError):
        raise ValueError(
            f"column {str(series.name)!r} holds nested values; a cell must be a number, a text, a "
            "date or true/false"
        ) from None
    return np.asarray(codes, dtype=np.int64), np.asarray(uniques, dtype=object).tolist()
