"""Reading single columns: the meaning of a cell does not depend on how its table was stored.

`serving.numbers` and `serving.dates` read the cells of numeric columns and of dates.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from serving.names import normal_name

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
CodeArray = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]
Label = str | int | float | bool
T = TypeVar("T", bound=Label)

MISSING_TOKENS = frozenset(
    ["", "?", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"]
    + ["<NA>", "N/A", "NA", "NULL", "NaN", "NaT", "None", "n/a", "nan", "null"]
    + ["\\N", "(null)", "(NULL)", "[null]", "[NULL]", "<null>", "<NULL>"]  # of databases
    + ["#NV", "#N/V", "#N/D", "#N/B", "(blank)"]  # of spreadsheets
)
"""Texts that mean "missing" in every column: the list of pandas, "?" of the UCI tables, and what
databases and spreadsheets export in several languages."""

MISSING_MARKS = MISSING_TOKENS.union(
    [".", "..", "-", "--", "---", "\N{EN DASH}", "\N{EM DASH}", "n.a.", "N.A.", "na", "#DIV/0!"],
    ["#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"],  # errors of a spreadsheet
    ["0000-00-00", "0000-00-00 00:00:00", "00.00.0000", "00/00/0000"],  # of a database
)
"""Texts that mean "missing" among numbers, dates and truth values; elsewhere they are levels."""

TRUTHS = ("true", "false")  # in any case: readers of CSV make truth values of them
SAMPLED_CELLS = 1000
UUID_BYTES = 16
_WHOLE_LABEL = re.compile(r"[+-]?(0|[1-9]\d{0,99})")
_PLAIN_LABEL = re.compile(r"[+-]?(0|[1-9]\d{0,14})(\.\d{0,15})?([eE][+-]?\d{1,2})?")
_MARKED = re.compile(r"""="([^"]+)"|'([+-]?\d[\d.,]*)""")
_TRUE, _FALSE = object(), object()


def distinct(series: pd.Series) -> tuple[IntArray, list[str]]:
    """The distinct texts of a column.

    A value has the same text however the table was stored: 3, 3.0 and "3" are equal, and so are
    true, "True" and "TRUE".

    Returns:
        `(n,)` codes into the texts, -1 where missing, and the texts.
    """
    return _coded(series, as_text, MISSING_TOKENS)


def labelled(series: pd.Series) -> tuple[IntArray, list[Label]]:
    """The distinct labels of a column, one for each class (see `label_key`).

    Where all cells are texts, a label is the first of its texts in the alphabet, else the number
    or truth value that they stand for.

    Returns:
        `(n,)` codes into the labels, -1 where missing, and the labels.
    """
    raw_codes, uniques = factorize(series)
    members: dict[Label, list[Label]] = {}
    keys: list[Label | None] = []
    for label in map(_as_label, uniques):
        key = None if label in MISSING_TOKENS else label_key(label)
        keys.append(key)
        if key is not None:
            members.setdefault(key, []).append(label)
    position = {key: code for code, key in enumerate(members)}
    lookup = np.array([-1 if key is None else position[key] for key in keys] + [-1], dtype=np.int64)
    only_texts = all(isinstance(label, str) for same in members.values() for label in same)
    labels = [
        min(map(str, same)) if only_texts or isinstance(key, str) else _typed(key, same)
        for key, same in members.items()
    ]
    return lookup[raw_codes], labels


def label_key(label: Label) -> Label:
    """What all spellings of a label have in common, so that they are one class.

    1, 1.0, "1", "+1", "1.0", "1e0", true and "True" are one label, and so are 0, "0" and false.
    "01" is another.
    """
    if isinstance(label, int):  # true and false are 1 and 0
        return int(label)
    if isinstance(label, float):
        return int(label) if label.is_integer() else label
    if label.lower() in TRUTHS:
        return int(label.lower() == "true")
    if _WHOLE_LABEL.fullmatch(label):
        return int(label)
    if _PLAIN_LABEL.fullmatch(label):
        return label_key(float(label))
    return label


def in_order(labels: Iterable[Label], last: Label | None = None) -> list[Label]:
    """The labels as classes have codes: numbers, then texts in the alphabet, then the last one.

    "1" comes after "false" where these are the two labels.
    """
    labels = list(labels)
    are_truths = {*map(label_key, labels)} == {0, 1}

    def rank(label: Label) -> tuple[bool, bool, Label]:
        key = label_key(label) if are_truths else label
        return label == last, isinstance(key, str), key

    return sorted(labels, key=rank)


def _typed(key: Label, same: list[Label]) -> Label:
    """A truth value where the label has only those and their texts, else the number."""
    texts = [label.lower() in TRUTHS for label in same if isinstance(label, str)]
    values = [isinstance(label, bool) for label in same if not isinstance(label, str)]
    return bool(key) if all(texts) and all(values) else key


