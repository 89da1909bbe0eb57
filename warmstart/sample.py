"""A small random sample of a table that depends only on the table's content.

The order of the rows and columns and the names of the columns do not matter. Rows and columns are
identified by hashes of their cells, as in the colour refinement of graphs (Weisfeiler and Lehman,
1968): a column by its cells and the target, a row by its cells within their columns, and then a
column again by its cells within their rows. Sorting by hash gives the same order for all
arrangements of a table, and the smallest hashes are a random sample of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype

from hpo.arrays import FloatArray, IntArray
from warmstart.cells import read_column

KINDS = ("binary", "multiclass", "regression")
MIN_PER_CLASS = 10
TEXT_COST = 10  # of reading a text, in numbers

HashArray = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Caps:
    """Limits on the cost of meta-features.

    Attributes:
        rows: of the sample.
        columns: of the sample.
        landmark_rows: that models are trained and tested on, together.
        cells: that are read and hashed, where a text counts as ten numbers. Of a larger table,
            random rows are taken first; the sample then depends on the order of the rows.
    """

    rows: int = 2_000
    columns: int = 60
    landmark_rows: int = 1_000
    cells: int = 5_000_000


@dataclass(frozen=True)
class Sample:
    """Some rows and columns of a table, in the order of their hashes.

    Attributes:
        numeric: `(n, p)` numbers, `nan` where missing, no larger than 1e100 in size.
        categorical: `(n, q)` codes, -1 where missing.
        target: `(n,)` class codes 0 … k - 1, or numbers no larger than 1e100 in size.
        kind: of the task: binary, multiclass or regression.
        n_rows: of the whole table, without rows that have no target.
        n_columns: of the whole table.
        n_categorical: number of categorical columns of the whole table.
        class_counts: `(k,)` rows of each class in the whole table; empty for a regression.
    """

    numeric: FloatArray
    categorical: IntArray
    target: FloatArray
    kind: str
    n_rows: int
    n_columns: int
    n_categorical: int
    class_counts: IntArray

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.target)

    def head(self, n: int) -> "Sample":
        """The first `n` rows, which are a random sample themselves."""
        return replace(
            self, numeric=self.numeric[:n], categorical=self.categorical[:n], target=self.target[:n]
        )


def draw(frame: pd.DataFrame, target: npt.ArrayLike, kind: str, seed: int, caps: Caps) -> Sample:
    """Sample a table.

    Rows whose target is unknown (a negative code, or not finite) are left out. The sample holds at
    least 10 rows of each class if the table does, so that rare classes can be learned.

    Args:
        frame: the feature columns.
        target: `(n,)` class codes, or numbers for a regression.
        kind: of the task: binary, multiclass or regression.
        seed: of the sample.
        caps: its size.

    Raises:
        ValueError: for an unknown `kind`, if the target has not one value for each row, and if a
            binary target has more than two classes.
    """
    y = _checked(frame, target, kind)
    known = np.flatnonzero(np.isfinite(y) & ((kind == "regression") | (y >= 0)))
    class_counts = _recode(y, known, kind)
    rows = _thinned(known, max(caps.rows, caps.cells // max(1, _cost_per_row(frame))), seed)
    columns = [read_column(column.take(rows)) for _, column in frame.items()]
    is_numeric = np.array([column.dtype == np.float64 for column in columns], dtype=bool)
    chosen, order = _order(columns, y[rows], kind, seed, caps)
    numeric = [_rescaled(columns[j][chosen]) for j in order[is_numeric[order]]]
    categorical = [columns[j][chosen] for j in order[~is_numeric[order]]]
    sampled_target = y[rows][chosen]
    return Sample(
        numeric=as_columns(numeric, len(chosen), np.float64),
        categorical=as_columns(categorical, len(chosen), np.int64),
        target=_rescaled(sampled_target) if kind == "regression" else sampled_target,
        kind=kind,
        n_rows=len(known),
        n_columns=len(columns),
        n_categorical=int(np.count_nonzero(~is_numeric)),
        class_counts=class_counts,
    )


def _recode(y: FloatArray, known: IntArray, kind: str) -> IntArray:
    """Make the known classes consecutive codes in place, and count them; none for a regression."""
    if kind == "regression":
        return np.zeros(0, dtype=np.int64)
    _, y[known], counts = np.unique(y[known], return_inverse=True, return_counts=True)
    if kind == "binary" and len(counts) > 2:
        raise ValueError(
            f"a binary target has at most 2 classes, but got {len(counts)}; give kind='multiclass'"
        )
    return counts.astype(np.int64)


def as_columns(
    columns: Sequence[npt.NDArray[Any]], n_rows: int, dtype: npt.DTypeLike
) -> npt.NDArray[Any]:
    """The `(n,)` columns as a matrix `(n, d)`, also if there are none."""
    return np.array(columns, dtype=dtype).reshape(len(columns), n_rows).T


def _checked(frame: pd.DataFrame, target: npt.ArrayLike, kind: str) -> FloatArray:
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, but got {kind!r}")
    y = np.array(target, dtype=np.float64)
    if y.shape != (len(frame),):
        raise ValueError(
            f"the target needs one value for each of the {len(frame):,} rows, but has the shape "
            f"{y.shape}; give class codes or numbers in the order of the rows"
        )
    return y


def _cost_per_row(frame: pd.DataFrame) -> int:
    """The cost of reading a row, in numbers."""
    cheap = sum(is_numeric_dtype(dtype) or is_datetime64_any_dtype(dtype) for dtype in frame.dtypes)
    return cheap + TEXT_COST * (frame.shape[1] - cheap)


def _thinned(rows: IntArray, limit: int, seed: int) -> IntArray:
    if len(rows) <= limit:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, limit, replace=False, shuffle=False))


def _order(
    columns: list[FloatArray | IntArray], y: FloatArray, kind: str, seed: int, caps: Caps
) -> tuple[IntArray, IntArray]:
    """The rows and the columns of the sample, in the order of their hashes."""
    start = _mix(np.array([seed % 2**64], dtype=np.uint64))
    cells = [_mix(_bits(column) ^ start) for column in columns]
    target = _mix(_bits(y) ^ start)
    row_hash = target.copy()
    for cell in cells:
        row_hash += _mix(cell + _mix(cell + target).sum(dtype=np.uint64, keepdims=True))
    row_hash = _mix(row_hash)
    # Duplicate rows must not be taken together, so each is hashed with its number among them.
    row_key = _mix(row_hash + _mix(_rank_within(row_hash).astype(np.uint64)))
    by_key = np.argsort(row_key, kind="stable")
    if kind != "regression":
        classes = y[by_key]
        first = min(MIN_PER_CLASS, caps.rows // (2 * max(1, len(np.unique(classes)))))
        by_key = by_key[np.argsort(_rank_within(classes) >= first, kind="stable")]
    rows = by_key[: caps.rows]
    column_hash = np.array(
        [_mix(cell[rows] + row_hash[rows]).sum(dtype=np.uint64) for cell in cells], dtype=np.uint64
    )
    return rows, np.argsort(column_hash, kind="stable")[: caps.columns]


def _rank_within(groups: npt.NDArray[np.float64 | np.uint64]) -> IntArray:
    """`(n,)`: the number of earlier entries that are equal to this one."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ordered) else order
    rank = np.empty(len(groups), dtype=np.int64)
    rank[order] = np.arange(len(groups)) - np.repeat(first, np.diff(np.r_[first, len(groups)]))
    return rank


def _bits(column: FloatArray | IntArray) -> HashArray:
    if column.dtype == np.float64:
        # One zero and one `nan`, whatever their signs.
        return np.where(np.isnan(column), np.nan, column + 0.0).view(np.uint64)
    return column.astype(np.int64).view(np.uint64)


def _mix(x: HashArray) -> HashArray:
    """Hash with the finaliser of SplitMix64.

    Steele, Lea and Flood (2014), "Fast splittable pseudorandom number generators".
    """
    z = x + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _rescaled(values: FloatArray) -> FloatArray:
    """The numbers, times a power of two if their squares would overflow or underflow."""
    largest = np.max(np.abs(values), initial=0.0, where=~np.isnan(values))
    if largest == 0 or 1e-100 <= largest <= 1e100:
        return values
    return np.ldexp(values, -int(np.frexp(largest)[1]))
