"""Inference of column types, once, before a search.

How a column writes its values (`pipelines.table.formats`) is found from all rows; what is useful,
and the levels, from those that the search uses. The rules in their order; the notes say what was
dropped, and how a value was read where there was a choice:

- A column whose values are all missing, or all equal, or lists and the like, is dropped.
- An index that was written with the table is no column: `Unnamed: 0`, `index`, `level_0` and
  `__index_level_0__`.
- A column of the type category is categorical, of integers too.
- Integers of which each occurs once are dropped if they have hardly a gap, or a name like `id`.
  Other numbers stay numeric.
- true/false becomes boolean. Dates, texts that can be read as dates, and numbers like 20240131
  become the parts of a date that vary.
- Texts of which 95 % are numbers in one format are numeric, if there are no leading zeros. Marks
  like "-" are missing values. Other texts count as missing, if there are more than 10 numbers.
- Other texts are categorical. A column with nearly one value per row is dropped. Of more than 256
  levels, the most frequent 256 that occur at least twice keep their own code and the others share
  one. If these cover less than a fifth of the rows, all levels that occur at least twice have a
  code, unless they are sentences, or most occur once: then the column is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from hpo.arrays import FloatArray, IntArray
from hpo.errors import DataError, raise_all
from pipelines.table.cells import read
from pipelines.table.formats import sampled
from pipelines.table.overrides import DROP
from serving.columns import (
    BooleanColumn,
    CategoricalColumn,
    Column,
    DateColumn,
    NumericColumn,
    ambiguous_numbers,
)
from serving.dates import DATE_PARTS, date_part, dates
from serving.features import FeatureEncoder
from serving.values import distinct, is_nested, relative

MAX_LEVELS = 256
MAX_MANY_LEVELS = 100_000
MIN_COVERED = 0.2
MIN_ROWS_PER_LEVEL = 2.0
MAX_WORDS = 4.0  # of a level on average; more are sentences
IDENTIFIER_DISTINCT = 20
IDENTIFIER_SHARE = 0.9
ID_STEPS = (1, 2, 5, 10, 100)  # others may be those of time
SHOWN_NAMES = 8

_ID_NAME = re.compile(
    r"((^|[^a-z]|(?-i:(?<=[a-z])(?=[A-Z])))(id|ids|idx|index|uid|uuid|guid|key"
    r"|rownum|rowid|row|nr|no)"
    r"|(account|case|client|customer|employee|invoice|loan|member|order|passenger|patient|policy"
    r"|product|record|session|transaction|user)[ _-]?(id|key|nr|no|num|number))\.?$",
    re.I,
)
_INDEX_NAME = re.compile(r"unnamed: \d+(\.\d+)*|index|level_\d+|__index_level_\d+__", re.I)

ALL_MISSING = "dropped, every value is missing"
CONSTANT = "dropped, constant"
IDENTIFIER = "dropped, an identifier"
INDEX = "dropped, an index that was written with the table"


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
    frame: pd.DataFrame,
    kinds: Mapping[str, str] | None = None,
    rows: IntArray | None = None,
    keep: Collection[str] = (),
) -> tuple[FeatureEncoder, tuple[str, ...]]:
    """Infer the encoder of a table's columns.

    Args:
        frame: the feature columns.
        kinds: one of `serving.columns.KINDS`, or "drop", by column name, instead of what is
            inferred.
        rows: to infer from; all if None.
        keep: columns that are used even if they look like an index or an identifier.

    Returns:
        The encoder, and notes for the user.

    Raises:
        DataError: for infinite values, and if no column can be used.
    """
    kinds = kinds or {}
    used = np.arange(len(frame)) if rows is None else rows
    findings, mistakes = [], []
    for name, column in frame.items():
        series, name = relative(column), str(name)
        try:
            findings.append(_find(name, series, used, kinds.get(name), keep=name in keep))
        except ValueError as mistake:
            mistakes.append(str(mistake))
    raise_all(DataError, mistakes)
    columns = [finding.column for finding in findings if finding.column is not None]
    notes = _grouped(findings)
    if not columns:
        reasons = "; ".join(notes) or "there is only the target"
        raise DataError(f"no column is left to learn from: {reasons}")
    return FeatureEncoder(tuple(columns)), notes


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


def _find(name: str, series: pd.Series, rows: IntArray, kind: str | None, keep: bool) -> Finding:
    seen = series.take(rows)
    if kind == DROP:
        return Finding(name, None, "dropped, as requested")
    if pd.api.types.is_complex_dtype(series.dtype) or is_nested(series):
        return Finding(name, None, "dropped, its cells are not numbers, texts, dates or true/false")
    if not keep and kind is None and _is_index(name, seen):
        return Finding(name, None, INDEX)
    reading = read(name, series, rows, kind)
    match reading.column:
        case NumericColumn() as column:
            return _find_number(column, seen, reading.note, keep=keep or kind is not None)
        case BooleanColumn() as column:
            useless = _uninformative(column.encode(seen))
            return Finding(name, None if useless else column, useless)
        case DateColumn() as column:
            return _find_date(column, seen, reading.note)
    found = _categorical(name, series, rows, keep=kind is not None)
    return replace(found, note="; ".join(filter(None, (reading.note, found.note))))


def _is_index(name: str, seen: pd.Series) -> bool:
    """Whether a column has the name that pandas gives an index, and values like one."""
    if not _INDEX_NAME.fullmatch(name):
        return False
    if not name.lower().startswith(("index", "level")) and pd.api.types.is_integer_dtype(
        seen.dtype
    ):
        return True  # its name is given to no other column
    return bool(seen.notna().all() and seen.is_unique)


# --- numbers -------------------------------------------------------------------------------------


def _find_number(column: NumericColumn, seen: pd.Series, note: str, keep: bool) -> Finding:
    name = column.name
    values = column.encode(seen)
    useless = _uninformative(values)
    if useless:
        return Finding(name, None, useless)
    present = values[~np.isnan(values)]
    if keep or not _never_repeats(seen, present):
        return Finding(name, column, note)
    if _has_hardly_a_gap(present):
        if (np.diff(present) > 0).all():
            return Finding(name, None, "dropped, counts the rows")
        return Finding(name, None, f"{IDENTIFIER} (whole numbers, and none occurs twice)")
    if _ID_NAME.search(name):
        return Finding(name, None, f"{IDENTIFIER} (by its name, and no value occurs twice)")
    if pd.api.types.is_integer_dtype(seen.dtype):
        unique = "used as a number, but no value occurs twice: leave it out if it is an identifier"
        note = note or unique
    return Finding(name, column, note)


def _has_hardly_a_gap(present: FloatArray) -> bool:
    """Whether whole numbers, each once, count up nearly all of 7, 8, 9 or of 70, 80, 90."""
    steps = np.diff(np.sort(present))
    step = max(each for each in ID_STEPS if (steps % each == 0).all())
    return bool(steps.sum() < 2 * step * len(present))  # the test rows leave gaps


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


# --- categories ----------------------------------------------------------------------------------


def _categorical(name: str, series: pd.Series, rows: IntArray, keep: bool) -> Finding:
    all_codes, all_texts = distinct(series)
    codes = all_codes[rows]
    all_counts = np.bincount(codes[codes >= 0], minlength=len(all_texts))
    texts = [text for text, count in zip(all_texts, all_counts, strict=True) if count]
    counts = all_counts[all_counts > 0]
    n, missing = int(counts.sum()), bool((codes < 0).any())
    if not texts:
        return Finding(name, None, ALL_MISSING)
    if len(texts) == 1 and not missing:
        return Finding(name, None, CONSTANT)
    if not keep and len(texts) >= IDENTIFIER_DISTINCT and len(texts) > IDENTIFIER_SHARE * n:
        return Finding(
            name, None, "dropped, nearly every row has its own text (identifier or free text)"
        )
    ambiguous = ambiguous_numbers(texts)
    if len(texts) <= MAX_LEVELS:
        levels = tuple(sorted(texts))
        column = CategoricalColumn(name, levels, False, missing, ambiguous)
        return Finding(name, column, _of_cases(levels))
    kept, covered = _frequent(texts, counts, MAX_LEVELS)
    note = (
        f"{len(texts):,} levels; the {len(kept)} most frequent ones cover {covered:.0%} of the "
        "rows, the others share one code"
    )
    if covered < MIN_COVERED:
        if not keep and (n < MIN_ROWS_PER_LEVEL * len(texts) or _are_sentences(texts)):
            return Finding(name, None, "dropped, free text (hardly any value occurs often)")
        kept, covered = _frequent(texts, counts, MAX_MANY_LEVELS)
        note = f"a category with many levels: {len(texts):,} in {n:,} rows"
    column = CategoricalColumn(name, tuple(sorted(kept)), True, missing, ambiguous)
    return Finding(name, column, note)


def _of_cases(levels: Sequence[str]) -> str:
    """The note on levels that differ in nothing but case or blanks; empty if none do."""
    groups: dict[str, list[str]] = {}
    for level in levels:
        groups.setdefault(" ".join(level.casefold().split()), []).append(level)
    alike = [same for same in groups.values() if len(same) > 1]
    if not alike:
        return ""
    shown = " and ".join(map(repr, alike[0]))
    return f"{shown} are {len(alike[0])} levels; write them alike if they are one"


def _frequent(texts: Sequence[str], counts: IntArray, most: int) -> tuple[list[str], float]:
    """The most frequent texts that occur twice or more, and the share of the rows with them."""
    levels = np.array(texts, dtype=object)
    frequent = np.lexsort((levels, -counts))[:most]
    frequent = frequent[counts[frequent] >= 2]
    return levels[frequent].tolist(), float(counts[frequent].sum() / counts.sum())


def _are_sentences(texts: Sequence[str]) -> bool:
    return bool(np.mean([len(text.split()) for text in sampled(texts)]) > MAX_WORDS)


# --- dates ---------------------------------------------------------------------------------------


def _find_date(column: DateColumn, seen: pd.Series, note: str) -> Finding:
    codes, found, _ = dates(seen, column.format)
    used = found[np.unique(codes[codes >= 0])]
    used = used[used.notna()]
    if not len(used):
        return Finding(column.name, None, ALL_MISSING)
    varying = tuple(part for part in DATE_PARTS if len(np.unique(date_part(used, part))) > 1)
    if not varying:
        return Finding(column.name, None, CONSTANT)
    note = f"date, expanded into {', '.join(varying)}" + (note and f" ({note})")
    return Finding(column.name, replace(column, parts=varying), note)