def _coded(
    series: pd.Series, convert: Callable[[object], T], missing: Collection[object]
) -> tuple[IntArray, list[T]]:
    """Codes into the distinct converted values, -1 where missing, and these values."""
    raw_codes, uniques = factorize(series)
    found: dict[T, int] = {}
    lookup = np.full(len(uniques) + 1, -1, dtype=np.int64)
    for position, value in enumerate(map(convert, uniques)):
        if value not in missing:
            lookup[position] = found.setdefault(value, len(found))
    return lookup[raw_codes], list(found)


def factorize(series: pd.Series) -> tuple[IntArray, list[object]]:
    """The distinct values of a column as they are; `True` and 1 are different values.

    Returns:
        `(n,)` codes into the values, -1 where missing, and the values.

    Raises:
        ValueError: for nested values.
    """
    series = relative(series)
    try:
        truths = series.dtype == object and pd.api.types.infer_dtype(series).startswith("mixed")
        codes, uniques = pd.factorize(series.map(_marked) if truths else series)
    except (TypeError, NotImplementedError):
        raise ValueError(
            f"column {str(series.name)!r} holds nested values; a cell must be a number, a text, a "
            "date or true/false"
        ) from None
    values: list[object] = np.asarray(uniques, dtype=object).tolist()
    if truths:
        values = [value is _TRUE if value in (_TRUE, _FALSE) else value for value in values]
    return np.asarray(codes, dtype=np.int64), values


def _marked(value: object) -> object:
    """The value, or an object that stands for true or false: to Python, `True` equals 1."""
    if isinstance(value, bool | np.bool_):
        return _TRUE if value else _FALSE
    return value


def relative(series: pd.Series) -> pd.Series:
    """The column in the type that pandas has for an Arrow, period or sparse type.

    Arrow's numbers, texts and truth values stay as they are: pandas reads them like its own. A
    category of dates or durations is a column of them, because JSON has several texts for each.
    """
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype) and _is_temporal(dtype.categories.dtype):
        return relative(series.astype(dtype.categories.dtype))
    if isinstance(dtype, pd.SparseDtype):
        dense: pd.Series = series.astype(dtype.subtype)
        return dense
    if isinstance(dtype, pd.PeriodDtype):
        starts: pd.Series = series.dt.to_timestamp()
        return starts
    if not isinstance(dtype, pd.ArrowDtype):
        return series
    kind = dtype.pyarrow_dtype
    if pa.types.is_dictionary(kind) or pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        values = pa.array(series).to_pandas(date_as_object=False)
        return pd.Series(values.array, index=series.index, name=series.name)
    if isinstance(kind, pa.BaseExtensionType):  # as of periods
        stored = series.array.__arrow_array__().to_pandas()
        return relative(pd.Series(stored.array, index=series.index, name=series.name))
    return series


def _is_temporal(dtype: object) -> bool:
    return isinstance(dtype, pd.PeriodDtype) or getattr(dtype, "kind", "") in ("M", "m")


def as_text(value: object) -> str:
    """The text of a value as a category."""
    if isinstance(value, str):
        text = bare(normal_name(value))
        if text[:2] in ("b'", 'b"') and text[1:2] == text[-1:]:
            text = text[2:-1]  # as CSV has bytes
        return text.lower() if len(text) in (4, 5) and text.lower() in TRUTHS else text
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    if isinstance(value, bytes):
        return _text_of_bytes(value)
    if isinstance(value, datetime):
        return str(value).removesuffix(" 00:00:00")  # as pandas writes a column of days
    return str(value)


def _text_of_bytes(value: bytes) -> str:
    """UTF-8 text, the UUID that 16 other bytes are in Parquet, or hexadecimal digits."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    if all(char.isprintable() or char.isspace() for char in text) and (text or not value):
        return as_text(text)
    return str(UUID(bytes=value)) if len(value) == UUID_BYTES else value.hex()


def _as_label(value: object) -> Label:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return int(value) if float(value).is_integer() else float(value)
    return bare(normal_name(value)) if isinstance(value, str) else as_text(value)


def bare(text: str) -> str:
    """The text without the marks by which a spreadsheet exports it: `="007"` and `'007` are 007."""
    match = _MARKED.fullmatch(text) if text[:1] in ("=", "'") else None
    return text if match is None else (match[1] or match[2])


def is_nested(series: pd.Series) -> bool:
    """Whether cells hold lists, mappings, arrays or the like."""
    if isinstance(series.dtype, np.dtype) and series.dtype != object:
        return False
    nested = (list, dict, set, np.ndarray)
    return any(isinstance(value, nested) for value in series.head(SAMPLED_CELLS))


def masked(codes: IntArray, per_value: npt.ArrayLike) -> BoolArray:
    """Whether each row has a value that is marked, `(n,)`; a missing one has not."""
    return np.append(np.asarray(per_value, dtype=bool), False)[codes]
