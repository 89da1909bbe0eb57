"""Meta-features: a table and its task in up to fifty numbers, by which past studies are found that are like a new one.

Formulas and sources of all of them are in `docs/meta-features.md`. Each name is `group.feature`.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hpo.arrays import FloatArray, IntArray
from warmstart.sample import Caps, Sample, draw
from warmstart.statistics import (
    binned,
    distinct,
    entropy,
    kurtosis,
    mutual_information,
    outlier_share,
    skewness,
    standardised,
    winsorised,
)

VERSION = 1
"""Of the set of features. A feature whose formula changes gets another name: what has one name means one thing."""

BINS = 10
MIN_INFORMATION = 1e-3
HIGH_CORRELATION = 0.8


@dataclass(frozen=True)
class MetaFeatures:
    """What is known of a table and its task.

    Attributes:
        values: finite numbers by `group.feature`. What could not be computed is not there.
        version: of the set of features, see `VERSION`.
        caps: how much was looked at, see `warmstart.sample.Caps`.
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
        """Read what `to_dict` wrote, in this version or an older one.

        Raises `ValueError` for a newer version, and for a value that is no finite number.
        """
        if data["version"] > VERSION:
            raise ValueError(
                f"meta-features of version {data['version']} were written by a newer release, this one reads up to "
                f"{VERSION}; update it"
            )
        values = {str(name): float(value) for name, value in data["values"].items()}
        wrong = [name for name, value in values.items() if not math.isfinite(value)]
        if wrong:
            raise ValueError(
                f"meta-features must be finite, but {wrong[0]} is {values[wrong[0]]}; leave it out"
            )
        return cls(values, int(data["version"]), dict(data["caps"]), int(data["seed"]))


def meta_features(
    frame: pd.DataFrame, target: npt.ArrayLike, kind: str, seed: int = 0, caps: Caps | None = None
) -> MetaFeatures:
    """Describe a table.

    Args:
        frame: the raw feature columns.
        target: `(n,)` class codes, or numbers for a regression; rows with negative codes or `nan`
            are left out.
        kind: of the task: binary, multiclass or regression.
        seed: of the sample and of the landmarks.
        caps: bounds on the cost, in rows, columns and cells.

    Raises `ValueError` for an unknown `kind`, when the target has not one value for each row, and
    when a binary one has more than two classes. Nothing in the table is an error: what cannot be
    computed is left out.
    """
    # scikit-learn takes a second, which whoever only reads features need not wait
    from warmstart.landmarks import landmarks

    caps = caps or Caps()
    sample = draw(frame, target, kind, seed, caps)
    values: dict[str, float] = {}
    with np.errstate(all="ignore"):
        for group, describe in GROUPS.items():
            values |= {f"{group}.{name}": float(value) for name, value in describe(sample).items()}
        found = landmarks(sample.head(caps.landmark_rows), seed)
    values |= {f"landmarks.{name}": value for name, value in found.items()}
    finite = {name: value for name, value in values.items() if math.isfinite(value)}
    return MetaFeatures(finite, VERSION, asdict(caps), seed)


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
    n_distinct = np.array([len(distinct(column)) for column in _each(sample)])
    return {
        "categorical_share": np.divide(sample.n_categorical, sample.n_columns),
        "binary_share": _mean(n_distinct == 2),
        "constant_share": _mean(n_distinct <= 1),
        "missing_cells": _mean(missing),
        "columns_with_missing": _mean(missing.any(axis=0)),
        "rows_with_missing": _mean(missing.any(axis=1)),
    }


def _target(sample: Sample) -> dict[str, float]:
    if sample.kind != "regression":
        counts = sample.class_counts
        return {
            "entropy": np.divide(entropy(counts), np.log(len(counts))),
            "majority_share": np.divide(counts.max(initial=0), sample.n_rows),
            "minority_share": np.divide(counts.min(initial=sample.n_rows), sample.n_rows),
        }
    y = winsorised(sample.target)
    _, counts = np.unique(sample.target, return_counts=True)
    return {
        "skewness": np.arcsinh(skewness(y)),
        "log_kurtosis": np.log(kurtosis(y)),
        "outlier_share": outlier_share(sample.target),
        "distinct_share": np.divide(len(counts), len(y)),
        "mode_share": np.divide(counts.max(initial=0), len(y)),
    }


def _numeric(sample: Sample) -> dict[str, float]:
    columns = [column for column in _present(sample.numeric) if column.min() < column.max()]
    trimmed = [winsorised(column) for column in columns]
    skews = np.abs([skewness(column) for column in trimmed])
    kurtoses = np.log([kurtosis(column) for column in trimmed])
    return {
        "log_skewness_mean": _mean(np.log1p(skews)),
        "log_skewness_sd": _sd(np.log1p(skews)),
        "log_kurtosis_mean": _mean(kurtoses),
        "log_kurtosis_sd": _sd(kurtoses),
        "outlier_share": _mean([outlier_share(column) for column in columns]),
        "zero_share": _mean([np.mean(column == 0) for column in columns]),
        "whole_share": _mean([np.all(column == np.floor(column)) for column in columns]),
        "distinct_share": _mean([len(distinct(column)) / len(column) for column in columns]),
        "mode_share": _mean([distinct(column).max() / len(column) for column in columns]),
        **_correlation(sample),
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
    counts = [distinct(column) for column in sample.categorical.T]
    counts = [count for count in counts if len(count)]
    levels = np.array([len(count) for count in counts])
    return {
        "log_levels_mean": _mean(np.log(levels)),
        "log_levels_sd": _sd(np.log(levels)),
        "log_levels_max": np.log(levels.max(initial=0)),
        "entropy_mean": _mean([entropy(c) / np.log(len(c)) for c in counts if len(c) > 1]),
        "mode_share": _mean([count.max() / count.sum() for count in counts]),
    }


def _information(sample: Sample) -> dict[str, float]:
    y = (
        binned(sample.target, BINS)
        if sample.kind == "regression"
        else sample.target.astype(np.int64)
    )
    columns = [codes for codes in (binned(column, BINS) for column in _each(sample)) if codes.any()]
    uncertainty = entropy(distinct(y))
    if not columns or not uncertainty > 0:
        return {}
    mutual = np.array([mutual_information(codes, y) for codes in columns]) / uncertainty
    own = np.array([entropy(distinct(codes)) for codes in columns]) / uncertainty
    mean = max(float(mutual.mean()), MIN_INFORMATION)
    return {
        "mutual_mean": mutual.mean(),
        "mutual_sd": mutual.std(),
        "mutual_max": mutual.max(),
        "informative_share": _mean(mutual > 0.01),
        "column_entropy": _mean([entropy(distinct(c)) / np.log(len(distinct(c))) for c in columns]),
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


def _each(sample: Sample) -> Iterator[FloatArray | IntArray]:
    yield from sample.numeric.T
    yield from sample.categorical.T


def _present(numeric: FloatArray) -> list[FloatArray]:
    columns = [column[~np.isnan(column)] for column in numeric.T]
    return [column for column in columns if len(column)]


def _mean(values: npt.ArrayLike) -> float:
    known = _known(values)
    return float(np.mean(known)) if len(known) else math.nan


def _sd(values: npt.ArrayLike) -> float:
    known = _known(values)
    return float(np.std(known)) if len(known) > 1 else math.nan


def _known(values: npt.ArrayLike) -> FloatArray:
    flat = np.asarray(values, dtype=np.float64).ravel()
    return flat[~np.isnan(flat)]
