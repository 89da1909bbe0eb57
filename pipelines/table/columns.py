"""Inference of column types, once, on the rows that the search uses.

The rules in their order; the notes say what was dropped:

- A column whose values are all missing, or all equal, or lists and the like, is dropped.
- Integers that number the rows (each occurs once, with hardly a gap, in the order of the table or
  under a name like `id`) are dropped. Other numbers stay numeric, with a note if they have the name
  of an identifier and never repeat.
- true/false becomes boolean. Dates, and texts that can be read as dates, become the parts of a date
  that vary.
- Texts of which 95 % can be read as numbers, with more than 10 distinct ones and no leading zeros,
  are numeric; the others count as missing.
- Other texts are categorical. A column with nearly one value per row is dropped. Of more than 256
  levels, the most frequent 256 that occur at least twice keep their own code and the others share
  one; the column is dropped if these 256 cover less than a fifth of the rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from hpo.arrays import FloatArray, IntArray
from hpo.errors import DataError, ParameterError, closest, raise_all
from serving.columns import BooleanColumn, CategoricalColumn, Column, DateColumn, NumericColumn
from serving.features import FeatureEncoder
from serving.values import (
    DATE_PARTS,
    date_part,
    dates,
    distinct,
    is_nested,
    numbers,
    parse_dates,
    parse_numbers,
)

KINDS = ("numeric", "boolean", "categorical", "date", "drop")
MAX_LEVELS = 256
MIN_COVERED = 0.2
READABLE = 0.95
MIN_DISTINCT_NUMBERS = 11
IDENTIFIER_DISTINCT = 20
IDENTIFIER_SHARE = 0.9
SAMPLED_TEXTS = 200
SHOWN_NAMES = 8

_DATES = ("%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%Y/%m/%d", "%d %b %Y", "%b %d, %Y")
_TIMES = ("", " %H:%M", " %H:%M:%S")
DATE_FORMATS = ("ISO8601", *map("".join, product(_DATES, _TIMES)))

_ID_NAME = re.compile(
    r"(^|[^a-z])(id|ids|idx|index|uid|uuid|guid|key|rownum|rowid|row|nr|no)$|^unnamed: \d+$", re.I
)
_CODE = re.compile(r"[+-]?0\d")
_DATE_LIKE = re.compile(r"\d{1,4}[-/. ]|[A-Za-z]{3} \d")

ALL_MISSING = "dropped, every value is missing"
CONSTANT = "dropped, constant"


@dataclass(frozen=True)
class Finding:
    """The type of one column.

    Attributes:
        name: of the column.
        column: its encoding; None if it is dropped.
        note: for the user; empty if there is nothing to report.
    """

    name: str
    column: Column | None
    note: str = ""


def fit_features(
    frame: pd.DataFrame, kinds: Mapping[str, str] | None = None, rows: IntArray | None = None
) -> tuple[FeatureEncoder, tuple[str, ...]]:
    """Infer the encoder of a table's columns.

    Args:
        frame: the feature columns.
        kinds: one of `KINDS` by column name, instead of the inferred type.
        rows: to infer from; all if None.

    Returns:
        The encoder, and notes for the user.

    Raises:
        ParameterError: for unknown column names or kinds.
        DataError: for infinite values, and if no column can be used.
    """
    kinds = kinds or {}
    _check_kinds(kinds, [str(name) for name in frame.columns])
    seen = frame if rows is None else frame.iloc[rows]
    findings, mistakes = [], []
    for position, name in enumerate(map(str, frame.columns)):
        try:
            findings.append(_find(name, seen.iloc[:, position], kinds.get(name)))
        except ValueError as mistake:
            mistakes.append(str(mistake))
    raise_all(DataError, mistakes)
    columns = [finding.column for finding in findings if finding.column is not None]
    notes = _grouped(findings)
    if not columns:
        reasons = "; ".join(notes) or "there is only the target"
        raise DataError(f"no column is left to learn from: {reasons}")
    return FeatureEncoder(tuple(columns)), notes


def _check_kinds(kinds: Mapping[str, str], names: Sequence[str]) -> None:
    for name, kind in kinds.items():
        if name not in names:
            raise ParameterError(
                f"there is no column {name!r} to treat as {kind}{closest(name, names)}"
            )
        if kind not in KINDS:
            raise ParameterError(
                f"unknown kind {kind!r} for column {name!r}{closest(kind, KINDS)}; kinds: "
                f"{', '.join(KINDS)}"
            )


def _grouped(findings: Iterable[Finding]) -> tuple[str, ...]:
    """Each note once, with the columns that it is about."""
    groups: dict[str, list[str]] = {}
    for finding in findings:
        if finding.note:
            groups.setdefault(finding.note, []).append(finding.name)
    return tuple(f"{_listed(names)}: {note}" for note, names in groups.items())


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN_NAMES])
    return f"{len(names)} columns ({shown}, …)" if len(names) > SHOWN_NAMES else shown


def _find(name: str, series: pd.Series, kind: str | None) -> Finding:
    dtype = series.dtype
    if kind == "drop":
        return Finding(name, None, "dropped, as requested")
    if pd.api.types.is_complex_dtype(dtype) or is_nested(series):
        return Finding(name, None, "dropped, its cells are not numbers, texts, dates or true/false")
    if kind is not None:
        return _as_requested(name, series, kind)
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return _find_date(name, series, "ISO8601", dirty=False)
    if pd.api.types.is_bool_dtype(dtype):
        return _find_boolean(name, series)
    if pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_timedelta64_dtype(dtype):
        return _find_number(name, series)
    return _find_text(name, series)


def _as_requested(name: str, series: pd.Series, kind: str) -> Finding:
    if kind == "categorical":
        return _categorical(name, *distinct(series))
    if kind == "date":
        pattern = _date_format(distinct(series)[1], share=0.5) or "ISO8601"
        return _find_date(name, series, pattern, dirty=True)
    if kind == "boolean":
        return _find_boolean(name, series)
    values, unreadable = numbers(series)
    if np.isnan(values).all():
        raise ParameterError(
            f"column {name!r} cannot be treated as numeric: none of its entries is a number"
        )
    column = NumericColumn(name, dirty=bool(unreadable.any()))
    column.encode(series)  # raises for infinite values
    return Finding(name, column)


# --- numbers -------------------------------------------------------------------------------------


def _find_number(name: str, series: pd.Series, dirty: bool = False) -> Finding:
    column = NumericColumn(name, dirty)
    values = column.encode(series)
    useless = _uninformative(values)
    if useless:
        return Finding(name, None, useless)
    present = values[~np.isnan(values)]
    dense = present.max() - present.min() < 2 * len(present)  # the test rows leave gaps
    named = _ID_NAME.search(name) is not None
    unique = (dense or named) and _never_repeats(series, present)
    if unique and dense and (named or (np.diff(present) > 0).all()):
        return Finding(name, None, "dropped, counts the rows")
    if unique and named:
        note = "used as a number, but looks like an identifier (no value occurs twice)"
        return Finding(name, column, note)
    if not dirty:
        return Finding(name, column)
    share = 1 - len(present) / max(1, int(series.notna().sum()))
    note = f"text read as numbers; {share:.1%} of the entries cannot be read and count as missing"
    return Finding(name, column, note)


def _find_boolean(name: str, series: pd.Series) -> Finding:
    column = BooleanColumn(name)
    useless = _uninformative(column.encode(series))
    return Finding(name, None if useless else column, useless)


def _uninformative(values: FloatArray) -> str:
    """Why nothing can be learned from a column; empty if something can."""
    present = values[~np.isnan(values)]
    if not len(present):
        return ALL_MISSING
    if len(present) == len(values) and present.min() == present.max():
        return CONSTANT
    return ""


def _never_repeats(series: pd.Series, present: FloatArray) -> bool:
    """Whether a column has no gaps and holds many whole numbers, each once."""
    if len(present) < len(series) or len(present) < IDENTIFIER_DISTINCT:
        return False
    if not pd.api.types.is_integer_dtype(series.dtype) and (present != np.floor(present)).any():
        return False
    return len(pd.unique(present)) == len(present)


# --- texts ---------------------------------------------------------------------------------------


def _find_text(name: str, series: pd.Series) -> Finding:
    codes, texts = distinct(series)
    if not texts:
        return Finding(name, None, ALL_MISSING)
    if len(texts) == 1 and (codes >= 0).all():
        return Finding(name, None, CONSTANT)
    if all(text.lower() in ("true", "false") for text in texts):
        return Finding(name, BooleanColumn(name))
    counts = np.bincount(codes[codes >= 0], minlength=len(texts))
    dirty = _dirty_numbers(texts, counts)
    if dirty is not None:
        return _find_number(name, series, dirty)
    if not isinstance(series.dtype, pd.CategoricalDtype):
        pattern = _date_format(texts, READABLE)
        if pattern is not None:
            unreadable = np.asarray(parse_dates(texts, pattern).isna())
            if counts[~unreadable].sum() >= READABLE * counts.sum():
                return _find_date(name, series, pattern, dirty=bool(unreadable.any()))
    return _categorical(name, codes, texts)


def _dirty_numbers(texts: Sequence[str], counts: IntArray) -> bool | None:
    """Whether some entries of a numeric column cannot be read; None if it is not numeric."""
    if np.isnan(parse_numbers(_sampled(texts))).mean() > 0.5:
        return None
    readable = ~np.isnan(parse_numbers(texts))
    if counts[readable].sum() < READABLE * counts.sum() or any(map(_CODE.match, texts)):
        return None
    if readable.all():
        return False
    return True if readable.sum() >= MIN_DISTINCT_NUMBERS else None


def _categorical(name: str, codes: IntArray, texts: Sequence[str]) -> Finding:
    counts = np.bincount(codes[codes >= 0], minlength=len(texts))
    n, missing = int(counts.sum()), bool((codes < 0).any())
    if not texts:
        return Finding(name, None, ALL_MISSING)
    if len(texts) >= IDENTIFIER_DISTINCT and len(texts) > IDENTIFIER_SHARE * n:
        return Finding(
            name, None, "dropped, nearly every row has its own text (identifier or free text)"
        )
    if len(texts) <= MAX_LEVELS:
        return Finding(name, CategoricalColumn(name, tuple(sorted(texts)), missing=missing))
    levels = np.array(texts, dtype=object)
    frequent = np.lexsort((levels, -counts))[:MAX_LEVELS]
    frequent = frequent[counts[frequent] >= 2]
    covered = float(counts[frequent].sum()) / n
    if covered < MIN_COVERED:
        return Finding(name, None, "dropped, free text (hardly any value occurs often)")
    column = CategoricalColumn(name, tuple(sorted(levels[frequent])), other=True, missing=missing)
    return Finding(
        name,
        column,
        f"{len(texts):,} levels; the {len(frequent)} most frequent ones cover {covered:.0%} of the "
        "rows, the others share one code",
    )


def _sampled(texts: Sequence[str]) -> Sequence[str]:
    return texts[:: max(1, len(texts) // SAMPLED_TEXTS)]


# --- dates ---------------------------------------------------------------------------------------


def _date_format(texts: Sequence[str], share: float) -> str | None:
    """The first format that reads enough of the texts; None if there is none."""
    sample = _sampled(texts)
    if sum(map(bool, map(_DATE_LIKE.match, sample))) < share * len(sample):
        return None
    for pattern in DATE_FORMATS:
        if np.mean(parse_dates(sample, pattern).notna()) >= share:
            return pattern
    return None


def _find_date(name: str, series: pd.Series, pattern: str, dirty: bool) -> Finding:
    codes, found = dates(series, pattern)
    used = found[np.unique(codes[codes >= 0])]
    used = used[used.notna()]
    if not len(used):
        return Finding(name, None, ALL_MISSING)
    varying = tuple(part for part in DATE_PARTS if len(np.unique(date_part(used, part))) > 1)
    if not varying:
        return Finding(name, None, CONSTANT)
    note = f"date, expanded into {', '.join(varying)}"
    if pattern != "ISO8601":
        note += f" (read as {pattern})"
    if pattern.startswith("%m/%d") and (used.day <= 12).all():
        note += "; month and day could be the other way round: give ISO dates"
    return Finding(name, DateColumn(name, pattern, varying, dirty), note)
