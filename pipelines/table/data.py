"""From a raw table to the folds of a search.

One `FeatureEncoder` is fitted on all rows but the test rows and shared by all folds; the final
model is served with it. It learns only the types and levels of the columns, nothing of the target.
The mean and scale of a regression target come from the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hpo.arrays import FloatArray, IntArray
from hpo.errors import DataError, Mistakes
from pipelines.table.columns import fit_features
from pipelines.table.division.copies import contradictions_note, copies_note
from pipelines.table.division.given import Joined, join
from pipelines.table.division.validation import HOLDOUT, suited
from pipelines.table.folds import (
    EncodedRows,
    Encoding,
    Fold,
    Task,
    load_folds,
    load_part,
    save_folds,
    save_parts,
)
from pipelines.table.leaks import leak_notes
from pipelines.table.overrides import DROP
from pipelines.table.problem import Problem
from pipelines.table.reading import Ahead, read_table
from pipelines.table.roles import Roles, monotone_signs, read_weights, scaled_weights
from pipelines.table.scores.losses import Loss
from pipelines.table.source import AUTO, Source
from pipelines.table.splits import Rows, Split, divide, quantile_strata, resample
from pipelines.table.summary import summary, types
from pipelines.table.target import Target, check_both_classes, read_target
from serving.columns import CategoricalColumn, Column
from serving.features import FeatureEncoder, TargetEncoder

__all__ = [
    "Fold",
    "Prepared",
    "Task",
    "load_folds",
    "load_part",
    "prepare",
]

EXAMPLE_ROWS = 5


@dataclass(frozen=True)
class Prepared:
    """A table that is ready for a study.

    Attributes:
        task: what is predicted.
        target_name: name of the target column.
        target: encodes the target column.
        features: encodes the other columns.
        folds: training and validation pairs of the search.
        frame: the raw rows whose target is known.
        split: the rule by which these rows are divided.
        rows: how these rows are divided.
        notes: sentences for the user about what was found and what was dropped.
        validation: how the rows that are not test rows are used, as text.
        digest: identifies the raw tables; `rows.digest` identifies the division.
        digests: of each raw table by its role, where there are several.
        weight: `(n,)` weights of all rows, 1 on average over the search's; None for equal ones.
        monotone: 1, 0 or -1 for each dense column; () for no direction.
        spelling: the names of the user's table that are not in their normal form, by normal name.
    """

    task: Task
    target_name: str
    target: TargetEncoder
    features: FeatureEncoder
    folds: tuple[Fold, ...]
    frame: pd.DataFrame
    split: Split
    rows: Rows
    notes: tuple[str, ...]
    digest: str
    validation: str = HOLDOUT
    spelling: Mapping[str, Any] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    weight: FloatArray | None = None
    monotone: tuple[int, ...] = ()

    @property
    def weight_test(self) -> FloatArray | None:
        """The weights of the test rows."""
        return None if self.weight is None else self.weight[self.rows.test]

    @property
    def test_frame(self) -> pd.DataFrame:
        """The raw feature columns of the test rows."""
        return self.frame.iloc[self.rows.test].drop(columns=self.target_name)

    @property
    def y(self) -> npt.NDArray[Any]:
        """Class codes or original values `(n,)` of all rows, as a `Metric` takes them."""
        return self.target.original(self._encoded_target())

    @property
    def y_test(self) -> npt.NDArray[Any]:
        """Class codes or original values of the test rows, as a `Metric` takes them."""
        return self.y[self.rows.test]

    @property
    def example(self) -> pd.DataFrame:
        """A few training rows of the user's table, with only the columns that the model reads."""
        rows = self.frame.iloc[self.rows.rest[:EXAMPLE_ROWS]][list(self.features.inputs)]
        return rows.rename(columns=self.spelling)

    def sample(self, count: int) -> Fold:
        """A fold of the first `count` rows of the search, and of a row of each class.

        It validates on the rows that it trains on.
        """
        y, rest = self._encoded_target(), self.rows.rest
        first = np.zeros(0, dtype=np.int64)
        if self.task.n_classes:
            first = np.unique(y[rest], return_index=True)[1]
        rows = rest[np.union1d(np.arange(min(count, len(rest))), first)]
        features = self.features.transform(self.frame.iloc[rows])
        weight = None if self.weight is None else self.weight[rows]
        part = EncodedRows(features, y[rows], weight)
        return self._encoding().fold(0, part, part)

    def save(self, directory: Path) -> None:
        """Write the folds for `load_folds`."""
        save_folds(directory, self._encoding(), self.folds)

    def save_test(self, directory: Path) -> None:
        """Write the encoded test rows for `EncodedRows.load`."""
        rows = self.features.transform(self.test_frame)
        y = self._encoded_target()[self.rows.test]
        EncodedRows(rows, y, self.weight_test).save(directory)

    def resampled(
        self, *, repeats: int, folds: int, seed: int, among: IntArray | None = None
    ) -> Rows:
        """Divide the rows of the search again, several times (see `splits.resample`).

        The number of folds is at most the size of the second largest class, so that each part can
        hold two classes.

        Args:
            repeats: number of divisions.
            folds: of each division.
            seed: of the divisions.
            among: ascending numbers of the rows to divide; None for all rows of the search.
        """
        y, rest = self.y, self.rows.rest if among is None else among
        strata = y
        if self.task.kind == "regression":
            strata = quantile_strata(y)
        else:
            second_largest = np.sort(np.bincount(y[rest], minlength=2))[-2]
            folds = int(np.clip(second_largest, 2, folds))
        pairs = resample(
            self.frame,
            strata,
            self.split,
            rest,
            repeats=repeats,
            folds=folds,
            seed=seed,
        )
        return Rows(self.rows.test, pairs)

    def save_parts(self, directory: Path, rows: Rows) -> None:
        """Write the encoded table and the rows of each fold of `rows`, for `load_part`."""
        features = self.features.transform(self.frame)
        table = EncodedRows(features, self._encoded_target(), self.weight)
        save_parts(directory, self._encoding(), table, rows)

    def _encoded_target(self) -> npt.NDArray[Any]:
        return self.target.encode(self.frame[self.target_name])

    def _encoding(self) -> Encoding:
        return Encoding(self.task, self.target, self.features.cardinalities, self.monotone)


