"""Meta-features: up to fifty numbers that describe a table and its task.

Studies of similar tables are found by them. All formulas and their sources are in
`docs/meta-features.md`. A name is `group.feature`.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hpo.arrays import FloatArray, IntArray
from warmstart.sample import Caps, Sample, draw
from warmstart.statistics import (
    binned,
    counts_of,
    entropy,
    evenness,
    kurtosis,
    mutual_information,
    outlier_share,
    skewness,
    standardised,
    winsorised,
)

VERSION = 1
"""Of the set of features. If a formula changes, its feature gets a new name."""

BINS = 10
MIN_INFORMATION = 1e-3
INFORMATIVE = 0.01
HIGH_CORRELATION = 0.8

Column = FloatArray | IntArray
"""`(n,)` numbers with `nan` where missing, or codes with -1 where missing."""


@dataclass(frozen=True)
class MetaFeatures:
    """The description of a table and its task.

    Attributes:
        values: finite numbers by `group.feature`; undefined ones are left out.
        version: of the set of features, see `VERSION`.
        caps: limits on the sample, see `warmstart.sample.Caps`.
        seed: of the sample and of the landmarks.
    """

    values: Mapping[str, float]
    version: int
    caps: Mapping[str, int]
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "MetaFeatures":
        """The inverse of `to_dict`, for this version and older ones.

        Raises:
            ValueError: for a newer version, and for a value that is not finite.
        """
        if data["version"] > VERSION:
            raise ValueError(
                f"meta-features of version {data['version']} were written by a newer release, this "
                f"one reads up to {VERSION}; update it"
            )
        values = {str(name): float(value) for name, value in data["values"].items()}
        for name, value in values.items():
            if not math.isfinite(value):
                raise ValueError(
                    f"meta-features must be finite, but {name} is {value}; leave it out"
                )
        return cls(values, int(data["version"]), dict(data["caps"]), int(data["seed"]))


def meta_features(
    frame: pd.DataFrame, target: npt.ArrayLike, kind: str, seed: int = 0, caps: Caps | None = None
) -> MetaFeatures:
    """Describe a table. No content of the table is an error; undefined features are left out.

    Args:
        frame: the raw feature columns.
        target: `(n,)` class codes, or numbers for a regression; rows with negative codes or `nan`
            are left out.
        kind: of the task: binary, multiclass or regression.
        seed: of the sample and of the landmarks.
        caps: limits on the cost, in rows, columns and cells.

    Raises:
        ValueError: for an unknown `kind`, if the target has not one value for each row, and if a
            binary target has more than two classes.
    """
    from warmstart.landmarks import landmarks  # scikit-learn takes a second to import

    caps = caps or Caps()
    sample = draw(frame, target, kind, seed, caps)
    values: dict[str, float] = {}
    with np.errstate(all="ignore"):
        for group, describe in GROUPS.items():
            values |= _prefixed(group, describe(sample))
        scores = landmarks(sample.head(caps.landmark_rows), seed)
    values |= _prefixed("landmarks", scores)
    finite = {name: value for name, value in values.items() if math.isfinite(value)}
    return MetaFeatures(finite, VERSION, asdict(caps), seed)


def _prefixed(group: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{group}.{name}": float(value) for name, value in values.items()}


def _size(sample: Sample) -> dict[str, float]:
    rows, columns = np.log([sample.n_rows, sample.n_columns])
    return {"log_rows": rows, "log_columns": columns, "log_columns_per_row": columns - rows}


def _task(sample: Sample) -> dict[str, float]:
    flags = {name: float(sample.kind == name) for name in ("regression", "multiclass")}
    if sample.kind == "regression":
        return flags
    return flags | {"log_classes": np.log(len(sample.class_counts))}


def _columns(sample: Sample) -> dict[str, float]:
    missing = np.hstack([np.isnan(sample.numeric), sample.categorical < 0])
    n_distinct = _per_column(_n_distinct, _all_columns(sample))
    return {
        "categorical_share": np.divide(sample.n_categorical, sample.n_columns),
        "binary_share": _mean(n_distinct == 2),
        "constant_share": _mean(n_distinct <= 1),
        "missing_cells": _mean(missing),
        "columns_with_missing": _mean(missing.any(axis=0)),
        "rows_with_missing": _mean(missing.any(axis=1)),
    }


def _target(sample: Sample) -> dict[str, float]:
    return _regression_target(sample) if sample.kind == "regression" else _class_target(sample)


def _class_target(sample: Sample) -> dict[str, float]:
    counts = sample.class_counts
    return {
        "entropy": np.divide(entropy(counts), np.log(len(counts))),
        "majority_share": np.divide(counts.max(initial=0), sample.n_rows),
        "minority_share": np.divide(counts.min(initial=sample.n_rows), sample.n_rows),
    }


def _regression_target(sample: Sample) -> dict[str, float]:
    y = winsorised(sample.target)
    counts = np.unique(sample.target, return_counts=True)[1]
    return {
        "skewness": np.arcsinh(skewness(y)),
        "log_kurtosis": np.log(kurtosis(y)),
        "outlier_share": outlier_share(sample.target),
        "distinct_share": np.divide(len(counts), len(y)),
        "mode_share": np.divide(counts.max(initial=0), len(y)),
    }


def _numeric(sample: Sample) -> dict[str, float]:
    columns = _varying(sample.numeric)
    trimmed = [*map(winsorised, columns)]
    skews = np.log1p(np.abs(_per_column(skewness, trimmed)))
    kurtoses = np.log(_per_column(kurtosis, trimmed))
    means = {name: _mean(_per_column(share, columns)) for name, share in _SHARES.items()}
    return {
        "log_skewness_mean": _mean(skews),
        "log_skewness_sd": _sd(skews),
        "log_kurtosis_mean": _mean(kurtoses),
        "log_kurtosis_sd": _sd(kurtoses),
        **means,
        **_correlation(sample),
    }


_SHARES: Mapping[str, Callable[[FloatArray], float]] = {  # of a column without missing values
    "outlier_share": outlier_share,
    "zero_share": lambda column: np.mean(column == 0),
    "whole_share": lambda column: float(np.all(column == np.floor(column))),
    "distinct_share": lambda column: _n_distinct(column) / len(column),
    "mode_share": lambda column: counts_of(column).max() / len(column),
}


def _correlation(sample: Sample) -> dict[str, float]:
    standard = [standardised(winsorised(column)) for column in sample.numeric.T]
    z = np.array([column for column in standard if column.any()])
    if len(z) < 2:
        return {}
    correlation = np.corrcoef(z)
    pairs = np.abs(correlation[np.triu_indices(len(z), 1)])
    variances = np.clip(np.linalg.eigvalsh(correlation)[::-1], 0.0, None)
    share = np.cumsum(variances) / variances.sum()
    return {
        "correlation_mean": _mean(pairs),
        "correlation_high": _mean(pairs > HIGH_CORRELATION),
        "first_component": share[0],
        "components_95": (1 + np.searchsorted(share, 0.95)) / len(z),
    }


def _categorical(sample: Sample) -> dict[str, float]:
    counts = [*filter(len, map(counts_of, sample.categorical.T))]
    cardinality = _per_column(len, counts)
    return {
        "log_levels_mean": _mean(np.log(cardinality)),
        "log_levels_sd": _sd(np.log(cardinality)),
        "log_levels_max": np.log(cardinality.max(initial=0)),
        "entropy_mean": _mean(_per_column(evenness, counts)),
        "mode_share": _mean([count.max() / count.sum() for count in counts]),
    }


def _information(sample: Sample) -> dict[str, float]:
    y = sample.target.astype(np.int64)
    if sample.kind == "regression":
        y = binned(sample.target, BINS)
    columns = [*filter(np.any, (binned(column, BINS) for column in _all_columns(sample)))]
    uncertainty = entropy(counts_of(y))
    if not columns or not uncertainty > 0:
        return {}
    counts = [*map(counts_of, columns)]
    mutual = np.array([mutual_information(codes, y) for codes in columns]) / uncertainty
    own = _per_column(entropy, counts) / uncertainty
    mean = max(float(mutual.mean()), MIN_INFORMATION)
    return {
        "mutual_mean": mutual.mean(),
        "mutual_sd": mutual.std(),
        "mutual_max": mutual.max(),
        "informative_share": _mean(mutual > INFORMATIVE),
        "column_entropy": _mean(_per_column(evenness, counts)),
        "log_equivalent_columns": -np.log(mean),
        "log_noise_ratio": np.log1p(max(0.0, own.mean() - mean) / mean),
    }


GROUPS: Mapping[str, Callable[[Sample], Mapping[str, float]]] = {
    "size": _size,
    "task": _task,
    "columns": _columns,
    "target": _target,
    "numeric": _numeric,
    "categorical": _categorical,
    "information": _information,
}


def _all_columns(sample: Sample) -> Iterator[Column]:
    yield from sample.numeric.T
    yield from sample.categorical.T


def _varying(numeric: FloatArray) -> list[FloatArray]:
    """The columns that are not constant, each without its missing values."""
    present = (column[~np.isnan(column)] for column in numeric.T)
    return [column for column in present if len(column) and column.min() < column.max()]


def _per_column(statistic: Callable[[Any], float], columns: Iterable[Any]) -> FloatArray:
    return np.array([*map(statistic, columns)], dtype=np.float64)


def _n_distinct(column: Column) -> int:
    return len(counts_of(column))


def _mean(values: npt.ArrayLike) -> float:
    known = _known(values)
    return float(np.mean(known)) if len(known) else math.nan


def _sd(values: npt.ArrayLike) -> float:
    known = _known(values)
    return float(np.std(known)) if len(known) > 1 else math.nan


def _known(values: npt.ArrayLike) -> FloatArray:
    flat = np.asarray(values, dtype=np.float64).ravel()
    return flat[~np.isnan(flat)]
