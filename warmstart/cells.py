"""Reading the columns of a raw table as numbers or codes, without failing.

This is coarser than the preprocessing of a study: meta-features compare tables, and need not refuse
one.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hpo.arrays import FloatArray, IntArray

MISSING = frozenset(("", "?", "#n/a", "<na>", "n/a", "na", "nan", "nat", "none", "null"))
READABLE = 0.95
SAMPLED_TEXTS = 200
SECONDS_A_DAY = 86_400.0

_CODE = re.compile(r"[+-]?0\d")


def read_column(series: pd.Series) -> FloatArray | IntArray:
    """`(n,)` numbers with `nan` where missing (or infinite), or codes of categories with -1 where missing.

    Truth values are numbers, dates are days since 1970 in UTC, spans are seconds. Texts are numbers
    or dates if 95 % of them read so, as when a table comes from CSV; else categories, whose codes
    follow the order of the texts. A cell that holds a list, a mapping or the like counts as
    missing.
    """
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _codes(np.asarray(series.cat.codes), [_text(value) for value in dtype.categories])[0]
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return _days(pd.to_datetime(series, utc=True))
    if dtype.kind == "m":
        return _finite(series.dt.total_seconds().to_numpy(dtype=np.float64, na_value=np.nan))
    if pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype):
        return _finite(series.to_numpy(dtype=np.float64, na_value=np.nan))
    return _read_texts(series)


def _read_texts(series: pd.Series) -> FloatArray | IntArray:
    if not isinstance(series.dtype, pd.StringDtype):
        # As texts before they are told apart: 1, 1.0 and True are the same to a dictionary.
        series = pd.Series([_text(value) for value in series], dtype=object)
    raw_codes, uniques = pd.factorize(series)
    codes, levels = _codes(raw_codes, [_text(value) for value in uniques])
    numbers = (
        None if any(_CODE.match(level) for level in levels) else _parsed(codes, levels, _numbers)
    )
    if numbers is not None:
        return numbers
    dates = _parsed(codes, levels, _dates)
    return codes if dates is None else dates


def _text(value: Any) -> str:
    """A cell's text, empty if it is missing."""
    if isinstance(value, str):
        return value.strip()
    return str(value) if pd.api.types.is_scalar(value) and pd.notna(value) else ""


def _codes(raw_codes: npt.NDArray[np.integer], texts: Sequence[str]) -> tuple[IntArray, list[str]]:
    levels = sorted({text for text in texts if text.lower() not in MISSING})
    codes = {level: code for code, level in enumerate(levels)}
    lookup = np.array([codes.get(text, -1) for text in texts] + [-1], dtype=np.int64)
    return lookup[raw_codes], levels


def _parsed(
    codes: IntArray, levels: list[str], parse: Callable[[list[str]], FloatArray]
) -> FloatArray | None:
    """`(n,)` values, or nothing if too few entries can be read."""
    if not levels or np.mean(np.isnan(parse(levels[:: -(-len(levels) // SAMPLED_TEXTS)]))) > 0.5:
        return None
    values = parse(levels)
    counts = np.bincount(codes[codes >= 0], minlength=len(levels))
    if counts[~np.isnan(values)].sum() < READABLE * counts.sum():
        return None
    return np.append(values, np.nan)[codes]


def _numbers(texts: list[str]) -> FloatArray:
    return _finite(
        pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce").to_numpy(dtype=np.float64)
    )


def _dates(texts: list[str]) -> FloatArray:
    return _days(pd.Series(pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce")))


def _days(dates: pd.Series) -> FloatArray:
    moments = dates.dt.tz_localize(None).to_numpy(dtype="datetime64[s]")
    days = moments.astype(np.int64) / SECONDS_A_DAY
    return np.where(np.isnat(moments), np.nan, days)


def _finite(values: FloatArray) -> FloatArray:
    return np.where(np.isfinite(values), values, np.nan)
