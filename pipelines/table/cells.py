"""How the cells of a column are read: its type, before its use is judged.

It is found from all rows, so that features, the split by time and the target read a column alike.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from hpo.arrays import FloatArray, IntArray
from pipelines.table.formats import READABLE, REQUESTED, other_marks
from pipelines.table.formats.dates import (
    date_in_numbers,
    epoch_in_numbers,
    find_dates,
    orders_note,
)
from pipelines.table.formats.numbers import (
    MIN_DISTINCT_NUMBERS,
    Numbers,
    find_numbers,
    is_code,
    units_note,
)
from serving.columns import MAX_EXACT, BooleanColumn, DateColumn, NumericColumn
from serving.dates import ISO, OR, dates, days, parse_dates
from serving.numbers import DURATION, PLAIN, NumberFormat, numbers, parse_numbers
from serving.values import (
    MISSING_MARKS,
    MISSING_TOKENS,
    TRUTHS,
    BoolArray,
    distinct,
    relative,
)

MAX_FLOAT = 1e300  # larger whole numbers are compared as texts


@dataclass(frozen=True)
class Reading:
    """How the cells of a column are read.

    Attributes:
        column: the type; a date has no parts yet. None for a category.
        note: for the user, on how they are read; empty if there was no choice.
    """

    column: NumericColumn | BooleanColumn | DateColumn | None
    note: str = ""


def read(
    name: str, series: pd.Series, rows: IntArray | None = None, kind: str | None = None
) -> Reading:
    """Find out how the cells of a column are read.

    Args:
        name: of the column.
        series: all rows, from which a format is found.
        rows: those that decide on the type; all if None.
        kind: one of `serving.columns.KINDS`, instead of the inferred type.
    """
    series = relative(series)
    dtype = series.dtype
    if kind == "category" or (kind is None and isinstance(dtype, pd.CategoricalDtype)):
        return Reading(None)
    if kind == "boolean" or (kind is None and pd.api.types.is_bool_dtype(dtype)):
        return Reading(BooleanColumn(name))
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return Reading(DateColumn(name, ISO, ()))
    if pd.api.types.is_timedelta64_dtype(dtype):
        return Reading(NumericColumn(name, format=DURATION))
    if pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype):
        return _read_numbers(name, series, kind)
    codes, texts = distinct(series)
    seen = codes if rows is None else codes[rows]
    counts = np.bincount(seen[seen >= 0], minlength=len(texts))
    return _read_texts(name, texts, counts, kind)


def times(series: pd.Series, kind: str | None = None) -> FloatArray:
    """`(n,)` values that order the rows in time, `nan` where there is neither number nor date.

    `kind` is that of `read`.
    """
    column = read(str(series.name), series, kind=kind).column
    return np.full(len(series), np.nan) if column is None else _ordered(series, column)


def groups(series: pd.Series, kind: str | None = None) -> IntArray:
    """`(n,)` codes of equal cells, -1 where missing: "1,234.50" and "1234.5" are one number.

    `kind` is that of `read`. Cells that cannot be read are compared as texts.
    """
    codes, texts = distinct(series)
    if pd.api.types.is_numeric_dtype(series.dtype):  # each number has one text
        return codes
    column = read(str(series.name), series, kind=kind).column
    if column is None:
        return codes
    values = _ordered(series, column)
    readable = (codes >= 0) & (np.abs(values) <= MAX_EXACT)
    found = np.where(readable, np.unique(values, return_inverse=True)[1] + len(texts), codes)
    return np.where(codes < 0, -1, np.unique(found, return_inverse=True)[1])


def _ordered(series: pd.Series, column: NumericColumn | BooleanColumn | DateColumn) -> FloatArray:
    """`(n,)` numbers, days or truth values, `nan` where a cell cannot be read."""
    match column:
        case DateColumn():
            return days(series, column.format)
        case NumericColumn():
            return numbers(series, column.format)[0]
    return replace(column, dirty=True).encode(series)


def _read_numbers(name: str, series: pd.Series, kind: str | None) -> Reading:
    values = numbers(series)[0]
    if kind is None and pd.api.types.is_integer_dtype(series.dtype):
        texts = distinct(series)[1] if np.nanmax(np.abs(values), initial=0) >= MAX_EXACT else []
        if note := _of_lost_digits(texts):
            return Reading(None, note)
    pattern = "" if kind == "number" else date_in_numbers(values)
    if pattern or kind == "date":
        pattern = pattern or epoch_in_numbers(values) or ISO
        unreadable = dates(series, pattern)[2]
        column = DateColumn(name, pattern, (), dirty=bool(unreadable.any()))
        return Reading(column, "" if pattern == ISO else f"read as {pattern}")
    width = getattr(series.dtype, "itemsize", 8)
    is_short = pd.api.types.is_float_dtype(series.dtype) and width < 8
    note = "" if kind == "number" else _of_epoch(name, values)
    return Reading(NumericColumn(name, precision=8 * width if is_short else 64), note)


def _of_lost_digits(texts: Sequence[str]) -> str:
    """The note on whole numbers that are equal as floats, but not as texts; empty for others."""
    values = [int(text) for text in texts if text.lstrip("+-").isdecimal()]
    large = {value for value in values if abs(value) >= MAX_EXACT}
    if len({float(value) for value in large if abs(value) < MAX_FLOAT}) == len(large):
        return ""
    return (
        "used as a category: whole numbers beyond 2**53 that differ in digits that no float holds; "
        "send them as texts or as integers without gaps"
    )


def _of_epoch(name: str, values: FloatArray) -> str:
    """The note on numbers that may be times; empty for others."""
    pattern = epoch_in_numbers(values)
    if not pattern:
        return ""
    first, last = (
        f"{day:%Y-%m-%d}" for day in parse_dates([str(values.min()), str(values.max())], pattern)
    )
    return (
        f"used as a number; if it is a time, in {pattern} from {first} to {last}, "
        f"types={name}:date takes its parts"
    )


def _read_texts(name: str, texts: Sequence[str], counts: IntArray, kind: str | None) -> Reading:
    seen = [text for text, count in zip(texts, counts, strict=True) if count]
    truths = [text in TRUTHS for text in seen if text not in MISSING_MARKS]
    if kind is None and truths and all(truths):
        return Reading(BooleanColumn(name))
    if kind is None and (note := _of_lost_digits(texts)):
        return Reading(None, note)
    found = _numbers_or_dates(name, texts, counts, kind)
    if found is None and kind is None and (marks := other_marks(texts, counts)):
        found = _numbers_or_dates(name, texts, counts, kind, marks)
    if found is not None or kind is not None:
        return found or Reading(None)
    note = _of_some_numbers(name, texts, counts) or units_note(texts, counts)
    return Reading(None, note or orders_note([text for text in texts if text not in MISSING_MARKS]))


def _of_some_numbers(name: str, texts: Sequence[str], counts: IntArray) -> str:
    """The note on a category of which most entries are numbers; empty for others."""
    known = np.array([text not in MISSING_MARKS for text in texts], bool) & (counts > 0)
    are_numbers = known & np.isfinite(parse_numbers(texts))
    others = known & ~are_numbers
    share = counts[are_numbers].sum() / max(counts[known].sum(), 1)
    if share < REQUESTED or not others.any() or are_numbers.sum() < MIN_DISTINCT_NUMBERS:
        return ""
    if any(is_code(text) for text in texts):
        return ""
    return (
        f"used as a category, though {share:.0%} of the entries are numbers, because of others "
        f"such as '{texts[int(np.argmax(counts * others))]}'; types={name}:number counts these as "
        "missing"
    )


def _numbers_or_dates(
    name: str,
    texts: Sequence[str],
    counts: IntArray,
    kind: str | None,
    marks: Collection[str] = (),
) -> Reading | None:
    """How texts are read as numbers or as dates, where `marks` count as missing."""
    share = READABLE if kind is None else REQUESTED
    if kind != "date":
        found = find_numbers(texts, counts, share, requested=kind == "number", marks=marks)
        if found is not None:
            return _numbers_in_texts(name, texts, counts, found, kind)
    if kind == "number":
        return None
    return _dates_in_texts(name, texts, counts, share, marks) or _epoch_in_texts(name, texts, kind)


def _dates_in_texts(
    name: str, texts: Sequence[str], counts: IntArray, share: float, marks: Collection[str]
) -> Reading | None:
    form = find_dates([text for text in texts if text not in marks], share)
    if form is None:
        return None
    unreadable = np.asarray(parse_dates(texts, form.pattern).isna())
    unreadable &= [text not in MISSING_MARKS for text in texts]
    others = unreadable & [text not in marks for text in texts]
    if counts[others].sum() > (1 - share) * counts.sum():
        return None
    notes = [] if form.pattern == ISO else [f"read as {form.pattern.replace(OR, ' or ')}"]
    if form.other:
        other = form.other.replace(OR, " or ")
        notes.append(f"day and month cannot be told apart, {other} reads all rows as well")
    notes += _unread(texts, counts, unreadable)
    column = DateColumn(name, form.pattern, (), dirty=bool(unreadable.any()))
    return Reading(column, "; ".join(notes))


def _epoch_in_texts(name: str, texts: Sequence[str], kind: str | None) -> Reading | None:
    """How texts are read that count the time since 1970, if dates are requested."""
    pattern = epoch_in_numbers(parse_numbers(texts)) if kind == "date" else ""
    if not pattern:
        return None
    unreadable = np.asarray(parse_dates(texts, pattern).isna())
    return Reading(DateColumn(name, pattern, (), bool(unreadable.any())), f"read as {pattern}")


def _numbers_in_texts(
    name: str,
    texts: Sequence[str],
    counts: IntArray,
    found: Numbers,
    kind: str | None,
) -> Reading:
    pattern = date_in_numbers(found.values) if kind is None and found.format == PLAIN else ""
    if pattern:
        return Reading(DateColumn(name, pattern, (), found.unreadable), f"read as {pattern}")
    column = NumericColumn(name, found.unreadable, found.format)
    notes = [_how_read(texts, counts, found)]
    if kind is None and found.format == PLAIN:
        notes.append(_of_epoch(name, found.values[np.isfinite(found.values)]))
    return Reading(column, "; ".join(filter(None, notes)))


def _how_read(texts: Sequence[str], counts: IntArray, found: Numbers) -> str:
    """The note on numbers that are not written plainly; empty if all are."""
    notes = []
    cells = list(zip(texts, found.values.tolist(), counts.tolist(), strict=True))
    if found.format != PLAIN:
        numbers = [(text, value) for text, value, _ in cells if not np.isnan(value)]
        text, value = max(numbers, key=lambda cell: len(cell[0]))
        unit = " seconds" if found.format.duration else ""
        unit = f" {found.format.unit}" if found.format.converted else unit
        notes.append(f"text read as numbers, '{text}' as {value:.15g}{unit}")
        notes += _without_percent(cells, found.format)
    marks = [(text, n) for text, _, n in cells if n and text in MISSING_MARKS - MISSING_TOKENS]
    if marks:
        shown = " and ".join(f"'{text}'" for text, _ in marks[:3])
        notes.append(f"{shown} counts as missing ({sum(n for _, n in marks):,} entries)")
    others = np.isnan(found.values) & [text not in MISSING_MARKS for text in texts]
    unread = _unread(texts, counts, others)
    if unread and not notes:
        notes.append("text read as numbers")
    return "; ".join(notes + unread)


def _without_percent(cells: Sequence[tuple[str, float, int]], how: NumberFormat) -> Iterator[str]:
    """The note on entries that lack the "%" of the others."""
    if how.unit not in ("%", "‰"):
        return
    bare = [
        (text, n) for text, value, n in cells if n and not np.isnan(value) and how.unit not in text
    ]
    if bare:
        count, first = sum(n for _, n in bare), bare[0][0]
        rule = f"as shares, times {how.of_share(1):.0f}" if how.shares else "like the others"
        yield f"{count:,} entries without {how.unit}, such as '{first}', are read {rule}"


def _unread(texts: Sequence[str], counts: IntArray, unread: BoolArray) -> list[str]:
    """The note on texts that are not read; none if they do not occur."""
    seen = unread & (counts > 0)
    if not seen.any():
        return []
    share, first = counts[seen].sum() / counts.sum(), texts[int(np.argmax(counts * seen))]
    return [f"{share:.1%} of the entries, such as '{first}', cannot be read and count as missing"]
