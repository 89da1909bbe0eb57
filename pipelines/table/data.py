"""From a raw table to what the search sees: the task, encoded folds, and a test part that is kept away from it.

One ``FeatureEncoder`` is fitted on all rows but the test rows and shared by the folds: it learns
only types and levels, nothing of the target, and it is what the winner is served with. The target's
mean and scale come from the same rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hpo.errors import DataError, ParameterError, closest
from pipelines.table.columns import fit_features
from pipelines.table.metrics import TASKS, Metric
from pipelines.table.reading import digest, load_table, with_text_names
from pipelines.table.splits import Outer, Rows, Split, Validation, divide, quantile_strata, resample
from serving.columns import CategoricalColumn, Column
from serving.features import FeatureEncoder, Matrix, TargetEncoder
from serving.values import IntArray, Label, labelled, numbers

__all__ = ["Fold", "Prepared", "Task", "load_folds", "load_table", "prepare"]

SCHEMA = 1
DESCRIPTION = "data.json"
MAX_CODED_CLASSES = 20
MAX_CLASSES = 1000
MAX_TARGET = 1e100
EXAMPLE_ROWS = 5


@dataclass(frozen=True)
class Task:
    """What is predicted: ``kind`` is binary, multiclass or regression; ``n_classes`` is 0 for regression."""

    kind: str
    n_classes: int


@dataclass(frozen=True)
class Fold:
    """One training and validation pair of the search.

    ``y_train`` and ``y_valid`` are int64 class codes, or float64 targets standardised over the
    non-test rows. ``cardinalities`` gives the number of levels of each categorical column (codes
    are below it, or -1). ``fixed``: the validation rows are trained on, too, and so decide nothing.
    """

    train: Matrix
    y_train: npt.NDArray[Any]
    valid: Matrix
    y_valid: npt.NDArray[Any]
    task: Task
    target: TargetEncoder
    cardinalities: tuple[int, ...] = ()
    index: int = 0
    fixed: bool = False

    def score(self, metric: Metric, prediction: npt.NDArray[np.float64]) -> float:
        """Return the metric on the validation rows, in the user's units.

        ``prediction``: (n, k) probabilities (k = 2 for binary), or (n,) standardised values.
        """
        return metric(self.target.original(self.y_valid), self.target.original(prediction))

    def whole(self) -> Fold:
        """Return the fold with all of its rows to train on, first the training rows."""
        train, valid = self.train, self.valid
        rows = Matrix(
            np.concatenate([train.numeric, valid.numeric]),
            np.concatenate([train.categorical, valid.categorical]),
        )
        return replace(
            self, train=rows, y_train=np.concatenate([self.y_train, self.y_valid]), fixed=True
        )


@dataclass(frozen=True)
class Prepared:
    """A table made ready for a study.

    ``frame`` holds the raw rows whose target is known; ``digest`` stands for the raw table and
    ``rows.digest`` for the split. ``notes`` are sentences for the user about what was found and
    what was dropped.
    """

    task: Task
    target_name: str
    target: TargetEncoder
    features: FeatureEncoder
    folds: tuple[Fold, ...]
    frame: pd.DataFrame
    rows: Rows
    notes: tuple[str, ...]
    digest: str

    @property
    def test_frame(self) -> pd.DataFrame:
        """The raw feature columns of the test rows."""
        return self.frame.iloc[self.rows.test].drop(columns=self.target_name)

    @property
    def y(self) -> npt.NDArray[Any]:
        """Class codes or original values of all rows, as ``pipelines.table.metrics.metric_for`` takes them."""
        return self.target.original(self.target.encode(self.frame[self.target_name]))

    @property
    def y_test(self) -> npt.NDArray[Any]:
        """Class codes or original values of the test rows, as ``pipelines.table.metrics.evaluate`` takes them."""
        return self.y[self.rows.test]

    @property
    def example(self) -> pd.DataFrame:
        """A few raw training rows, with just the columns that the model reads."""
        return self.frame.iloc[self.rows.rest[:EXAMPLE_ROWS]][list(self.features.inputs)]

    def save(self, directory: Path) -> None:
        """Write the folds for ``load_folds``."""
        directory.mkdir(parents=True, exist_ok=True)
        for fold in self.folds:
            for name, array in _arrays(fold).items():
                np.save(directory / f"fold-{fold.index}-{name}.npy", array)
        self._describe(directory, len(self.folds))

    def resampled(self, split: str, *, repeats: int, folds: int, seed: int) -> Rows:
        """The rows that the search may see, divided again many times; ``test`` are those that no part holds.

        There are fewer folds when the second largest class has fewer rows: each part must hold two
        classes.
        """
        how = Split.parse(split, [name for name in self.frame.columns if name != self.target_name])
        y = self.y
        if self.task.kind == "regression":
            strata = quantile_strata(y)
        else:
            strata = y
            folds = int(np.clip(np.sort(np.bincount(y[self.rows.rest]))[-2], 2, folds))
        pairs = resample(
            self.frame, strata, how, self.rows.rest, repeats=repeats, folds=folds, seed=seed
        )
        return Rows(self.rows.test, pairs)

    def save_parts(self, directory: Path, rows: Rows) -> None:
        """Write the encoded table once and the rows of each part of ``rows``, for ``load_part``."""
        directory.mkdir(parents=True, exist_ok=True)
        matrix = self.features.transform(self.frame)
        np.save(directory / "numeric.npy", matrix.numeric)
        np.save(directory / "categorical.npy", matrix.categorical)
        np.save(directory / "target.npy", self.target.encode(self.frame[self.target_name]))
        for i, (train, valid) in enumerate(rows.folds):
            np.save(directory / f"part-{i}-train.npy", train)
            np.save(directory / f"part-{i}-valid.npy", valid)
        self._describe(directory, len(rows.folds))

    def _describe(self, directory: Path, folds: int) -> None:
        description = {
            "schema": SCHEMA,
            "folds": folds,
            "task": {"kind": self.task.kind, "n_classes": self.task.n_classes},
            "target": self.target.to_dict(),
            "cardinalities": list(self.features.cardinalities),
        }
        (directory / DESCRIPTION).write_text(json.dumps(description, indent=1), encoding="utf-8")


def load_folds(directory: Path) -> tuple[Fold, ...]:
    """Read what ``Prepared.save`` wrote; arrays are read-only and mapped, so that processes share their pages."""
    description = _description(directory)
    return tuple(_load_fold(directory, description, index) for index in range(description["folds"]))


def load_part(directory: Path, index: int) -> Fold:
    """Read one part of what ``Prepared.save_parts`` wrote; its rows are copied, so it is let go when it is used."""
    description = _description(directory)
    matrix = Matrix(_mapped(directory / "numeric.npy"), _mapped(directory / "categorical.npy"))
    y = _mapped(directory / "target.npy")
    train, valid = (np.load(directory / f"part-{index}-{use}.npy") for use in ("train", "valid"))
    return _fold(description, index, matrix.take(train), y[train], matrix.take(valid), y[valid])


def _description(directory: Path) -> Mapping[str, Any]:
    description: dict[str, Any] = json.loads((directory / DESCRIPTION).read_text(encoding="utf-8"))
    if description["schema"] != SCHEMA:
        raise DataError(
            f"{directory} has schema {description['schema']!r}, this version reads {SCHEMA}"
        )
    return description


def _arrays(fold: Fold) -> dict[str, npt.NDArray[Any]]:
    return {
        "train-numeric": fold.train.numeric,
        "train-categorical": fold.train.categorical,
        "train-target": fold.y_train,
        "valid-numeric": fold.valid.numeric,
        "valid-categorical": fold.valid.categorical,
        "valid-target": fold.y_valid,
    }


def _load_fold(directory: Path, description: Mapping[str, Any], index: int) -> Fold:
    def load(name: str) -> npt.NDArray[Any]:
        return _mapped(directory / f"fold-{index}-{name}.npy")

    return _fold(
        description,
        index,
        Matrix(load("train-numeric"), load("train-categorical")),
        load("train-target"),
        Matrix(load("valid-numeric"), load("valid-categorical")),
        load("valid-target"),
    )


def _mapped(path: Path) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = np.load(path, mmap_mode="r")
    return array


def _fold(
    description: Mapping[str, Any],
    index: int,
    train: Matrix,
    y_train: npt.NDArray[Any],
    valid: Matrix,
    y_valid: npt.NDArray[Any],
) -> Fold:
    return Fold(
        train=train,
        y_train=y_train,
        valid=valid,
        y_valid=y_valid,
        task=Task(**description["task"]),
        target=TargetEncoder.from_dict(description["target"]),
        cardinalities=tuple(description["cardinalities"]),
        index=index,
    )


def prepare(
    frame: pd.DataFrame,
    target: str,
    *,
    task: str | None = None,
    split: str = "random",
    test_share: float = 0.2,
    validation: str = "holdout",
    columns: Mapping[str, str] | None = None,
    seed: int = 0,
    outer: str = "",
) -> Prepared:
    """Infer the task and the column types, divide the rows and encode them.

    Rows without a target are dropped. ``split`` is "random", "time:COLUMN" or "group:COLUMN";
    ``validation`` is "holdout" (of the same share as the test part) or "cv:K"; ``columns``
    overrules the inferred type of a column (see ``pipelines.table.columns.KINDS``); ``outer``, like
    "2/5", names the part that is held out in place of a random share
    (``pipelines.table.splits.Outer``). Raises ``DataError`` for tables that cannot be searched on
    and ``ParameterError`` for impossible arguments, before anything expensive.
    """
    if not 0.0 < test_share < 0.5:
        raise ParameterError(f"test_share must lie between 0 and 0.5, but got {test_share}")
    frame = with_text_names(frame)
    names = list(frame.columns)
    target = str(target).strip()
    if target not in names:
        raise DataError(
            f"the table has no target column {target!r}{closest(target, names)}; columns: {_listed(names)}"
        )
    how, folds = (
        Split.parse(split, [name for name in names if name != target]),
        Validation.parse(validation),
    )
    part = Outer.parse(outer) if outer else None
    whole_digest = digest(frame)
    frame, found, notes = _with_known_target(frame, target, task)
    strata = quantile_strata(found.values) if found.kind == "regression" else found.codes
    if found.kind != "regression" and how.kind == "random":
        _check_members(target, found, max(2, folds.folds, part.folds if part else 0))
    rows = divide(frame, strata, how, folds, test_share, seed, part)
    encoder = _target_encoder(found, rows)
    y = encoder.encode(frame[target])
    if found.kind != "regression":
        _check_classes(split, rows, y)
    features, feature_notes = _fit(frame, target, rows, how, dict(columns or {}))
    the_task = Task(found.kind, len(encoder.classes))
    return Prepared(
        task=the_task,
        target_name=target,
        target=encoder,
        features=features,
        folds=_encode(frame, rows, features, encoder, y, the_task),
        frame=frame,
        rows=rows,
        notes=(*_summary(target, found, features, rows, split), *notes, *feature_notes),
        digest=whole_digest,
    )


# --- target --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Target:
    """The target without missing values: (n,) ``codes`` into ``labels`` for classes, else (n,) ``values``."""

    kind: str
    codes: IntArray
    labels: tuple[Label, ...]
    values: npt.NDArray[np.float64]


def _with_known_target(
    frame: pd.DataFrame, name: str, task: str | None
) -> tuple[pd.DataFrame, _Target, tuple[str, ...]]:
    if task is not None and task not in TASKS:
        raise ParameterError(
            f"unknown task {task!r}{closest(task, TASKS)}; tasks: {', '.join(TASKS)}"
        )
    series = _natural(frame[name])
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        raise DataError(f"target {name!r} is a date; turn it into a number or into classes")
    if _is_number(series):
        _check_finite(name, numbers(series)[0])
    known = _is_known(name, series, task)
    if not known.any():
        raise DataError(
            f"target {name!r} is missing in all {len(frame):,} rows; name another target column"
        )
    notes: tuple[str, ...] = ()
    if not known.all():
        missing = int((~known).sum())
        notes = (f"{missing:,} of {len(frame):,} rows were dropped, they have no {name!r}",)
        frame, series = frame[known].reset_index(drop=True), series[known].reset_index(drop=True)
    return frame.assign(**{name: series}), _target(name, series, task), notes


def _is_known(name: str, series: pd.Series, task: str | None) -> npt.NDArray[np.bool_]:
    if task == "regression" or _is_number(series):
        values, unreadable = numbers(series)
        _check_numeric(name, series, unreadable)
        return ~np.isnan(values)
    try:
        return labelled(series)[0] >= 0
    except ValueError as error:
        raise DataError(f"target {error}") from None


def _target(name: str, series: pd.Series, task: str | None) -> _Target:
    values = list(pd.unique(series)) if _is_number(series) else labelled(series)[1]
    if len(values) == 1:
        raise DataError(
            f"target {name!r} is constant: all {len(series):,} rows have '{values[0]}'; there is nothing to learn"
        )
    kind = task or _inferred_kind(series, values)
    if kind != "regression":
        codes, labels = labelled(series)
        _check_labels(name, kind, labels, len(series))
        return _Target(kind, codes, tuple(labels), np.empty(0))
    y = numbers(series)[0]
    _check_finite(name, y)
    if np.abs(y).max() > MAX_TARGET:
        raise DataError(f"target {name!r} holds values beyond {MAX_TARGET:g}; rescale it")
    return _Target(kind, np.empty(0, dtype=np.int64), (), y)


def _natural(series: pd.Series) -> pd.Series:
    """Return an object column that holds only numbers (and missing ones) as numbers."""
    if series.dtype != object or any(
        isinstance(value, str | bool | list | dict | bytes) for value in series
    ):
        return series
    try:
        converted: pd.Series = pd.to_numeric(series)
    except (TypeError, ValueError):
        return series
    return converted


def _is_number(series: pd.Series) -> bool:
    dtype = series.dtype
    return bool(pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype))


def _check_numeric(name: str, series: pd.Series, unreadable: npt.NDArray[np.bool_]) -> None:
    if unreadable.any():
        first = series.iloc[int(np.flatnonzero(unreadable)[0])]
        raise DataError(
            f"task 'regression' needs a numeric target, but {int(unreadable.sum()):,} of {len(series):,} values of "
            f"{name!r} are no numbers (the first is {first!r}); mend them or leave the task to be inferred"
        )


def _check_finite(name: str, values: npt.NDArray[np.float64]) -> None:
    infinite = int(np.isinf(values).sum())
    if infinite:
        raise DataError(
            f"target {name!r} holds {infinite:,} infinite value(s); targets must be finite: leave these cells empty, "
            "then their rows are dropped"
        )


def _check_labels(name: str, kind: str, labels: list[Label], n_rows: int) -> None:
    if kind == "binary" and len(labels) != 2:
        raise DataError(
            f"task 'binary' needs a target with 2 values, but {name!r} has {len(labels):,}: {_listed(labels)}; give "
            "task=multiclass or task=regression, or leave it to be inferred"
        )
    if kind == "multiclass" and len(labels) < 3:
        raise DataError(
            f"task 'multiclass' needs 3 classes or more, but {name!r} has 2: {_listed(labels)}; give task=binary"
        )
    if len(labels) > min(MAX_CLASSES, n_rows / 2):
        raise DataError(
            f"target {name!r} has {len(labels):,} different labels in {n_rows:,} rows; it looks like an identifier "
            "or free text: name another target, or group its labels"
        )


def _inferred_kind(series: pd.Series, values: list[Any]) -> str:
    """Return the task of a target.

    Two distinct values are binary. Texts and truth values are classes, numbers a regression; but
    numbers that are just 0 .. k or 1 .. k without gaps, with at most 20 values, are taken for codes
    of classes.
    """
    if len(values) == 2:
        return "binary"
    if not _is_number(series):
        return "multiclass"
    if len(values) > MAX_CODED_CLASSES:
        return "regression"
    codes = sorted(float(value) for value in values)
    coded = codes[0] in (0.0, 1.0) and codes == [codes[0] + i for i in range(len(codes))]
    return "multiclass" if coded else "regression"


def _check_members(name: str, found: _Target, needed: int) -> None:
    counts = np.bincount(found.codes, minlength=len(found.labels))
    small = [
        f"{label!r} has {count}"
        for label, count in zip(found.labels, counts, strict=True)
        if count < needed
    ]
    if small:
        fewer = ", use fewer folds" if needed > 2 else ""
        raise DataError(
            f"each class of {name!r} needs at least {needed} rows for training and validation, but {', '.join(small)}; "
            f"collect more of them, merge them into another class or leave these rows out{fewer}"
        )


def _check_classes(split: str, rows: Rows, y: npt.NDArray[Any]) -> None:
    for i, (train, valid) in enumerate(rows.folds):
        for part, members in (("training", train), ("validation", valid)):
            if np.count_nonzero(np.bincount(y[members])) < 2:
                raise DataError(
                    f"split {split!r} leaves only one class in the {part} rows of fold {i}; use split=random, another "
                    "column, or more rows"
                )


def _target_encoder(found: _Target, rows: Rows) -> TargetEncoder:
    if found.kind != "regression":
        return TargetEncoder(found.kind, tuple(sorted(found.labels, key=_label_order)))
    values = found.values[rows.rest]
    spread = float(values.std())
    return TargetEncoder("regression", (), float(values.mean()), spread if spread > 0 else 1.0)


def _label_order(label: Label) -> tuple[str, float, str]:
    return ("text", 0.0, label) if isinstance(label, str) else ("number", float(label), "")


# --- features ------------------------------------------------------------------------------------


def _fit(
    frame: pd.DataFrame, target: str, rows: Rows, split: Split, kinds: dict[str, str]
) -> tuple[FeatureEncoder, tuple[str, ...]]:
    if kinds.pop(target, None) is not None:
        raise ParameterError(f"{target!r} is the target; it has no column type to choose")
    left_out = [target]
    notes: tuple[str, ...] = ()
    if split.kind == "group":
        left_out.append(split.column)
        notes = (f"{split.column}: not used as a feature, new rows come from other groups",)
    raw = frame.drop(columns=left_out)
    if split.kind == "time" and pd.api.types.is_numeric_dtype(frame[split.column].dtype):
        kinds.setdefault(split.column, "numeric")  # it may well count the rows
    encoder, found = fit_features(raw, kinds, rows.rest)
    columns = tuple(
        _tolerant(column, raw[column.name].iloc[rows.test]) for column in encoder.columns
    )
    return FeatureEncoder(columns), notes + found


def _tolerant(column: Column, test: pd.Series) -> Column:
    """Return the column so that it can read the test rows: an odd entry may stand there alone."""
    if isinstance(column, CategoricalColumn):
        return column
    try:
        column.encode(test)
    except ValueError:
        column = replace(column, dirty=True)
        try:
            column.encode(test)
        except ValueError as error:
            raise DataError(str(error)) from None
    return column


def _encode(
    frame: pd.DataFrame,
    rows: Rows,
    features: FeatureEncoder,
    target: TargetEncoder,
    y: npt.NDArray[Any],
    task: Task,
) -> tuple[Fold, ...]:
    matrix = features.transform(frame)
    folds = []
    for index, (train, valid) in enumerate(rows.folds):
        folds.append(
            Fold(
                train=matrix.take(train),
                y_train=y[train],
                valid=matrix.take(valid),
                y_valid=y[valid],
                task=task,
                target=target,
                cardinalities=features.cardinalities,
                index=index,
            )
        )
    return tuple(folds)


# --- words ---------------------------------------------------------------------------------------


def _summary(
    target: str, found: _Target, features: FeatureEncoder, rows: Rows, split: str
) -> tuple[str, ...]:
    n = len(rows.test) + len(rows.rest)
    inputs = (
        f"{n:,} rows; {len(features.inputs)} columns give {len(features.numeric_names)} numeric and "
        f"{len(features.categorical_names)} categorical features"
    )
    train, valid = rows.folds[0]
    parts = f"train {len(train):,}, validate {len(valid):,}, test {len(rows.test):,} rows, split {split}"
    if len(rows.folds) > 1:
        parts = f"{len(rows.folds)} folds of {len(rows.rest):,} rows, test {len(rows.test):,} rows, split {split}"
    return (inputs, _target_words(target, found), parts)


def _target_words(target: str, found: _Target) -> str:
    if found.kind == "regression":
        low, high = found.values.min(), found.values.max()
        return f"target {target!r}: regression, {low:g} to {high:g}, mean {found.values.mean():g}"
    counts = np.bincount(found.codes, minlength=len(found.labels))
    order = np.argsort(-counts, kind="stable")[:4]
    shares = ", ".join(f"{found.labels[i]!r} {counts[i] / counts.sum():.1%}" for i in order)
    more = ", …" if len(found.labels) > 4 else ""
    words = f"target {target!r}: {found.kind}, {len(found.labels)} classes ({shares}{more})"
    positive = f", {max(found.labels, key=_label_order)!r} counts as positive"
    return words + positive if found.kind == "binary" else words


def _listed(names: list[Any] | list[str] | list[Label]) -> str:
    return ", ".join(map(str, names[:20])) + (", …" if len(names) > 20 else "")
