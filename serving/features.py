"""Preprocessing of raw tables, stored as JSON and independent of any model library.

Types are inferred once, on the rows that the search uses, and recorded. From then on a raw table is
only encoded. A logged model carries the same object, so training and serving cannot diverge.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from serving.columns import (
    CategoricalColumn,
    CodeArray,
    Column,
    DateColumn,
    column_from_dict,
    column_to_dict,
)
from serving.names import normal_names
from serving.numbers import PLAIN, NumberFormat, numbers
from serving.values import FloatArray, IntArray, Label, label_key, labelled

ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Matrix:
    """Encoded rows.

    Attributes:
        numeric: `(n, p)` float64, `nan` where missing.
        categorical: `(n, q)` int32 codes below the column's cardinality, -1 where unknown.
        joined: what `dense` gives in float64, where that is stored; `numeric` is a part of it.
    """

    numeric: FloatArray
    categorical: CodeArray
    joined: FloatArray | None = None

    def __len__(self) -> int:
        """The number of rows."""
        return int(self.numeric.shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of rows and of columns."""
        return len(self), int(self.numeric.shape[1] + self.categorical.shape[1])

    def take(self, rows: IntArray) -> Matrix:
        """The given rows, in the given order."""
        return Matrix(self.numeric[rows], self.categorical[rows])

    def dense(self, dtype: npt.DTypeLike = np.float64) -> npt.NDArray[np.floating]:
        """One `(n, p + q)` float array: numeric columns, then codes with `nan` where unknown.

        Numbers are clipped to a quarter of the range of `dtype`, so that a library may add to them.
        """
        out = np.empty(self.shape, dtype=dtype)
        self.write(out)
        return out

    def write(self, out: npt.NDArray[np.floating]) -> None:
        """Write what `dense` gives into an array of its shape."""
        p, largest = self.numeric.shape[1], _largest(out.dtype)
        np.clip(self.numeric, -largest, largest, out=out[:, :p], casting="same_kind")
        out[:, p:] = self.categorical
        out[:, p:][self.categorical < 0] = np.nan

    @property
    def readable(self) -> FloatArray:
        """What `dense` gives, to be read only: it is not copied where it is stored."""
        return np.asarray(self.dense() if self.joined is None else self.joined, dtype=np.float64)

    @property
    def can_be_joined(self) -> bool:
        """Whether `dense` leaves all numbers as they are."""
        largest = _largest(np.dtype(np.float64))
        low, high = (
            float(extreme.reduce(self.numeric, axis=None, initial=0.0))
            for extreme in (np.fmin, np.fmax)
        )
        return -largest <= low and high <= largest