def prepare(source: Source, ahead: Ahead | None = None) -> Prepared:
    """Read the tables of a source, infer the task and the column types, divide and encode the rows.

    Rows without a target are dropped.

    Raises:
        ParameterError: for an impossible task, split, validation or role.
        DataError: if a table cannot be read or searched on.
    """
    others, mistakes = {}, Mistakes()
    for role, place in source.others.items():
        with mistakes:
            others[role] = read_table(place)
    with mistakes:
        problem = Problem.of(source, read_table(source.data, ahead))
    mistakes.raise_all()
    divided = _divide(source, problem, others)
    frame, rows = divided.frame, divided.rows
    y = divided.encoder.encode(frame[problem.target])
    _check_labels(source, divided, y)
    weight = _weights(source.roles, frame, rows)
    features, column_notes = _fit_features(source, problem, frame, rows)
    encoding = _encoding(source, divided, features)
    table = EncodedRows(features.transform(frame), y, weight)
    return Prepared(
        task=encoding.task,
        target_name=problem.target,
        target=divided.encoder,
        features=features,
        folds=tuple(
            encoding.fold(index, table.take(train), table.take(valid))
            for index, (train, valid) in enumerate(rows.folds)
        ),
        frame=frame,
        split=problem.split,
        rows=rows,
        notes=(
            *summary(divided.target, features, rows, source.split),
            types(features),
            *problem.notes,
            *divided.notes,
            *column_notes,
            *leak_notes(features, table, rows.rest, divided.target.is_regression),
        ),
        validation=divided.validation,
        digest=divided.joined.digest(problem.digest),
        spelling=problem.spelling,
        digests=divided.joined.digests,
        weight=weight,
        monotone=encoding.monotone,
    )


@dataclass(frozen=True)
class _Divided:
    """The rows whose target is known, and their division.

    Attributes:
        target: the target of the rows that were divided.
        encoder: of the target.
        joined: these rows and those of the other tables.
        rows: the division of all rows.
        validation: how the rows that are not test rows are used, as text.
        notes: sentences for the user.
    """

    target: Target
    encoder: TargetEncoder
    joined: Joined
    rows: Rows
    validation: str
    notes: tuple[str, ...]

    @property
    def frame(self) -> pd.DataFrame:
        """All raw rows."""
        return self.joined.frame


