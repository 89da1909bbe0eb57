"""Equal rows of a table, which a random split keeps on one side."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from hpo.arrays import IntArray
from serving.values import factorize, is_nested

CHECKED_COLUMNS = 3  # after so many more columns, rows that differ from all others are left out
LOUD_SHARE = 0.05  # of copies, from which the note is a warning
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
COMMON_ROWS = 5  # a row with more copies than this, and than this share, is a common combination of
COMMON_SHARE = 0.02  # values, as tables with few levels have them, and no copy


def copies(frame: pd.DataFrame, strata: IntArray, least: int) -> IntArray | None:
    """Units `(n,)` of equal rows: each row's number is that of the first row equal to it.

    All columns count, the target too, but not a column that numbers the rows. Rows stay units of
    their own where they are common combinations of values, and in a stratum that has fewer than
    `least` different rows.

    Args:
        frame: the table.
        strata: `(n,)` codes; equal rows of different strata get the stratum of the first.
        least: different rows that a stratum must have.

    Returns:
        None if no rows are equal.
    """
    rows, hashed = _doubled(frame)
    if not len(rows):
        return None
    _, first, inverse, sizes = np.unique(
        hashed, return_index=True, return_inverse=True, return_counts=True
    )
    first = rows[first]
    together = sizes <= max(COMMON_ROWS, COMMON_SHARE * len(frame))
    n_different = np.bincount(strata)
    np.subtract.at(n_different, strata[rows], 1)
    np.add.at(n_different, strata[first], 1)
    together &= (n_different >= least)[strata[first]]
    if not together.any():
        return None
    units = np.arange(len(frame))
    units[rows] = np.where(together[inverse], first[inverse], rows)
    return units


def _doubled(frame: pd.DataFrame) -> tuple[IntArray, npt.NDArray[np.uint64]]:
    """Ascending numbers of the rows that are equal to others, and the hash of each."""
    counted = [series for _, series in frame.items() if not _numbers_rows(series)]
    counted.sort(key=lambda series: series.dtype != np.float64)  # those tell most rows apart
    rows, hashed = np.arange(len(frame)), np.zeros(len(frame), dtype=np.uint64)
    for done, series in enumerate(counted, start=1):
        some = series if len(rows) == len(series) else series.take(rows)
        hashed = hashed * MULTIPLIER + _hashed(some)
        if done % CHECKED_COLUMNS == 0 or done == len(counted):
            doubled = pd.Series(hashed).duplicated(keep=False).to_numpy()
            rows, hashed = rows[doubled], hashed[doubled]
        if not len(rows):
            break
    return (rows, hashed) if counted else (rows[:0], hashed[:0])


def _hashed(series: pd.Series) -> npt.NDArray[np.uint64]:
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "iufbmM":
        values = series.to_numpy()
        return pd.util.hash_array(values + 0.0 if values.dtype.kind == "f" else values)
    codes, _ = factorize(series.map(repr) if is_nested(series) else series)
    return pd.util.hash_array(codes)


def _numbers_rows(series: pd.Series) -> bool:
    """Whether whole numbers count the rows up."""
    if not isinstance(series.dtype, np.dtype) or series.dtype.kind not in "iu":
        return False
    return bool(len(series) > 1 and (np.diff(series.to_numpy()) == 1).all())


def copies_note(n_copies: int, n_rows: int) -> tuple[str, ...]:
    """What the user is told of equal rows."""
    if not n_copies:
        return ()
    text = f"{n_copies:,} of {n_rows:,} rows are equal to another row; equal rows stay on one side"
    if n_copies >= LOUD_SHARE * n_rows:
        text = (
            f"warning: {text} of every split, because a model that has seen a row knows its copy; "
            "leave them out if they are a mistake"
        )
    else:
        text += " of every split"
    return (text,)


def contradictions_note(frame: pd.DataFrame, target: str) -> tuple[str, ...]:
    """What the user is told of rows that differ in nothing but the target.

    Common combinations of values are left out, as in `copies`.
    """
    rows, hashed = _doubled(frame.drop(columns=target))
    if not len(rows):
        return ()
    _, inverse, sizes = np.unique(hashed, return_inverse=True, return_counts=True)
    values, _ = factorize(frame[target].take(rows))
    pairs = np.unique(np.stack([inverse, values]), axis=1)[0]
    differ = (np.bincount(pairs, minlength=len(sizes)) > 1) & (
        sizes <= max(COMMON_ROWS, COMMON_SHARE * len(frame))
    )
    count = int(sizes[differ].sum())
    if count < LOUD_SHARE * len(frame):
        return ()
    return (
        f"{count:,} of {len(frame):,} rows differ from another row in {target} only; no model can "
        "tell them apart",
    )