@dataclass(frozen=True)
class FeatureEncoder:
    """Encodes a raw table as a `Matrix`; columns are found by name."""

    columns: tuple[Column, ...]

    @cached_property
    def numeric_names(self) -> tuple[str, ...]:
        """Names of the numeric columns of the matrix; parts of a date are named `column.part`."""
        return tuple(chain.from_iterable(column.numeric_names for column in self.columns))

    @cached_property
    def _categorical(self) -> tuple[CategoricalColumn, ...]:
        return tuple(column for column in self.columns if isinstance(column, CategoricalColumn))

    @property
    def categorical_names(self) -> tuple[str, ...]:
        """Names of the categorical columns of the matrix."""
        return tuple(column.name for column in self._categorical)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of codes of each categorical column."""
        return tuple(column.cardinality for column in self._categorical)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the raw columns that are read."""
        return tuple(column.name for column in self.columns)

    def transform(self, frame: pd.DataFrame) -> Matrix:
        """Encode a raw table, whatever the order of its columns; additional columns are ignored.

        Names are compared in their normal form, as in training.

        Raises:
            ValueError: for missing columns (all are named), infinite values, and entries that
                cannot be read as the column's type if all training rows could.
        """
        positions = self._positions(frame)
        numeric: list[FloatArray] = []
        categorical: list[CodeArray] = []
        for column in self.columns:
            series = frame.iloc[:, positions[column.name]]
            if isinstance(column, CategoricalColumn):
                categorical.append(column.encode(series))
            elif isinstance(column, DateColumn):
                numeric.extend(column.encode(series).T)
            else:
                numeric.append(column.encode(series))
        return Matrix(
            _stack(numeric, len(frame), np.float64), _stack(categorical, len(frame), np.int32)
        )

    def _positions(self, frame: pd.DataFrame) -> dict[str, int]:
        """The position of each column by its name."""
        names = normal_names(frame.columns)
        counts = Counter(names)
        lacking = [name for name in self.inputs if not counts[name]]
        if lacking:
            others = [name for name in names if name not in self.inputs]
            shown = ", ".join(_with_closest(name, others) for name in lacking)
            raise ValueError(
                f"the table lacks {len(lacking)} column(s) that the model needs: {shown}"
            )
        doubled = sorted(name for name in self.inputs if counts[name] > 1)
        if doubled:
            raise ValueError(f"column(s) given more than once: {', '.join(map(repr, doubled))}")
        return {name: position for position, name in enumerate(names)}

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable form."""
        return {"columns": [column_to_dict(column) for column in self.columns]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FeatureEncoder:
        """The inverse of `to_dict`."""
        return cls(tuple(column_from_dict(entry) for entry in data["columns"]))


@dataclass(frozen=True)
class TargetEncoder:
    """Encodes the target column: as int64 class codes, or as (value - mean) / scale.

    Attributes:
        kind: of the task: binary, multiclass or regression.
        classes: the labels of a classification; a code is an index into them, and of two labels the
            second counts as positive.
        mean: of a regression target.
        scale: of a regression target.
        format: how the texts of a regression target write a number.
    """

    kind: str
    classes: tuple[Label, ...] = ()
    mean: float = 0.0
    scale: float = 1.0
    format: NumberFormat = PLAIN

    def encode(self, series: pd.Series) -> npt.NDArray[np.int64] | FloatArray:
        """`(n,)` codes or standardised values.

        Raises:
            ValueError: for labels that are no class.
        """
        if self.kind == "regression":
            return (numbers(series, self.format)[0] - self.mean) / self.scale
        codes, labels = labelled(series)
        known = {label_key(label): code for code, label in enumerate(self.classes)}
        unknown = [label for label in labels if label_key(label) not in known]
        if unknown or (codes < 0).any():
            shown = ", ".join(map(repr, unknown[:5])) or "missing"
            raise ValueError(
                f"target holds labels that are no class: {shown}; classes: {list(self.classes)}"
            )
        return np.array([known[label_key(label)] for label in labels], dtype=np.int64)[codes]

    def original(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Standardised values in original units; codes and probabilities unchanged."""
        return values * self.scale + self.mean if self.kind == "regression" else values

    def labels(self, probabilities: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The labels `(n,)` of the most probable classes, from `(n, k)` probabilities."""
        likeliest: npt.NDArray[Any] = _label_array(self.classes)[probabilities.argmax(axis=1)]
        return likeliest

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable form."""
        return {
            "kind": self.kind,
            "classes": list(self.classes),
            "mean": self.mean,
            "scale": self.scale,
            "format": asdict(self.format),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TargetEncoder:
        """The inverse of `to_dict`."""
        return cls(
            data["kind"],
            tuple(data["classes"]),
            float(data["mean"]),
            float(data["scale"]),
            NumberFormat(**data["format"]),
        )


def _largest(dtype: np.dtype[Any]) -> float:
    """The largest number to which a library may add without an overflow."""
    return float(np.finfo(dtype).max) / 4


def _stack(
    columns: Sequence[npt.NDArray[Any]], n_rows: int, dtype: npt.DTypeLike
) -> npt.NDArray[Any]:
    """The columns as a matrix, filled block by block so that whole rows stay in the cache."""
    out = np.empty((n_rows, len(columns)), dtype=dtype)
    for start in range(0, n_rows if columns else 0, ROWS_AT_ONCE):
        block = slice(start, start + ROWS_AT_ONCE)
        for j, column in enumerate(columns):
            out[block, j] = column[block]
    return out


def _label_array(classes: Sequence[Label]) -> npt.NDArray[Any]:
    """The labels as objects, unless all are numbers or booleans of one type."""
    types = set(map(type, classes))
    if len(types) == 1 and types != {str}:
        return np.array(classes)
    labels = np.empty(len(classes), dtype=object)
    labels[:] = classes
    return labels


def _with_closest(name: str, names: Sequence[str]) -> str:
    match = get_close_matches(name, names, n=1)
    return f"{name!r} (the table has {match[0]!r})" if match else repr(name)
