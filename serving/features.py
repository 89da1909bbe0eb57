"""Preprocessing of raw tables, stored as JSON and free of any model library.

Types are inferred once, on the rows that the search may see, and recorded; from then on a raw table
is only translated. A logged model carries this very object, so that training and serving cannot
drift apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
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
from serving.values import FloatArray, IntArray, Label, labelled, numbers

ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Matrix:
    """Encoded rows.

    ``numeric``: (n, p) float64, ``nan`` where a value is missing. ``categorical``: (n, q) int32
    codes below the column's cardinality, -1 where the value is unknown.
    """

    numeric: FloatArray
    categorical: CodeArray

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.numeric.shape[0])

    def take(self, rows: IntArray) -> Matrix:
        """Return the given rows, in the given order."""
        return Matrix(self.numeric[rows], self.categorical[rows])

    def dense(self, dtype: npt.DTypeLike = np.float64) -> npt.NDArray[np.floating]:
        """Return one (n, p + q) float array: numeric columns, then codes with ``nan`` for unknown ones.

        Numbers too large for ``dtype`` are cut, with room left for a library that adds to them.
        """
        p = self.numeric.shape[1]
        out = np.empty((len(self), p + self.categorical.shape[1]), dtype=dtype)
        largest = float(np.finfo(out.dtype).max) / 4
        np.clip(self.numeric, -largest, largest, out=out[:, :p], casting="same_kind")
        out[:, p:] = self.categorical
        out[:, p:][self.categorical < 0] = np.nan
        return out


@dataclass(frozen=True)
class FeatureEncoder:
    """Translation of a raw table into a ``Matrix``; columns are found by name."""

    columns: tuple[Column, ...]

    @cached_property
    def numeric_names(self) -> tuple[str, ...]:
        """Names of the numeric columns of the matrix; parts of a date are called ``column.part``."""
        names: list[str] = []
        for column in self.columns:
            if isinstance(column, DateColumn):
                names += [f"{column.name}.{part}" for part in column.parts]
            elif not isinstance(column, CategoricalColumn):
                names.append(column.name)
        return tuple(names)

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
        """Encode a raw table of any column order; columns that training did not use are ignored.

        Raises ``ValueError`` for missing columns (all named), for values that are infinite, and for
        entries that cannot be read as the column's type where every training row could.
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
        names = [str(name) for name in frame.columns]
        positions = {name: position for position, name in enumerate(names)}
        lacking = [name for name in self.inputs if name not in positions]
        if lacking:
            spare = [name for name in names if name not in self.inputs]
            named = ", ".join(_with_closest(name, spare) for name in lacking)
            raise ValueError(
                f"the table lacks {len(lacking)} column(s) that the model needs: {named}"
            )
        if len(positions) < len(names):
            doubled = sorted({name for name in self.inputs if names.count(name) > 1})
            if doubled:
                raise ValueError(f"column(s) given more than once: {', '.join(map(repr, doubled))}")
        return positions

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable form."""
        return {"columns": [column_to_dict(column) for column in self.columns]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FeatureEncoder:
        """Read what ``to_dict`` wrote."""
        return cls(tuple(column_from_dict(entry) for entry in data["columns"]))


@dataclass(frozen=True)
class TargetEncoder:
    """Translation of the target column.

    Classification: int64 codes in the order of ``classes`` (the labels as they stand in the table,
    sorted). Regression: ``(value - mean) / scale``. ``kind`` is binary, multiclass or regression.
    """

    kind: str
    classes: tuple[Label, ...] = ()
    mean: float = 0.0
    scale: float = 1.0

    def encode(self, series: pd.Series) -> npt.NDArray[np.int64] | FloatArray:
        """Return (n,) codes or standardised values; a label that is no class is a ``ValueError``."""
        if self.kind == "regression":
            return (numbers(series)[0] - self.mean) / self.scale
        codes, labels = labelled(series)
        known = {label: code for code, label in enumerate(self.classes)}
        strange = [label for label in labels if label not in known]
        if strange or (codes < 0).any():
            shown = ", ".join(map(repr, strange[:5])) or "missing"
            raise ValueError(
                f"target holds labels that are no class: {shown}; classes: {list(self.classes)}"
            )
        return np.array([known[label] for label in labels], dtype=np.int64)[codes]

    def original(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return standardised values in original units; codes and probabilities as they are."""
        return values * self.scale + self.mean if self.kind == "regression" else values

    def labels(self, probabilities: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the labels (n,) of the likeliest classes for (n, k) probabilities."""
        likeliest: npt.NDArray[Any] = _label_array(self.classes)[probabilities.argmax(axis=1)]
        return likeliest

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable form."""
        return {
            "kind": self.kind,
            "classes": list(self.classes),
            "mean": self.mean,
            "scale": self.scale,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TargetEncoder:
        """Read what ``to_dict`` wrote."""
        return cls(data["kind"], tuple(data["classes"]), float(data["mean"]), float(data["scale"]))


def _stack(
    columns: Sequence[npt.NDArray[Any]], n_rows: int, dtype: npt.DTypeLike
) -> npt.NDArray[Any]:
    out = np.empty((n_rows, len(columns)), dtype=dtype)
    for start in range(0, n_rows if columns else 0, ROWS_AT_ONCE):  # whole rows stay in the cache
        block = slice(start, start + ROWS_AT_ONCE)
        for j, column in enumerate(columns):
            out[block, j] = column[block]
    return out


def _label_array(classes: Sequence[Label]) -> npt.NDArray[Any]:
    if (
        all(isinstance(label, str) for label in classes)
        or len({type(label) for label in classes}) > 1
    ):
        labels = np.empty(len(classes), dtype=object)
        labels[:] = classes
        return labels
    return np.array(classes)


def _with_closest(name: str, names: Sequence[str]) -> str:
    match = get_close_matches(name, names, n=1)
    return f"{name!r} (the table has {match[0]!r})" if match else repr(name)
