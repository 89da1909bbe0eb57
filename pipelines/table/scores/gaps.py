"""Differences between the groups of a column, as fairlearn defines and computes them.

`demographic_parity:COLUMN` is the largest difference between two groups in the share of rows that
are predicted as positive; `equalized_odds:COLUMN` the larger one of the largest differences in the
true positive rate and in the false positive rate (Hardt, Price & Srebro, 2016, "Equality of
opportunity in supervised learning"). 0 is no difference, 1 the largest.
"""

from __future__ import annotations

from importlib import metadata
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hpo.arrays import FloatArray, IntArray
from hpo.errors import ParameterError, closest, counted
from serving.names import normal_name
from serving.values import distinct

if TYPE_CHECKING:
    import pandas as pd

GAPS = MappingProxyType(  # name -> function of fairlearn.metrics
    {
        "demographic_parity": "demographic_parity_difference",
        "equalized_odds": "equalized_odds_difference",
    }
)
MAX_GROUPS = 20
INSTALL = "pip install 'mlflow-warmstart[fairness]'"
_EXAMPLE = "equalized_odds:sex"


def is_gap(name: str) -> bool:
    """Whether a metric is a gap between the groups of a column."""
    return name.partition(":")[0] in GAPS


def column_of(name: str) -> str:
    """The column of a gap, in the normal form of its name."""
    return normal_name(name.partition(":")[2].strip())


def check_gap(
    name: str, kind: str, frame: pd.DataFrame | None = None, target: str | None = None
) -> None:
    """Check what can be known of a gap.

    Args:
        name: of the metric.
        kind: of the task.
        frame: the raw table; None if it is not read yet.
        target: the name of its target.

    Raises:
        ParameterError: without a column or fairlearn, for a task that is not binary, and for a
            column that has no groups.
    """
    column = column_of(name)
    if not column:
        raise ParameterError(
            f"metric {name!r} needs a column whose groups it compares, such as {_EXAMPLE}"
        )
    if kind != "binary":
        raise ParameterError(
            f"metric {name!r} is for binary tasks, but this one is {kind}; leave it out"
        )
    try:
        metadata.version("fairlearn")
    except metadata.PackageNotFoundError:
        raise ParameterError(
            f"metric {name!r} needs the library fairlearn, which is not installed; run {INSTALL}"
        ) from None
    if frame is not None:
        _check_column(name, column, frame, target)


def _check_column(name: str, column: str, frame: pd.DataFrame, target: str | None) -> None:
    names = [str(each) for each in frame.columns if each != target]
    if column not in names:
        raise ParameterError(
            f"metric {name!r}: the table has no column {column!r} beside the target"
            f"{closest(column, names)}"
        )
    n_groups = len(np.unique(group_codes(frame[column])))
    if not 2 <= n_groups <= MAX_GROUPS:
        raise ParameterError(
            f"metric {name!r}: {column} has {counted(n_groups, 'value')}; it compares 2 to "
            f"{MAX_GROUPS} groups: take another column, or add one with fewer values, such as "
            "ranges"
        )


def group_codes(column: pd.Series) -> IntArray:
    """`(n,)` the group of each row; missing values are a group of their own."""
    codes, labels = distinct(column)
    return np.where(codes < 0, len(labels), codes).astype(np.int64)


def gap(
    name: str,
    y: npt.NDArray[Any],
    prediction: FloatArray,
    groups: IntArray,
    weight: FloatArray | None = None,
) -> float:
    """The gap between the groups of some rows.

    Args:
        name: of the metric.
        y: `(n,)` codes of two classes, of which 1 is positive.
        prediction: `(n, 2)` probabilities; the more probable class is predicted.
        groups: `(n,)` codes.
        weight: `(n,)` weights of the rows; None for equal ones.
    """
    from fairlearn import metrics

    difference = getattr(metrics, GAPS[name.partition(":")[0]])
    labels = prediction.argmax(axis=1)
    return float(difference(y, labels, sensitive_features=groups, sample_weight=weight))
