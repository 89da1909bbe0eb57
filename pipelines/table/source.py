"""Where the table of a study comes from, and how its rows are used."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from hpo.errors import StudyError
from pipelines.files.uris import HIDDEN, is_hidden, safe
from serving.columns import Column, DateColumn, NumericColumn
from serving.dates import ISO, dates
from serving.numbers import PLAIN

if TYPE_CHECKING:
    from pipelines.table.data import Prepared

SHOWN = ("target", "task", "split", "test_share", "validation")  # repeated in a header


HOLDOUT = "holdout"  # the validation without folds


@dataclass(frozen=True)
class DataPlan:
    """The table of a study and the use of its rows, as a later process needs them.

    Attributes:
        uri: of the table; None for a table that was passed in memory.
        digest: identifies the content of the table.
        rows: number of rows whose target is known.
        target: name of the target column.
        task: binary, multiclass or regression.
        split: "random", "time:COLUMN" or "group:COLUMN".
        test_share: share of the test rows.
        validation: "holdout" or "cv:K".
        outer: the fold, like "2/5", that an outer cross-validation holds out instead of a share.
        overrides: types of columns that the user chose, by name; "drop" for those left out.
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
    overrides: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_folds(self) -> bool:
        """Whether several folds validate, whose models have seen all their rows."""
        return self.validation != HOLDOUT

    @property
    def identity(self) -> str:
        """Names the prediction, and the rows that it is made for."""
        return f"{self.digest}:{self.target}:{self.outer}"

    @property
    def fingerprint(self) -> dict[str, Any]:
        """All but the place of the table, which may have moved."""
        return {name: value for name, value in self.to_dict().items() if name != "uri"}

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def to_header(self) -> dict[str, Any]:
        """The table's part of the header of a study; its settings stand there twice, as tags."""
        values = self.to_dict()
        return {**{name: values[name] for name in SHOWN}, "data": values}

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> "DataPlan":
        """Read what `to_header` wrote.

        Raises:
            StudyError: when the study has no table.
        """
        try:
            return cls(**header["data"])
        except (KeyError, TypeError) as error:
            raise StudyError(
                f"the study's header has no table ({error}), so it cannot be resumed; start a new "
                "study"
            ) from error


@dataclass(frozen=True)
class Source:
    """A table (path, URI or data frame), its target, and the division of its rows.

    The attributes are those of `DataPlan`; `task` may be "auto", and `seed` is that of the
    division.
    """

    data: str | Path | pd.DataFrame
    target: str
    task: str
    split: str
    test_share: float
    validation: str
    seed: int
    outer: str = ""
    overrides: Mapping[str, str] = field(default_factory=dict)

    def prepare(self) -> "Prepared":
        """Read the table, infer the task, divide the rows and encode them.

        Raises:
            DataError: if the table cannot be read or searched on.
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
            overrides=self.overrides,
        )

    def plan(self, prepared: "Prepared") -> DataPlan:
        """The description of this use of the table."""
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
            overrides=dict(self.overrides),
        )


def rebuild_source(
    plan: DataPlan, seed: int, data: str | Path | pd.DataFrame | None = None
) -> Source:
    """Rebuild the source of an earlier study.

    Args:
        plan: of the earlier study.
        seed: of the earlier study.
        data: the table, if it has moved or was passed in memory.

    Raises:
        StudyError: if `data` is needed and missing, or the file is gone.
    """
    if data is None:
        data = _recorded_place(plan)
    return Source(
        data=data,
        target=plan.target,
        task=plan.task,
        split=plan.split,
        test_share=plan.test_share,
        validation=plan.validation,
        seed=seed,
        outer=plan.outer,
        overrides=plan.overrides,
    )


def _recorded_place(plan: DataPlan) -> str:
    uri = plan.uri
    if uri is None:
        raise StudyError("the study was made from a table in memory: pass it as data=")
    if is_hidden(uri):
        raise StudyError(
            f"the study's table is {uri}, and the secret in place of {HIDDEN} is not stored: pass "
            "its full URI as data="
        )
    if "://" not in uri and not Path(uri).exists():
        raise StudyError(
            f"the study's table {uri} no longer exists; if it has moved, pass its new place as "
            "data="
        )
    return uri


def described(prepared: "Prepared") -> dict[str, Any]:
    """Meta-features of the rows that the search uses, as a JSON-serialisable mapping.

    They are the same for every study of this table and split.
    """
    from warmstart.metafeatures import meta_features

    rows = prepared.rows.rest
    frame = prepared.frame.iloc[rows].drop(columns=prepared.target_name)
    return meta_features(
        _as_read(frame, prepared.features.columns), prepared.y[rows], prepared.task.kind
    ).to_dict()


def _as_read(frame: pd.DataFrame, columns: Iterable[Column]) -> pd.DataFrame:
    """The table with numbers and dates in place of the texts that write them in a format."""
    read: dict[str, Any] = {}
    for column in columns:
        if isinstance(column, NumericColumn) and column.format != PLAIN:
            read[column.name] = column.encode(frame[column.name])
        elif isinstance(column, DateColumn) and column.format != ISO:
            codes, found, _ = dates(frame[column.name], column.format)
            read[column.name] = found.append(pd.DatetimeIndex([pd.NaT]))[codes]
    return frame.assign(**read)


def absolute(uri: str) -> str:
    """The URI, or the path made independent of the working directory."""
    return uri if "://" in uri else str(Path(uri).expanduser().resolve())
