"""What is predicted from a table, and how its rows are to be divided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from hpo.errors import DataError, Mistakes, ParameterError, closest
from pipelines.table.division.validation import Validation
from pipelines.table.overrides import check_overrides
from pipelines.table.reading import digest, spelling, with_text_names, without_index
from pipelines.table.roles import check_directions, check_role
from pipelines.table.source import AUTO, TEST, Source
from pipelines.table.splits import Outer, Split
from pipelines.table.target import listed
from serving.names import normal_name


@dataclass(frozen=True)
class Problem:
    """A raw table, its target and the division of its rows, checked against its columns.

    Attributes:
        frame: the rows that are divided, with names in their normal form.
        target: name of the target column.
        split: the rule by which the rows are divided.
        validation: how the rows that are not test rows are used.
        outer: the fold that is tested on instead of a share.
        digest: identifies the table.
        spelling: as in `Prepared`.
        notes: sentences for the user.
    """

    frame: pd.DataFrame
    target: str
    split: Split
    validation: Validation
    outer: Outer | None
    digest: str
    spelling: Mapping[str, Any]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, source: Source, table: pd.DataFrame) -> Problem:
        """The problem that a source describes; `table` holds the rows that are divided.

        Raises:
            UserError: for a column that the table lacks, and for an impossible division.
        """
        if not 0.0 <= source.test_share < 0.5 or (source.test_share == 0.0) != (
            TEST in source.others
        ):
            raise ParameterError(
                "test_share must lie between 0 and 0.5, or be 0 with a table of test rows, but got "
                f"{source.test_share}"
            )
        frame, notes = without_index(with_text_names(table))
        target, mistakes = normal_name(source.target), Mistakes()
        with mistakes:
            _check_target(frame, target)
        with mistakes:
            features = [name for name in frame.columns if name != target]
            split = Split.parse(source.split, features, source.overrides)
        is_auto = source.validation == AUTO  # that depends on the target, which is read later
        validation = Validation(0) if is_auto else Validation.parse(source.validation)
        outer = Outer.parse(source.outer) if source.outer else None
        with mistakes:
            check_overrides(frame, source.overrides, target)
        for option, column in (("fold", validation.column), ("weight", source.roles.weight)):
            with mistakes:
                check_role(frame, option, column, target)
        with mistakes:
            check_directions(source.roles.monotone, frame.columns)
        mistakes.raise_all()
        return cls(frame, target, split, validation, outer, digest(frame), spelling(frame), notes)

    @property
    def fewest_per_class(self) -> int:
        """How many rows each class needs where the rows are divided at random."""
        return max(2, self.validation.folds, self.outer.folds if self.outer else 0)


def _check_target(frame: pd.DataFrame, target: str) -> None:
    names = list(frame.columns)
    if target not in names:
        raise DataError(
            f"the table has no target column {target!r}{closest(target, names)}; columns: "
            f"{listed(names)}"
        )
