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
from hpo.errors import DataError, ParameterError, closest
from pipelines.table.columns import fit_features
from pipelines.table.division.copies import copies_note
from pipelines.table.division.validation import Validation
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
from pipelines.table.given import join
from pipelines.table.leaks import leak_notes
from pipelines.table.overrides import DROP, Overrides, check_overrides
from pipelines.table.reading import digest, load_table, spelling, with_text_names, without_index
from pipelines.table.roles import (
    Roles,
    check_role,
    monotone_signs,
    read_weights,
    scaled_weights,
)
from pipelines.table.scores.losses import Loss
from pipelines.table.source import TEST
from pipelines.table.splits import (
    Outer,
    Rows,
    Split,
    divide,
    quantile_strata,
    resample,
)
from pipelines.table.target import Target, check_both_classes, listed, read_target
from serving.columns import KINDS, CategoricalColumn, Column, kind_of
from serving.features import FeatureEncoder, TargetEncoder
from serving.names import normal_name

__all__ = [
    "Fold",
    "Prepared",
    "Task",
    "load_folds",
    "load_part",
    "load_table",
    "prepare",
]

EXAMPLE_ROWS = 5
SHOWN_NAMES = 8  # of each type


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


def prepare(
    frame: pd.DataFrame,
    target: str,
    *,
    task: str | None = None,
    split: str = "random",
    test_share: float = 0.2,
    validation: str = "holdout",
    seed: int = 0,
    outer: str = "",
    overrides: Overrides | None = None,
    others: Mapping[str, pd.DataFrame] | None = None,
    roles: Roles | None = None,
    loss: str = "",
) -> Prepared:
    """Infer the task and the column types, divide the rows and encode them.

    Args:
        frame: the raw table. Rows without a target are dropped.
        target: name of the target column.
        task: binary, multiclass or regression; None to infer it.
        split: "random", "time:COLUMN" or "group:COLUMN".
        test_share: share of the test rows; 0 with a table of test rows.
        validation: "holdout", "holdout:SHARE", "cv:K", "fold:COLUMN", or "table" with a table of
            validation rows.
        seed: of the division.
        outer: a fold like "2/5" that is tested on instead of a random share.
        overrides: types of columns instead of the inferred ones, see `parse_overrides`.
        others: tables of their own, for the rows to test on or to validate on (`given`).
        roles: of columns and labels.
        loss: that a regression is trained for, such as "quantile:0.9"; "" for the squared error.

    Raises:
        ParameterError: for impossible arguments.
        DataError: for a table that cannot be searched on.
    """
    others, roles = others or {}, roles or Roles()
    if not 0.0 <= test_share < 0.5 or (test_share == 0.0) != (TEST in others):
        raise ParameterError(
            f"test_share must lie between 0 and 0.5, or be 0 with a table of test rows, but got "
            f"{test_share}"
        )
    frame, index_note = without_index(with_text_names(frame))
    target = _known_column(frame, target)
    how = Split.parse(split, [name for name in frame.columns if name != target], overrides)
    folds = Validation.parse(validation)
    held_out = Outer.parse(outer) if outer else None
    first_digest, spelled = digest(frame), spelling(frame)
    check_overrides(frame, overrides or {}, target)
    for option, column in (("fold", folds.column), ("weight", roles.weight)):
        if column:
            check_role(frame, option, column, target)

    frame, found, dropped_rows = read_target(frame, target, task)
    if roles.positive:
        found = found.with_positive(roles.positive)
    if not found.is_regression and how.kind == "random":
        found.check_class_sizes(max(2, folds.folds, held_out.folds if held_out else 0))
    divided = divide(frame, found.strata, how, folds, test_share, seed, held_out)
    encoder = found.encoder(divided.rest, loss)
    unused = {folds.column, *(name for name, kind in (overrides or {}).items() if kind == DROP)}
    joined = join(frame, found, others, first_digest, unused)
    n_divided, frame, rows = len(frame), joined.frame, joined.rows(divided)
    y = encoder.encode(frame[target])
    if not found.is_regression:
        check_both_classes(split, rows, y)
    if loss:
        Loss.parse(loss).check_target(encoder.original(y))
    weight = None
    if roles.weight:
        weight = scaled_weights(read_weights(frame, roles.weight), rows, roles.weight)

    unread = _no_features(how, folds, roles)
    features, column_notes = _fit_features(frame, target, rows, how, unread, overrides or {})
    signs = monotone_signs(roles.monotone, features, list(map(str, frame.columns)))
    roles.check_task(found.kind)
    task_of_all = Task(found.kind, len(encoder.classes), loss, roles.balance)
    encoding = Encoding(task_of_all, encoder, features.cardinalities, signs)
    table = EncodedRows(features.transform(frame), y, weight)
    return Prepared(
        task=encoding.task,
        target_name=target,
        target=encoder,
        features=features,
        folds=tuple(
            encoding.fold(index, table.take(train), table.take(valid))
            for index, (train, valid) in enumerate(rows.folds)
        ),
        frame=frame,
        split=how,
        rows=rows,
        notes=(
            *_summary(found, features, rows, split),
            _types(features),
            *index_note,
            *dropped_rows,
            *joined.notes,
            *copies_note(rows.n_copies, n_divided),
            *column_notes,
            *leak_notes(features, table.take(rows.rest), found.is_regression),
        ),
        digest=joined.digest(first_digest),
        spelling=spelled,
        digests=joined.digests,
        weight=weight,
        monotone=signs,
    )