def _divide(source: Source, problem: Problem, others: Mapping[str, pd.DataFrame]) -> _Divided:
    """Read the target, divide the rows and append those of the other tables."""
    task = None if source.task == AUTO else source.task
    frame, target, dropped_rows = read_target(problem.frame, problem.target, task)
    mistakes = Mistakes()
    with mistakes:
        source.roles.check_task(target.kind)
    with mistakes:
        if source.roles.positive:
            target = target.with_positive(source.roles.positive)
    with mistakes:
        if source.roles.weight:
            read_weights(frame, source.roles.weight)
    with mistakes:
        if not target.is_regression and problem.split.kind == "random":
            target.check_class_sizes(problem.fewest_per_class)
    mistakes.raise_all()
    if source.validation == AUTO:
        mixed, share = problem.split.kind == "random", source.test_share
        chosen = suited(frame, target.counts, share, mixed=mixed)
        problem = replace(problem, validation=chosen)
    divided = divide(
        frame,
        target.strata,
        problem.split,
        problem.validation,
        source.test_share,
        source.seed,
        problem.outer,
    )
    encoder = target.encoder(divided.rest, source.loss)
    dropped = (name for name, kind in source.overrides.items() if kind == DROP)
    optional = {problem.validation.column, *dropped}
    joined = join(frame, target, others, problem.digest, optional)
    rows = joined.rows(divided)
    equal = *copies_note(rows.n_copies, len(frame)), *contradictions_note(frame, problem.target)
    notes = (*dropped_rows, *joined.notes, *equal)
    return _Divided(target, encoder, joined, rows, str(problem.validation), notes)


def _check_labels(source: Source, divided: _Divided, y: npt.NDArray[Any]) -> None:
    """Raise `DataError` for labels that no model can be trained on or scored with."""
    if not divided.target.is_regression:
        check_both_classes(source.split, divided.rows, y)
    if source.loss:
        Loss.parse(source.loss).check_target(divided.encoder.original(y))


def _weights(roles: Roles, frame: pd.DataFrame, rows: Rows) -> FloatArray | None:
    """The weights of all rows; None for equal ones."""
    if not roles.weight:
        return None
    return scaled_weights(read_weights(frame, roles.weight), rows, roles.weight)


def _encoding(source: Source, divided: _Divided, features: FeatureEncoder) -> Encoding:
    """What all folds share.

    Raises:
        ParameterError: for roles that the columns or the task cannot have.
    """
    signs = monotone_signs(source.roles.monotone, features)
    kind, encoder = divided.target.kind, divided.encoder
    task = Task(kind, len(encoder.classes), source.loss, source.roles.balance)
    return Encoding(task, encoder, features.cardinalities, signs)


def _no_features(problem: Problem, roles: Roles) -> dict[str, str]:
    """Why columns with a role are no features, by name."""
    found = {
        problem.validation.column: "its values are the folds",
        roles.weight: "it weighs the rows",
    }
    if problem.split.kind == "group":
        found[problem.split.column] = "new rows come from other groups"
    return {name: why for name, why in found.items() if name}


def _fit_features(
    source: Source, problem: Problem, frame: pd.DataFrame, rows: Rows
) -> tuple[FeatureEncoder, tuple[str, ...]]:
    """The encoder of the feature columns, and notes for the user."""
    unread, split = _no_features(problem, source.roles), problem.split
    notes = tuple(f"{name}: not used as a feature, {why}" for name, why in unread.items())
    raw = frame.drop(columns=[problem.target, *unread])
    keep = [split.column] if split.kind == "time" else []  # a time may number the rows
    encoder, column_notes = fit_features(raw, source.overrides, rows.rest, keep)
    test = raw.iloc[rows.test]
    columns = tuple(_tolerant(column, test[column.name]) for column in encoder.columns)
    return FeatureEncoder(columns), notes + column_notes


def _tolerant(column: Column, test: pd.Series) -> Column:
    """The column, marked `dirty` if only the test rows hold entries that it cannot read."""
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
