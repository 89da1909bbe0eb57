"""Columns that give the target away: equal to it, or enough to predict it alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hpo.arrays import FloatArray, IntArray
from pipelines.table.folds import EncodedRows
from serving.features import FeatureEncoder

MIN_ROWS = 50
MIN_ROWS_PER_LEVEL = 5  # a level of fewer rows foretells its class by chance
MAX_ERRORS = 0.001  # of the rows, and 50 times as much of those outside the largest class
MIN_R2 = 0.9999
SAMPLED_ROWS = 1_000  # of which a column may have `SLACK` times as many errors to be looked at
SLACK = 10


def leak_notes(
    features: FeatureEncoder, table: EncodedRows, rows: IntArray, is_regression: bool
) -> tuple[str, ...]:
    """A warning for each column that predicts the target (nearly) without errors.

    Args:
        features: the encoder of the columns.
        table: encoded rows.
        rows: those that the search may see.
        is_regression: whether the target is a number; else it holds codes.
    """
    if len(rows) < MIN_ROWS:
        return ()
    names, found, y = features.numeric_names, [], table.target[rows]
    few = slice(None, None, max(1, len(rows) // SAMPLED_ROWS))
    for j, name in enumerate(names):
        values = table.features.numeric[rows, j]
        if is_regression:
            tells = _is_line(values, y) or (_is_curve(values[few], y[few]) and _is_curve(values, y))
        else:
            tells = _few_errors(_steps(values[few], y[few]), y[few], times=SLACK)
            tells = tells and _few_errors(_steps(values, y), y)
        if tells:
            found.append(name)
    for j, name in enumerate(features.categorical_names):
        codes = np.unique(table.features.categorical[rows, j], return_inverse=True)[1]
        if np.bincount(codes).mean() < MIN_ROWS_PER_LEVEL:
            continue
        if is_regression:
            means = np.bincount(codes, y) / np.bincount(codes)
            tells = _is_line(means[codes], y)
        else:
            tells = _few_errors(_majority(codes, y), y)
        if tells:
            found.append(name)
    return tuple(
        f"warning: {name} alone predicts the target {'almost ' if is_regression else ''}perfectly; "
        f"if it is known only together with the target, leave it out: drop={name}"
        for name in found
    )


def _is_line(values: FloatArray, y: npt.NDArray[np.float64]) -> bool:
    """Whether the target is a straight line of the values, almost without errors."""
    known = np.isfinite(values)
    if known.mean() < 1 - MAX_ERRORS:
        return False
    values, y = values[known] - values[known].mean(), y[known] - y[known].mean()
    spread = float(values @ values) * float(y @ y)
    return spread > 0 and float(values @ y) ** 2 / spread >= MIN_R2


def _is_curve(values: FloatArray, y: npt.NDArray[np.float64]) -> bool:
    """Whether the target rises, or falls, with the values, almost without errors."""
    known = np.isfinite(values)
    if known.mean() < 1 - MAX_ERRORS:
        return False
    return _is_line(_ranks(values[known]), _ranks(y[known]))


def _ranks(values: npt.NDArray[np.float64]) -> FloatArray:
    """The rank of each value; equal ones share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: FloatArray = (ends - (counts - 1) / 2)[place]
    return ranks


def _steps(values: FloatArray, y: IntArray) -> IntArray:
    """The class of each row by the best steps: as many ranges of the values as there are classes.

    The ranges are those of the classes' medians, each cut half-way between the ranks of two.
    """
    order = np.argsort(values, kind="stable")  # missing values come last
    ordered, values = y[order], values[order]
    n = int(y.max()) + 1
    present = np.flatnonzero(np.bincount(y, minlength=n))
    places = [np.median(np.flatnonzero(ordered == c)) for c in present]
    predicted = np.empty(len(y), dtype=np.int64)
    sequence = present[np.argsort(places)]
    cuts = np.cumsum(np.bincount(y, minlength=n)[sequence])[:-1]
    cuts = np.searchsorted(values, values[cuts])  # equal values are on one side
    predicted[order] = sequence[np.searchsorted(cuts, np.arange(len(y)), side="right")]
    return predicted


def _majority(codes: IntArray, y: IntArray) -> IntArray:
    """The most frequent class of each row's level."""
    counts = np.zeros((codes.max() + 1, y.max() + 1), dtype=np.int64)
    np.add.at(counts, (codes, y), 1)
    likeliest: IntArray = counts.argmax(axis=1)[codes]
    return likeliest


def _few_errors(predicted: IntArray, y: IntArray, times: float = 1) -> bool:
    errors = int((predicted != y).sum())
    others = len(y) - int(np.bincount(y).max())
    most = times * MAX_ERRORS
    return errors <= most * len(y) and errors <= 50 * most * others
