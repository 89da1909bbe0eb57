"""Reading of single columns: what a cell means does not depend on how the table happened to be stored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Label = str | int | float | bool

MISSING_TOKENS = frozenset(
    ["", "?", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"]
    + ["<NA>", "N/A", "NA", "NULL", "NaN", "NaT", "None", "n/a", "nan", "null"]
)
"""Texts that mean "missing" in a feature column: pandas' own list and the question mark of the UCI tables."""

SAMPLED_CELLS = 1000
SECONDS_A_DAY = 86_400
DATE_PARTS = ("year", "month", "day", "weekday", "hour", "days")


def numbers(series: pd.Series) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Return a column as (n,) float64 with ``nan`` where missing, and where an entry could not be read."""
    dtype = series.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "fiub":
        return series.to_numpy(dtype=np.float64), np.zeros(len(series), dtype=bool)
    if pd.api.types.is_timedelta64_dtype(dtype):
        return series.dt.total_seconds().to_numpy(dtype=np.float64), np.zeros(
            len(series), dtype=bool
        )
    if pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype):
        values = series.to_numpy(dtype=np.float64, na_value=np.nan)
        return values, np.zeros(len(series), dtype=bool)
    codes, texts = distinct(series)
    parsed = np.append(parse_numbers(texts), np.nan)
    values = parsed[codes]
    return values, np.isnan(values) & (codes >= 0)


def parse_numbers(texts: Sequence[str]) -> FloatArray:
    """Return each text's number, ``nan`` where it is none; "true" and "false" count as 1 and 0."""
    lowered = {"true": "1", "false": "0"}
    plain = pd.Series([lowered.get(text.lower(), text) for text in texts], dtype=object)
    return pd.to_numeric(plain, errors="coerce").to_numpy(dtype=np.float64)


def dates(series: pd.Series, pattern: str) -> tuple[IntArray, pd.DatetimeIndex]:
    """Return codes into the distinct dates, -1 where missing, and these dates.

    They are in UTC, without zone, and ``NaT`` where the text does not follow the pattern.
    """
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        codes, uniques = pd.factorize(series)
        found = pd.DatetimeIndex(uniques)
        return codes, found.tz_convert("UTC").tz_localize(None) if found.tz is not None else found
    codes, texts = distinct(series)
    return codes, parse_dates(texts, pattern)


def parse_dates(texts: Sequence[str], pattern: str) -> pd.DatetimeIndex:
    """Return each text's date in UTC without zone, ``NaT`` where it does not follow the pattern."""
    found = pd.to_datetime(
        pd.Series(texts, dtype=object), format=pattern, errors="coerce", utc=True
    )
    return pd.DatetimeIndex(found).tz_localize(None)


def date_part(found: pd.DatetimeIndex, part: str) -> FloatArray:
    """Return one of ``DATE_PARTS`` for each date, ``nan`` for ``NaT``."""
    if part == "days":
        seconds = found.as_unit("s")  # finer units overflow some centuries away
        return np.where(seconds.isna(), np.nan, seconds.asi8 / SECONDS_A_DAY)
    return np.asarray(
        getattr(found, "day_of_week" if part == "weekday" else part), dtype=np.float64
    )


def distinct(series: pd.Series) -> tuple[IntArray, list[str]]:
    """Return codes into the column's distinct texts, -1 where missing, and these texts.

    A value's text does not depend on how a table happened to be stored: 3, 3.0 and "3" are one
    level.
    """
    raw_codes, uniques = _factorize(series)
    texts: dict[str, int] = {}
    lookup = np.full(len(uniques) + 1, -1, dtype=np.int64)
    for position, text in enumerate([v.strip() if type(v) is str else as_text(v) for v in uniques]):
        if text not in MISSING_TOKENS:
            lookup[position] = texts.setdefault(text, len(texts))
    return lookup[raw_codes], list(texts)


def labelled(series: pd.Series) -> tuple[IntArray, list[Label]]:
    """Return codes into the column's distinct labels, -1 where missing, and these labels.

    Texts are taken literally ("NA" is a label); only the empty text is missing.
    """
    raw_codes, uniques = _factorize(series)
    labels: dict[Label, int] = {}
    lookup = np.full(len(uniques) + 1, -1, dtype=np.int64)
    for position, value in enumerate(uniques):
        label = _as_label(value)
        if label != "":
            lookup[position] = labels.setdefault(label, len(labels))
    return lookup[raw_codes], list(labels)


def as_text(value: object) -> str:
    """Return a value's one spelling as a level."""
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
    """Say whether cells hold lists, mappings, arrays or the like."""
    if isinstance(series.dtype, np.dtype) and series.dtype != object:
        return False
    return any(
        isinstance(value, list | dict | set | np.ndarray) for value in series.head(SAMPLED_CELLS)
    )


def _factorize(series: pd.Series) -> tuple[IntArray, Sequence[object]]:
    try:
        codes, uniques = pd.factorize(series)
    except (TypeError, NotImplementedError):
        raise ValueError(
            f"column {str(series.name)!r} holds nested values; a cell must be a number, a text, a date or true/false"
        ) from None
    return np.asarray(codes, dtype=np.int64), np.asarray(uniques, dtype=object).tolist()
