"""Reads any column of a raw table as numbers or category codes.

This is coarser than the preprocessing of a study. Meta-features only compare tables, so no column
is an error.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hpo.arrays import FloatArray, IntArray

MISSING = frozenset(("", "?", "#n/a", "<na>", "n/a", "na", "nan", "nat", "none", "null"))
READABLE = 0.95
SAMPLED_TEXTS = 200
SECONDS_PER_DAY = 86_400.0

_LEADING_ZERO = re.compile(r"[+-]?0\d")


def read_column(series: pd.Series) -> FloatArray | IntArray:
    """Numbers `(n,)` with `nan` where missing or infinite, or category codes with -1 where missing.

    Booleans are numbers, dates are days since 1970 in UTC, and time spans are seconds. Texts are
    numbers or dates if 95 % of them can be read as such, as in a table from CSV. Other texts are
    categories, coded in the order of the texts. A cell that holds a list, a mapping or the like is
    missing.
    """
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _Categories.of(np.asarray(series.cat.codes), dtype.categories).codes
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return _days(pd.to_datetime(series, utc=True))
    if dtype.kind == "m":
        return _finite(series.dt.total_seconds().to_numpy(dtype=np.float64, na_value=np.nan))
    if pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype):
        return _finite(series.to_numpy(dtype=np.float64, na_value=np.nan))
    return _read_texts(series)


@dataclass(frozen=True)
class _Categories:
    """Codes `(n,)` into sorted texts; -1 where missing."""

    codes: IntArray
    texts: list[str]

    @classmethod
    def of(cls, codes: npt.NDArray[np.integer], values: Iterable[Any]) -> "_Categories":
        """From codes into any values; values with equal texts become one category."""
        own = np.array([*map(_text, values), ""], dtype=object)  # code -1 is the last entry
        texts = sorted({text for text in own if text.lower() not in MISSING})
        lookup = pd.Index(texts, dtype=object).get_indexer(own).astype(np.int64)
        return cls(lookup[codes], texts)

    def parsed(self, parse: Callable[[list[str]], FloatArray]) -> FloatArray | None:
        """The parsed values `(n,)`; None if too few entries can be read."""
        step = -(-len(self.texts) // SAMPLED_TEXTS)
        if not self.texts or np.mean(np.isnan(parse(self.texts[::step]))) > 0.5:
            return None
        values = parse(self.texts)
        counts = np.bincount(self.codes[self.codes >= 0], minlength=len(self.texts))
        if counts[~np.isnan(values)].sum() < READABLE * counts.sum():
            return None
        return np.append(values, np.nan)[self.codes]


def _read_texts(series: pd.Series) -> FloatArray | IntArray:
    if not isinstance(series.dtype, pd.StringDtype):
        # Converted before they are compared: 1, 1.0 and True are equal keys of a dictionary.
        series = pd.Series([*map(_text, series)], dtype=object)
    categories = _Categories.of(*pd.factorize(series))
    if not any(map(_LEADING_ZERO.match, categories.texts)):
        numbers = categories.parsed(_numbers)
        if numbers is not None:
            return numbers
    dates = categories.parsed(_dates)
    return categories.codes if dates is None else dates


def _text(value: Any) -> str:
    """The text of a cell; empty if it is missing."""
    if isinstance(value, str):
        return value.strip()
    return str(value) if pd.api.types.is_scalar(value) and pd.notna(value) else ""


def _numbers(texts: list[str]) -> FloatArray:
    numbers = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce")
    return _finite(numbers.to_numpy(dtype=np.float64))


def _dates(texts: list[str]) -> FloatArray:
    return _days(pd.Series(pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce")))


def _days(dates: pd.Series) -> FloatArray:
    moments = dates.dt.tz_localize(None).to_numpy(dtype="datetime64[s]")
    days = moments.astype(np.int64) / SECONDS_PER_DAY
    return np.where(np.isnat(moments), np.nan, days)


def _finite(values: FloatArray) -> FloatArray:
    return np.where(np.isfinite(values), values, np.nan)
