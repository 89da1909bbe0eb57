"""Preprocessing of the tabular network: from encoded rows to tensors.

It follows RealMLP (Holzmüller, Grinsztajn and Steinwart, "Better by Default", NeurIPS 2024).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from serving.values import CodeArray, FloatArray, IntArray

ONE_HOT_LEVELS = 9
CLIP = 3.0
BATCH_ROWS = 8192


@dataclass(frozen=True)
class Preprocessing:
    """Statistics of the training rows, with which all rows are encoded.

    The dense matrix holds, in this order: the numeric columns in the order of `order` (those to
    embed first); a 0/1 column for each numeric column of `indicators`, 1 where it is missing; and
    the one-hot columns of the categorical columns with up to `ONE_HOT_LEVELS` known levels (a
    single -1/+1 column if there are two). All columns are centred by the median, divided by the
    interquartile range and squashed by x / sqrt(1 + (x / 3)²).

    Attributes:
        order: `(p,)` columns of the numeric matrix.
        medians: `(p,)` imputed where missing, in that order.
        indicators: `(m,)` positions within `order`.
        tables: q arrays `(cardinality,)`; `tables[j][code]` is 0 for a level of column j that no
            training row had, else its rank from 1.
        centre: `(d,)` of the dense columns.
        scale: `(d,)` factors of the dense columns.
    """

    order: IntArray
    medians: FloatArray
    indicators: IntArray
    tables: tuple[IntArray, ...]
    centre: FloatArray
    scale: FloatArray

    @property
    def embedded(self) -> tuple[int, ...]:
        """The categorical columns with too many levels for one-hot columns."""
        return tuple(j for j, table in enumerate(self.tables) if _n_known(table) > ONE_HOT_LEVELS)

    @property
    def levels(self) -> tuple[int, ...]:
        """The number of known levels of each embedded column."""
        return tuple(_n_known(self.tables[j]) for j in self.embedded)

    def raw(self, numeric: FloatArray, categorical: CodeArray) -> FloatArray:
        """`(n, d)` dense columns before centring and scaling."""
        ordered = numeric[:, self.order]
        missing = np.isnan(ordered)
        filled = np.where(missing, self.medians, ordered)
        blocks = [filled, missing[:, self.indicators].astype(np.float64)]
        for j, table in enumerate(self.tables):
            if _n_known(table) <= ONE_HOT_LEVELS:
                blocks.append(_one_hot(_ranks(table, categorical[:, j]), _n_known(table)))
        return np.concatenate(blocks, axis=1)

    def transform(self, numeric: FloatArray, categorical: CodeArray) -> tuple[Tensor, Tensor]:
        """`(n, d)` float32 dense columns and `(n, e)` int64 rows of the stacked embedding table."""
        dense = np.empty((len(numeric), len(self.centre)), dtype=np.float32)
        for block in blocks(len(numeric)):
            raw = self.raw(numeric[block], categorical[block])
            scaled = np.clip((raw - self.centre) * self.scale, -1e6, 1e6)
            dense[block] = scaled / np.sqrt(1 + (scaled / CLIP) ** 2)
        return torch.from_numpy(dense), torch.from_numpy(self._lookup(categorical))

    def _lookup(self, categorical: CodeArray) -> IntArray:
        """Rows of the embedding table: an unknown level per column, then all known levels."""
        out = np.empty((len(categorical), len(self.embedded)), dtype=np.int64)
        offset = len(self.embedded) - 1
        for position, (j, levels) in enumerate(zip(self.embedded, self.levels, strict=True)):
            ranks = _ranks(self.tables[j], categorical[:, j])
            out[:, position] = np.where(ranks == 0, position, offset + ranks)
            offset += levels
        return out

    def to_tensors(self) -> dict[str, Tensor]:
        """All arrays as tensors, the tables concatenated."""
        flat = np.concatenate([np.empty(0, np.int64), *self.tables])
        lengths = np.array([len(table) for table in self.tables], dtype=np.int64)
        arrays = {
            "order": self.order,
            "medians": self.medians,
            "indicators": self.indicators,
            "centre": self.centre,
            "scale": self.scale,
            "tables": flat,
            "lengths": lengths,
        }
        return {
            name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Preprocessing:
        """The inverse of `to_tensors`."""
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        flat, lengths = arrays.pop("tables"), arrays.pop("lengths")
        tables = np.split(flat, np.cumsum(lengths)[:-1]) if len(lengths) else []
        return cls(tables=tuple(tables), **arrays)


def blocks(n: int) -> list[slice]:
    """Slices of `BATCH_ROWS` rows; one empty slice if there are no rows."""
    return [slice(start, start + BATCH_ROWS) for start in range(0, max(n, 1), BATCH_ROWS)]


def _n_known(table: IntArray) -> int:
    return int(table.max(initial=0))


def _ranks(table: IntArray, codes: CodeArray) -> IntArray:
    """The rank of each code; 0 where it is unknown (negative, beyond the table, or untrained)."""
    known = (codes >= 0) & (codes < len(table))
    return np.where(known, np.append(table, 0)[np.where(known, codes, len(table))], 0)


def _one_hot(ranks: IntArray, known: int) -> FloatArray:
    """`(n, known)` columns of 0 and 1; for two levels one column of -1, 0 (unknown), +1."""
    if known < 2:
        return np.empty((len(ranks), 0))
    if known == 2:
        return np.array([0.0, -1.0, 1.0])[ranks][:, None]
    return np.eye(known + 1)[ranks][:, 1:]
