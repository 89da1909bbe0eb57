"""Inference of column types, once, on the rows that the search may see.

The rules, in order; what is dropped is said in the notes:

- all missing, or one single value and nothing missing, or cells that are lists or the like:
  dropped;
- integers that count the rows (each once, nearly no gaps, in the table's order or named like
  ``id``): dropped; other integers and numbers stay numeric, reported when they have an id's name
  and never repeat;
- true/false: boolean; dates and texts that read as dates: expanded into the parts that vary;
- texts of which 95 % read as numbers, with more than 10 distinct ones and no leading zeros:
  numeric, the rest missing;
- other texts: categorical. Nearly one value per row: dropped. More than 256 levels: those seen at
  least twice, the most frequent 256, are kept and the rest share one level; dropped when these 256
  cover less than a fifth of the rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hpo.errors import DataError, ParameterError, closest, raise_all
from serving.columns import BooleanColumn, CategoricalColumn, Column, DateColumn, NumericColumn
from serving.features import FeatureEncoder
from serving.values import (
    DATE_PARTS,
    FloatArray,
    IntArray,
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
DATE_FORMATS = (
    "ISO8601",
    *(
        f"{date}{time}"
        for date in (
            "%d.%m.%Y",
            "%m/%d/%Y",
            "%d/%m/%Y",
            "%d-%m-%Y",
            "%Y/%m/%d",
            "%d %b %Y",
            "%b %d, %Y",
        )
        for time in ("", " %H:%M", " %H:%M:%S")
    ),
)
SAMPLED_TEXTS = 200

_ID_NAME = re.compile(
    r"(^|[^a-z])(id|ids|idx|index|uid|uuid|guid|key|rownum|rowid|row|nr|no)$|^unnamed: \d+$", re.I
)
_CODE = re.compile(r"[+-]?0\d")
_DATE_LIKE = re.compile(r"\d{1,4}[-/. ]|[A-Za-z]{3} \d")


@dataclass(frozen=True)
class Finding:
    """What was found of one column: how it is encoded (``None``: dropped) and a reason worth telling."""

    name: str
    column: Column | None
    note: str = ""


def fit_features(
    frame: pd.DataFrame, kinds: Mapping[str, str] | None = None, rows: IntArray | None = None
) -> tuple[FeatureEncoder, tuple[str, ...]]:
    """Return the encoder of a table's columns, inferred on some of its ``rows`` or all, and notes for the user.

    ``kinds`` overrules the inference by column name with one of ``KINDS``; unknown names or kinds
    are a ``ParameterError``. Infinite values and a table without one usable column are a
    ``DataError``.
    """
    chosen = dict(kinds or {})
    _check_kinds(chosen, [str(name) for name in frame.columns])
    findings, mistakes = [], []
    for position, name in enumerate(map(str, frame.columns)):
        try:
            series = frame.iloc[:, position]
            findings.append(
                _find(name, series if rows is None else series.iloc[rows], chosen.get(name))
            )
        except ValueError as mistake:
            mistakes.append(str(mistake))
    raise_all(DataError, mistakes)
    encoder = FeatureEncoder(
        tuple(finding.column for finding in findings if finding.column is not None)
    )
    notes = _grouped(findings)
    if not encoder.columns:
        raise DataError(
            "no column is left to learn from: " + ("; ".join(notes) or "there is only the target")
        )
    return encoder, notes


def _check_kinds(kinds: Mapping[str, str], names: Sequence[str]) -> None:
    for name, kind in kinds.items():
        if name not in names:
            raise ParameterError(
                f"there is no column {name!r} to treat as {kind}{closest(name, names)}"
            )
        if kind not in KINDS:
            raise ParameterError(
                f"unknown kind {kind!r} for column {name!r}{closest(kind, KINDS)}; kinds: {', '.join(KINDS)}"
            )


def _grouped(findings: Iterable[Finding]) -> tuple[str, ...]:
    groups: dict[str, list[str]] = {}
    for finding in findings:
        if finding.note:
            groups.setdefault(finding.note, []).append(finding.name)
    return tuple(f"{_listed(names)}: {note}" for note, names in groups.items())


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return f"{len(names)} columns ({shown}, …)" if len(names) > 8 else shown


def _find(name: str, series: pd.Series, kind: str | None) -> Finding:
    if kind == "drop":
        return Finding(name, None, "dropped, as asked")
    if pd.api.types.is_complex_dtype(series.dtype) or is_nested(series):
        return Finding(name, None, "dropped, its cells are no numbers, texts, dates or true/false")
    if kind is not None:
        return _as_asked(name, series, kind)
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        return _find_date(name, series, "ISO8601", dirty=False)
    if pd.api.types.is_bool_dtype(series.dtype):
        return _find_boolean(name, series)
    if _is_numeric(series.dtype):
        return _find_number(name, series)
    return _find_text(name, series)


def _is_numeric(dtype: Any) -> bool:
    return bool(pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_timedelta64_dtype(dtype))


def _as_asked(name: str, series: pd.Series, kind: str) -> Finding:
    if kind == "categorical":
        codes, texts = distinct(series)
        return _categorical(name, codes, texts)
    if kind == "date":
        _, texts = distinct(series)
        pattern = _date_format(texts, share=0.5) or "ISO8601"
        return _find_date(name, series, pattern, dirty=True)
    if kind == "boolean":
        return _find_boolean(name, series)
    values, unreadable = numbers(series)
    if np.isnan(values).all():
        raise ParameterError(
            f"column {name!r} cannot be treated as numeric: none of its entries is a number"
        )
    column = NumericColumn(name, dirty=bool(unreadable.any()))
    column.encode(series)  # infinite values are an error here too
    return Finding(name, column)


# --- numbers -------------------------------------------------------------------------------------


def _find_number(name: str, series: pd.Series, dirty: bool = False) -> Finding:
    column = NumericColumn(name, dirty)
    values = column.encode(series)
    present = values[~np.isnan(values)]
    if not len(present):
        return Finding(name, None, "dropped, every value is missing")
    if len(present) == len(values) and present.min() == present.max():
        return Finding(name, None, "dropped, constant")
    dense = present.max() - present.min() < 2 * len(present)  # the test rows leave gaps
    if (dense or _ID_NAME.search(name)) and _never_repeats(series, present):
        if dense and (_ID_NAME.search(name) or (np.diff(present) > 0).all()):
            return Finding(name, None, "dropped, counts the rows")
        if _ID_NAME.search(name):
            return Finding(
                name,
                column,
                "kept as a number, but looks like an identifier (no value occurs twice)",
            )
    if dirty:
        share = 1 - len(present) / max(1, int(series.notna().sum()))
        return Finding(
            name,
            column,
            f"text read as numbers; {share:.1%} of the entries are none and count as missing",
        )
    return Finding(name, column)


def _never_repeats(series: pd.Series, present: FloatArray) -> bool:
    """Say whether a column without gaps holds whole numbers, each once (and enough to be no accident)."""
    if len(present) < len(series) or len(present) < IDENTIFIER_DISTINCT:
        return False
    if not pd.api.types.is_integer_dtype(series.dtype) and (present != np.floor(present)).any():
        return False
    return len(pd.unique(present)) == len(present)


def _find_boolean(name: str, series: pd.Series) -> Finding:
    column = BooleanColumn(name)
    values = column.encode(series)
    present = values[~np.isnan(values)]
    if not len(present):
        return Finding(name, None, "dropped, every value is missing")
    if len(present) == len(values) and present.min() == present.max():
        return Finding(name, None, "dropped, constant")
    return Finding(name, column)


# --- texts ---------------------------------------------------------------------------------------


def _find_text(name: str, series: pd.Series) -> Finding:
    codes, texts = distinct(series)
    if not texts:
        return Finding(name, None, "dropped, every value is missing")
    if len(texts) == 1 and (codes >= 0).all():
        return Finding(name, None, "dropped, constant")
    if all(text.lower() in ("true", "false") for text in texts):
        return Finding(name, BooleanColumn(name))
    counts = np.bincount(codes[codes >= 0], minlength=len(texts))
    dirty = _dirty_numbers(texts, counts)
    if dirty is not None:
        return _find_number(name, series, dirty)
    pattern = (
        None if isinstance(series.dtype, pd.CategoricalDtype) else _date_format(texts, READABLE)
    )
    if pattern is not None:
        unreadable = np.asarray(parse_dates(texts, pattern).isna())
        if counts[~unreadable].sum() >= READABLE * counts.sum():
            return _find_date(name, series, pattern, dirty=bool(unreadable.any()))
    return _categorical(name, codes, texts)


def _dirty_numbers(texts: Sequence[str], counts: IntArray) -> bool | None:
    """Return whether some entries are unreadable, if the others make the column numeric."""
    sample = texts[:: max(1, len(texts) // SAMPLED_TEXTS)]
    if np.isnan(parse_numbers(sample)).mean() > 0.5:
        return None
    values = parse_numbers(texts)
    readable = ~np.isnan(values)
    if counts[readable].sum() < READABLE * counts.sum() or any(_CODE.match(text) for text in texts):
        return None
    if readable.all():
        return False
    return True if readable.sum() >= MIN_DISTINCT_NUMBERS else None


def _categorical(name: str, codes: IntArray, texts: Sequence[str]) -> Finding:
    counts = np.bincount(codes[codes >= 0], minlength=len(texts))
    n, missing = int(counts.sum()), bool((codes < 0).any())
    if not texts:
        return Finding(name, None, "dropped, every value is missing")
    if len(texts) >= IDENTIFIER_DISTINCT and len(texts) > IDENTIFIER_SHARE * n:
        return Finding(
            name, None, "dropped, nearly every row has its own text (identifier or free text)"
        )
    if len(texts) <= MAX_LEVELS:
        return Finding(name, CategoricalColumn(name, tuple(sorted(texts)), missing=missing))
    order = sorted(range(len(texts)), key=lambda i: (-counts[i], texts[i]))
    kept = [i for i in order[:MAX_LEVELS] if counts[i] >= 2]
    covered = float(counts[kept].sum()) / n
    if covered < MIN_COVERED:
        return Finding(name, None, "dropped, free text (hardly any value occurs often)")
    column = CategoricalColumn(
        name, tuple(sorted(texts[i] for i in kept)), other=True, missing=missing
    )
    return Finding(
        name,
        column,
        f"{len(texts):,} levels; {len(kept)} are kept ({covered:.0%} of the rows), the rest is one level",
    )


# --- dates ---------------------------------------------------------------------------------------


def _date_format(texts: Sequence[str], share: float) -> str | None:
    step = max(1, len(texts) // SAMPLED_TEXTS)
    sample = texts[::step]
    if sum(bool(_DATE_LIKE.match(text)) for text in sample) < share * len(sample):
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
        return Finding(name, None, "dropped, every value is missing")
    varying = [part for part in DATE_PARTS if len(np.unique(date_part(used, part))) > 1]
    if not varying:
        return Finding(name, None, "dropped, constant")
    ambiguous = pattern.startswith("%m/%d") and (used.day <= 12).all()
    note = f"date, expanded into {', '.join(varying)}" + (
        "" if pattern == "ISO8601" else f" (read as {pattern})"
    )
    note += "; month and day could be the other way round: give ISO dates" if ambiguous else ""
    return Finding(name, DateColumn(name, pattern, tuple(varying), dirty), note)
