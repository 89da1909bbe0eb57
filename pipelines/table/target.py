"""The target column: its task, its known rows, and its encoding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hpo.arrays import FloatArray, IntArray
from hpo.errors import DataError, ParameterError, closest, counted
from pipelines.table.cells import read
from pipelines.table.scores.losses import Loss
from pipelines.table.scores.metrics import TASKS
from pipelines.table.splits import Rows, quantile_strata
from serving.columns import NumericColumn
from serving.features import TargetEncoder
from serving.numbers import PLAIN, NumberFormat, numbers
from serving.values import Label, as_text, in_order, is_nested, label_key, labelled, relative

MAX_CODED_CLASSES = 20  # more distinct numbers are a regression
MAX_CLASSES = 1000
MAX_TARGET = 1e100
SHOWN = 20  # labels or names that a message lists
SHOWN_SHARES = 4


@dataclass(frozen=True)
class Target:
    """A target column without missing values.

    Attributes:
        name: of the column.
        kind: of the task: binary, multiclass or regression.
        codes: `(n,)` indices into `labels`; empty for a regression.
        labels: the classes in order of appearance; empty for a regression.
        values: `(n,)` numbers of a regression; empty for a classification.
        format: how texts of a regression target write a number.
        positive: the class of a binary task that counts as positive; None for the last in order.
    """

    name: str
    kind: str
    codes: IntArray
    labels: tuple[Label, ...]
    values: FloatArray
    format: NumberFormat = PLAIN
    positive: Label | None = None

    @property
    def is_regression(self) -> bool:
        """Whether the target is a number."""
        return self.kind == "regression"

    @property
    def counts(self) -> IntArray:
        """`(k,)` number of rows of each class."""
        return np.bincount(self.codes, minlength=len(self.labels))

    @property
    def strata(self) -> IntArray:
        """`(n,)` codes of the classes, or of quantile ranges for a regression."""
        return quantile_strata(self.values) if self.is_regression else self.codes

    @property
    def classes(self) -> tuple[Label, ...]:
        """The classes in the order of their codes: the positive one is the last of two."""
        return tuple(in_order(self.labels, last=self.positive))

    def with_positive(self, text: str) -> Target:
        """The target where the class with this text counts as positive.

        Raises:
            ParameterError: if there are not two classes, or none has this text.
        """
        if self.kind != "binary":
            raise ParameterError(
                f"positive={text!r} is for two classes, but the task is {self.kind}; leave it out"
            )
        texts = {label_key(as_text(label)): label for label in self.labels}
        if label_key(text) not in texts:
            names = [str(label) for label in self.labels]
            raise ParameterError(
                f"positive={text!r} is no label of {self.name!r}{closest(text, names)}; labels: "
                f"{', '.join(map(repr, self.labels))}"
            )
        return replace(self, positive=texts[label_key(text)])

    def encoder(self, rows: IntArray, loss: str = "") -> TargetEncoder:
        """The encoder; for a regression with the mean and scale of the given rows.

        Values that must stay positive for a `loss` are divided by their mean.

        Raises:
            ParameterError: for classes with a loss, which is for numbers.
        """
        if not self.is_regression:
            if loss:
                raise ParameterError(f"loss={loss!r} is for numbers, but the task is {self.kind}")
            return TargetEncoder(self.kind, self.classes)
        values = self.values[rows]
        if loss and Loss.parse(loss).is_logarithmic:
            mean = float(values.mean())
            return TargetEncoder(self.kind, (), 0.0, mean if mean > 0 else 1.0, self.format)
        scale = float(values.std())
        scale = scale if scale > 0 else 1.0
        return TargetEncoder(self.kind, (), float(values.mean()), scale, self.format)

    def describe(self) -> str:
        """One line for the user: the task, and the range or the largest classes."""
        if self.is_regression:
            low, high, mean = self.values.min(), self.values.max(), self.values.mean()
            return f"target {self.name!r}: regression, {low:g} to {high:g}, mean {mean:g}"
        counts = self.counts
        largest = np.argsort(-counts, kind="stable")[:SHOWN_SHARES]
        shares = ", ".join(f"{self.labels[i]!r} {counts[i] / counts.sum():.1%}" for i in largest)
        more = ", …" if len(self.labels) > SHOWN_SHARES else ""
        text = f"target {self.name!r}: {self.kind}, {len(self.labels)} classes ({shares}{more})"
        if self.kind == "binary":
            text += f", {self.classes[-1]!r} counts as positive"
        return text

    def check_class_sizes(self, needed: int) -> None:
        """Raise `DataError` if a class has fewer rows than needed."""
        counts = self.counts
        small = [f"{self.labels[i]!r} has {counts[i]}" for i in np.flatnonzero(counts < needed)]
        if small:
            fewer = ", use fewer folds" if needed > 2 else ""
            raise DataError(
                f"each class of {self.name!r} needs at least {needed} rows for training and "
                f"validation, but {', '.join(small)}; collect more of them, merge them into "
                f"another class or leave these rows out{fewer}"
            )


def read_target(
    frame: pd.DataFrame, name: str, task: str | None
) -> tuple[pd.DataFrame, Target, tuple[str, ...]]:
    """Read the target, and drop the rows where it is missing.

    Args:
        frame: the raw table.
        name: of the target column.
        task: one of `TASKS`; None to infer it.

    Returns:
        The remaining rows, their target, and notes for the user.

    Raises:
        ParameterError: for an unknown task.
        DataError: if nothing can be learned from the column as such a target.
    """
    if task is not None and task not in TASKS:
        raise ParameterError(
            f"unknown task {task!r}{closest(task, TASKS)}; tasks: {', '.join(TASKS)}"
        )
    if frame.empty:
        raise DataError("the table has no rows; give one with rows to learn from")
    series = _as_numbers_if_possible(relative(frame[name]))
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        raise DataError(f"target {name!r} is a date; turn it into a number or into classes")
    if pd.api.types.is_complex_dtype(series.dtype):
        raise DataError(f"target {name!r} holds complex numbers; name a target of real ones")
    form, form_note = PLAIN, ""
    if not _is_numeric(series):
        form, form_note, series = _numbers_in_texts(series, task)
    if _is_numeric(series):
        _check_finite(name, numbers(series)[0])
    known = _known_rows(series, task)
    if not known.any():
        raise DataError(
            f"target {name!r} is missing in all {len(frame):,} rows; name another target column"
        )
    notes = tuple(filter(None, [form_note]))
    if not known.all():
        notes += (_dropped_rows(frame[name], known),)
        frame, series = frame[known].reset_index(drop=True), series[known].reset_index(drop=True)
    target = replace(_target(name, series, task, notes), format=form)
    return frame.assign(**{name: series}), target, (*notes, *_alike(target.labels))


def with_known_target(
    encoder: TargetEncoder, frame: pd.DataFrame, name: str, shown: str
) -> tuple[pd.DataFrame, npt.NDArray[Any], tuple[str, ...]]:
    """The rows of another table whose target is known.

    Args:
        encoder: of the target.
        frame: the raw table.
        name: of the target column.
        shown: what messages call the table.

    Returns:
        The rows, their class codes or original values `(n,)`, and notes for the user.

    Raises:
        DataError: without a target column, and for a target that is no class or no number.
    """
    if name not in frame.columns:
        names = list(map(str, frame.columns))
        raise DataError(
            f"{shown} has no target column {name!r}{closest(name, names)}; new rows "
            f"need it to be scored; columns: {', '.join(names[:SHOWN])}"
        )
    known = _has_target(encoder, frame[name], shown)
    unknown = f"{(~known).sum():,} of {len(frame):,} rows of {shown} have no {name!r}"
    rows = frame[known].reset_index(drop=True)
    try:
        y = encoder.original(encoder.encode(rows[name]))
    except ValueError as error:
        raise DataError(f"{shown}: {error}; the models know no other") from error
    return rows, y, () if known.all() else (unknown,)


def _has_target(encoder: TargetEncoder, series: pd.Series, shown: str) -> npt.NDArray[np.bool_]:
    """Whether each row has a target, (n,).

    Raises:
        DataError: If a target cannot be read.
    """
    if encoder.kind != "regression":
        try:
            return labelled(series)[0] >= 0
        except ValueError as error:
            raise DataError(f"{shown}: target {error}") from error
    values, unreadable = numbers(series, encoder.format)
    invalid = unreadable | np.isinf(values)
    if invalid.any():
        first = series.iloc[int(np.flatnonzero(invalid)[0])]
        raise DataError(
            f"{shown}: {invalid.sum():,} targets are not finite numbers, the first is {first!r}; "
            "correct them, or leave these cells empty to drop their rows"
        )
    return ~np.isnan(values)


def _dropped_rows(series: pd.Series, known: npt.NDArray[np.bool_]) -> str:
    """The note on rows without a target, with the texts that count as missing."""
    note = f"{(~known).sum():,} of {len(known):,} rows were dropped, they have no {series.name!r}"
    texts = {str(cell).strip() for cell in series[~known] if isinstance(cell, str)} - {""}
    if texts:
        shown = ", ".join(map(repr, sorted(texts)[:3]))
        note += f" ({shown} counts as missing; give it another name if it is a class)"
    return note


def _alike(labels: Sequence[Label]) -> Iterator[str]:
    """A warning for each group of classes whose texts differ only in case or leading zeros."""
    groups: dict[str, list[Label]] = {}
    for label in labels:
        text = " ".join(as_text(label).casefold().split())
        groups.setdefault(text.lstrip("0") if text.isdecimal() else text, []).append(label)
    for same in groups.values():
        if len(same) > 1:
            shown = " and ".join(map(repr, same))
            yield f"warning: {shown} are {len(same)} classes; write them alike if they are one"


def _numbers_in_texts(series: pd.Series, task: str | None) -> tuple[NumberFormat, str, pd.Series]:
    """The numbers of a regression target of texts, their format, and a note on how it was read."""
    is_category = isinstance(series.dtype, pd.CategoricalDtype)
    if task not in (None, "regression") or is_category or is_nested(series):
        return PLAIN, "", series
    reading = read(str(series.name), series)
    column = reading.column
    if not isinstance(column, NumericColumn) or column.dirty:
        return PLAIN, "", series
    values = pd.Series(numbers(series, column.format)[0], series.index, name=series.name)
    if task is None and values.nunique() <= MAX_CODED_CLASSES:
        return PLAIN, "", series
    note = f"target {series.name!r}: {reading.note}" if reading.note else ""
    return column.format, note, values


def _as_numbers_if_possible(series: pd.Series) -> pd.Series:
    """Convert an object column that holds only numbers and missing values."""
    if series.dtype != object:
        return series
    if any(isinstance(value, str | bool | list | dict | bytes) for value in series):
        return series
    try:
        converted: pd.Series = pd.to_numeric(series)
    except (TypeError, ValueError):
        return series
    return converted


def _is_numeric(series: pd.Series) -> bool:
    dtype = series.dtype
    return bool(pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype))


def _known_rows(series: pd.Series, task: str | None) -> npt.NDArray[np.bool_]:
    if task == "regression" or _is_numeric(series):
        values, unreadable = numbers(series)
        _check_readable(series, unreadable)
        return ~np.isnan(values)
    try:
        return labelled(series)[0] >= 0
    except ValueError as error:
        raise DataError(f"target {error}") from None


def _target(name: str, series: pd.Series, task: str | None, notes: Sequence[str]) -> Target:
    distinct = list(pd.unique(series)) if _is_numeric(series) else labelled(series)[1]
    if len(distinct) == 1:
        raise DataError(
            f"target {name!r} is constant: all {len(series):,} rows have '{distinct[0]}'; "
            + "; ".join(("there is nothing to learn", *notes))
        )
    kind = task or _inferred_kind(distinct, numeric=_is_numeric(series))
    return _regression(name, series) if kind == "regression" else _classes(name, kind, series)


def _inferred_kind(distinct: Sequence[object], numeric: bool) -> str:
    """The task of a target with these distinct values.

    Two values are binary. Texts and booleans are classes, and numbers are a regression. But
    numbers that are just 0 … k or 1 … k without gaps, at most 20 of them, are read as class codes.
    """
    if len(distinct) == 2:
        return "binary"
    if not numeric:
        return "multiclass"
    if len(distinct) > MAX_CODED_CLASSES:
        return "regression"
    codes = np.sort(np.asarray(distinct, dtype=np.float64))
    consecutive = codes[0] in (0.0, 1.0) and (np.diff(codes) == 1.0).all()
    return "multiclass" if consecutive else "regression"


def _regression(name: str, series: pd.Series) -> Target:
    values = numbers(series)[0]
    _check_finite(name, values)
    if np.abs(values).max() > MAX_TARGET:
        raise DataError(f"target {name!r} holds values beyond {MAX_TARGET:g}; rescale it")
    return Target(name, "regression", np.empty(0, dtype=np.int64), (), values)


def _classes(name: str, kind: str, series: pd.Series) -> Target:
    codes, labels = labelled(series)
    if kind == "binary" and len(labels) != 2:
        raise DataError(
            f"task 'binary' needs a target with 2 values, but {name!r} has {len(labels):,}: "
            f"{listed(labels)}; give task=multiclass or task=regression, or leave it to be inferred"
        )
    if kind == "multiclass" and len(labels) < 3:
        raise DataError(
            f"task 'multiclass' needs 3 classes or more, but {name!r} has 2: {listed(labels)}; "
            "give task=binary"
        )
    if len(labels) > min(MAX_CLASSES, len(series) / 2):
        raise DataError(
            f"target {name!r} has {len(labels):,} different labels in {len(series):,} rows; it "
            "looks like an identifier or free text: name another target, or group its labels"
        )
    return Target(name, kind, codes, tuple(labels), np.empty(0))


def _check_readable(series: pd.Series, unreadable: npt.NDArray[np.bool_]) -> None:
    if unreadable.any():
        first = series.iloc[int(np.flatnonzero(unreadable)[0])]
        raise DataError(
            f"task 'regression' needs a numeric target, but {int(unreadable.sum()):,} of "
            f"{len(series):,} values of {str(series.name)!r} are not numbers (the first is "
            f"{first!r}); correct them or leave the task to be inferred"
        )


def _check_finite(name: str, values: FloatArray) -> None:
    infinite = int(np.isinf(values).sum())
    if infinite:
        raise DataError(
            f"target {name!r} holds {counted(infinite, 'infinite value')}, but targets must be "
            "finite; leave these cells empty to drop their rows"
        )


def check_both_classes(split: str, rows: Rows, codes: npt.NDArray[Any]) -> None:
    """Raise `DataError` if the training or validation rows of a fold hold a single class."""
    for i, (train, valid) in enumerate(rows.folds):
        for part, members in (("training", train), ("validation", valid)):
            if np.count_nonzero(np.bincount(codes[members])) < 2:
                raise DataError(
                    f"split {split!r} leaves only one class in the {part} rows of fold {i}; use "
                    "split=random, another column, or more rows"
                )


def listed(names: Sequence[object]) -> str:
    """The first names, for a message."""
    return ", ".join(map(str, names[:SHOWN])) + (", …" if len(names) > SHOWN else "")