def _known_column(frame: pd.DataFrame, target: str) -> str:
    target = normal_name(target)
    names = list(frame.columns)
    if target not in names:
        raise DataError(
            f"the table has no target column {target!r}{closest(target, names)}; columns: "
            f"{listed(names)}"
        )
    return target


def _no_features(split: Split, validation: Validation, roles: Roles) -> dict[str, str]:
    """Why columns with a role are no features, by name."""
    found = {validation.column: "its values are the folds", roles.weight: "it weighs the rows"}
    if split.kind == "group":
        found[split.column] = "new rows come from other groups"
    return {name: why for name, why in found.items() if name}


def _fit_features(
    frame: pd.DataFrame,
    target: str,
    rows: Rows,
    split: Split,
    unread: Mapping[str, str],
    overrides: Overrides,
) -> tuple[FeatureEncoder, tuple[str, ...]]:
    """The encoder of the feature columns, and notes for the user."""
    notes = tuple(f"{name}: not used as a feature, {why}" for name, why in unread.items())
    raw = frame.drop(columns=[target, *unread])
    keep = [split.column] if split.kind == "time" else []  # a time may number the rows
    encoder, column_notes = fit_features(raw, overrides, rows.rest, keep)
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


def _types(features: FeatureEncoder) -> str:
    """The types of the columns, in one sentence."""
    names: dict[str, list[str]] = {}
    for column in features.columns:
        names.setdefault(kind_of(column), []).append(column.name)
    return "types: " + "; ".join(f"{kind} {_shown(names[kind])}" for kind in KINDS if kind in names)


def _shown(names: list[str]) -> str:
    more = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more:,} more" if more > 0 else "")


def _summary(
    target: Target, features: FeatureEncoder, rows: Rows, split: str
) -> tuple[str, str, str]:
    """The table, its target and its division, a sentence each."""
    n_search, n_test = len(rows.rest), len(rows.test)
    inputs = (
        f"{n_search + n_test:,} rows; {len(features.inputs)} columns give "
        f"{len(features.numeric_names)} numeric and {len(features.categorical_names)} categorical "
        "features"
    )
    if len(rows.folds) > 1:
        parts = f"{len(rows.folds)} folds of {n_search:,} rows"
    else:
        train, valid = rows.folds[0]
        parts = f"train {len(train):,}, validate {len(valid):,}"
    return inputs, target.describe(), f"{parts}, test {n_test:,} rows, split {split}"
