"""Where the table of a study comes from, and how its rows are used."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from hpo.errors import StudyError
from pipelines.files.uris import HIDDEN, is_hidden, safe
from pipelines.table.roles import Roles
from serving.columns import Column, DateColumn, NumericColumn
from serving.dates import ISO, dates
from serving.numbers import PLAIN

if TYPE_CHECKING:
    from pipelines.table.data import Prepared
    from pipelines.table.reading import Ahead

DATA, TEST, VALIDATION = "data", "test", "validation"  # roles of tables
SHOWN = ("target", "task", "split", "test_share", "validation")  # repeated in a header

AUTO = "auto"  # the task that the target has

Place = str | Path | pd.DataFrame
"""A table: in memory, or where it is."""


@dataclass(frozen=True)
class DataPlan:
    """The table of a study and the use of its rows, as a later process needs them.

    Attributes:
        uri: of the table; None for a table that was passed in memory.
        digest: identifies the content of the table, and of those beside it.
        rows: number of rows whose target is known.
        target: name of the target column.
        task: binary, multiclass or regression.
        split: "random", "time:COLUMN" or "group:COLUMN".
        test_share: share of the test rows; 0 if they are a table of their own.
        validation: "holdout", "holdout:SHARE", "cv:K", "fold:COLUMN", or "table" for rows of their
            own.
        outer: the fold, like "2/5", that an outer cross-validation holds out instead of a share.
        overrides: types of columns that the user chose, by name; "drop" for those left out.
        digests: of each table by its role, where there are others beside it.
        others: the URIs of the tables beside it, by role (`pipelines.table.division.given`).
        roles: of columns and labels.
        loss: that a regression is trained for; "" for the squared error.
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
    digests: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, str | None] = field(default_factory=dict)
    roles: Roles = field(default_factory=Roles)
    loss: str = ""

    @property
    def has_folds(self) -> bool:
        """Whether several folds validate, whose models have seen all their rows."""
        return self.validation.startswith(("cv:", "fold:"))

    @property
    def has_own_folds(self) -> bool:
        """Whether a column of the table gives the folds."""
        return self.validation.startswith("fold:")

    def role_of(self, digest: str) -> str | None:
        """The role of the study's table with this content; None if the study has no such table."""
        digests = self.digests or {DATA: self.digest}
        return next((role for role, known in digests.items() if known == digest), None)

    @property
    def identity(self) -> str:
        """Names the prediction, and the rows that it is made for."""
        return f"{self.digest}:{self.target}:{self.outer}"

    @property
    def fingerprint(self) -> dict[str, Any]:
        """All but the places of the tables, which may have moved."""
        places = ("uri", "others")
        return {name: value for name, value in self.to_dict().items() if name not in places}

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**values, "roles": asdict(self.roles)}

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
            values = dict(header["data"])
            return cls(**{**values, "roles": Roles(**values.get("roles", {}))})
        except (KeyError, TypeError) as error:
            raise StudyError(
                f"the study's header has no table ({error}), so it cannot be resumed; start a new "
                "study"
            ) from error


@dataclass(frozen=True)
class Source:
    """A table (path, URI or data frame), its target, and the division of its rows.

    The attributes are those of `DataPlan`; `task` may be `AUTO`, `seed` is that of the division,
    and `others` are tables of their own for some rows, by role.
    """

    data: Place
    target: str
    task: str = AUTO
    split: str = "random"
    test_share: float = 0.2
    validation: str = "holdout"
    seed: int = 0
    outer: str = ""
    overrides: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, Place] = field(default_factory=dict)
    roles: Roles = field(default_factory=Roles)
    loss: str = ""

    def prepare(self, ahead: "Ahead | None" = None) -> "Prepared":
        """Read the tables, infer the task, divide the rows and encode them.

        Args:
            ahead: a thread that reads the table already.

        Raises:
            DataError: if a table cannot be read or searched on.
            ParameterError: for an impossible task, split or validation.
        """
        from pipelines.table.data import prepare

        return prepare(self, ahead)

    def plan(self, prepared: "Prepared") -> DataPlan:
        """The description of this use of the table."""
        return DataPlan(
            uri=_uri(self.data),
            digest=prepared.digest,
            rows=len(prepared.frame),
            target=prepared.target_name,
            task=prepared.task.kind,
            split=self.split,
            test_share=self.test_share,
            validation=prepared.validation,
            outer=self.outer,
            overrides=dict(self.overrides),
            digests=dict(prepared.digests),
            others={role: _uri(place) for role, place in self.others.items()},
            roles=self.roles,
            loss=self.loss,
        )


def _uri(place: Place) -> str | None:
    """The place of a table without secrets; None for a table in memory."""
    return None if isinstance(place, pd.DataFrame) else safe(absolute(str(place)))


def rebuild_source(
    plan: DataPlan, seed: int, given: Mapping[str, Place | None] | None = None
) -> Source:
    """Rebuild the source of an earlier study.

    Args:
        plan: of the earlier study.
        seed: of the earlier study.
        given: tables by role, if they have moved or were passed in memory.

    Raises:
        StudyError: if a table is needed and missing, its file is gone, or the study has none in
            this role.
    """
    tables = {role: place for role, place in (given or {}).items() if place is not None}
    for role in tables:
        if role != DATA and role not in plan.others:
            raise StudyError(
                f"the study began without a table of {role} rows; leave {role} out, or start a new "
                "study"
            )
    return Source(
        data=tables[DATA] if DATA in tables else place_of(plan, DATA),
        target=plan.target,
        task=plan.task,
        split=plan.split,
        test_share=plan.test_share,
        validation=plan.validation,
        seed=seed,
        outer=plan.outer,
        overrides=plan.overrides,
        others={
            role: tables[role] if role in tables else place_of(plan, role) for role in plan.others
        },
        roles=plan.roles,
        loss=plan.loss,
    )


def place_of(plan: DataPlan, role: str) -> str:
    """Where the study's table in this role was.

    Raises:
        StudyError: if it was in memory, has a secret in its URI, or is gone.
    """
    uri = plan.uri if role == DATA else plan.others[role]
    what = "table" if role == DATA else f"table of {role} rows"
    if uri is None:
        raise StudyError(f"the study was made from a {what} in memory: pass it as {role}=")
    if is_hidden(uri):
        raise StudyError(
            f"the study's {what} is {uri}, and the secret in place of {HIDDEN} is not stored: pass "
            f"its full URI as {role}="
        )
    if "://" not in uri and not Path(uri).exists():
        raise StudyError(
            f"the study's {what} {uri} no longer exists; if it has moved, pass its new place as "
            f"{role}="
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
