"""Where a study's table comes from and how its rows are used."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from hpo.errors import StudyError
from pipelines.files.uris import HIDDEN, is_hidden, safe

if TYPE_CHECKING:
    from pipelines.table.data import Prepared


@dataclass(frozen=True)
class DataPlan:
    """Where the table is, what it looks like, and how its rows are used.

    `uri` is None for a table that was handed over in memory; `digest` tells whether a table is the
    same; `outer`, like "2/5", is the part that a validation holds out in place of the share.
    """

    uri: str | None
    digest: str
    rows: int
    target: str
    task: str
    split: str
    test_share: float
    validation: str
    outer: str = ""


@dataclass(frozen=True)
class Source:
    """A table (a path, a URI or the table itself), its target, and how its rows are divided.

    `outer`, like "2/5", is the part of a validation that is held out in place of a share.
    """

    data: str | Path | pd.DataFrame
    target: str
    task: str
    split: str
    test_share: float
    validation: str
    seed: int
    outer: str = ""

    def prepare(self) -> "Prepared":
        """Read the table, find the task, divide the rows and encode them.

        Raises:
            DataError: when the table cannot be searched on.
            ParameterError: for an impossible task, split or validation.
        """
        from pipelines.table.data import prepare
        from pipelines.table.reading import load_table

        frame = self.data if isinstance(self.data, pd.DataFrame) else load_table(str(self.data))
        return prepare(
            frame,
            self.target,
            task=None if self.task == "auto" else self.task,
            split=self.split,
            test_share=self.test_share,
            validation=self.validation,
            seed=self.seed,
            outer=self.outer,
        )

    def plan(self, prepared: "Prepared") -> DataPlan:
        """What identifies this use of the table."""
        return DataPlan(
            uri=None if isinstance(self.data, pd.DataFrame) else safe(absolute(str(self.data))),
            digest=prepared.digest,
            rows=len(prepared.frame),
            target=prepared.target_name,
            task=prepared.task.kind,
            split=self.split,
            test_share=self.test_share,
            validation=self.validation,
            outer=self.outer,
        )


def same_again(plan: DataPlan, seed: int, data: str | Path | pd.DataFrame | None = None) -> Source:
    """The source of an earlier study; `data` when the table has moved or was handed over in memory.

    Raises:
        StudyError: when the table is needed and was not handed over, or is not where it was.
    """
    place = plan.uri if data is None else data
    if place is None:
        raise StudyError("the study was made from a table in memory: hand it over as data=")
    if data is None and is_hidden(str(place)):
        raise StudyError(
            f"the study's table is {place}, and what stood in place of {HIDDEN} is kept nowhere: give its URI as data="
        )
    if data is None and "://" not in str(place) and not Path(str(place)).exists():
        raise StudyError(
            f"there is no file {place} any more, the study's table; if it has moved, give its new place as data="
        )
    return Source(
        place,
        plan.target,
        plan.task,
        plan.split,
        plan.test_share,
        plan.validation,
        seed,
        plan.outer,
    )


def described(prepared: "Prepared") -> dict[str, Any]:
    """The meta-features of the rows that the search may see; the same for every study of this table and split."""
    from warmstart.metafeatures import meta_features

    rows = prepared.rows.rest
    frame = prepared.frame.iloc[rows].drop(columns=prepared.target_name)
    return meta_features(frame, prepared.y[rows], prepared.task.kind).to_dict()


def absolute(uri: str) -> str:
    """A path or URI that means the same wherever the next session starts."""
    return uri if "://" in uri else str(Path(uri).expanduser().resolve())
