"""The rows on which a promotion is decided: the held-out rows of a study, or new ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from hpo.errors import DataError, StudyError
from pipelines.registry.gate import HeldOutScore, PromotionRefusedError
from pipelines.table.roles import check_role, read_weights
from pipelines.table.source import DATA, DataPlan, place_of, rebuild_source
from pipelines.table.splits import group_codes
from pipelines.table.target import with_known_target

if TYPE_CHECKING:
    import pandas as pd

    from serving.features import TargetEncoder
    from serving.values import FloatArray, IntArray

MIN_ROWS = 50  # with fewer, equal models are promoted more often than the probability says
MAX_SHARED = 0.5  # the share of "new" rows that may also be in the study's table


@dataclass(frozen=True)
class HeldOut:
    """Rows that no search has seen.

    Attributes:
        frame: The raw columns without the target.
        y: Class codes, or values in original units, (n,).
        groups: Codes (n,) of rows that depend on each other; None if there are none.
        of_study: Whether these are the rows of the recorded score.
        origin: What messages call the rows.
        notes: Sentences for the user.
        weight: Weights (n,) of the rows; None for equal ones.
    """

    frame: pd.DataFrame
    y: npt.NDArray[Any]
    groups: IntArray | None
    of_study: bool
    origin: str
    notes: tuple[str, ...] = ()
    weight: FloatArray | None = None

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.y)


@dataclass(frozen=True)
class StudyTable:
    """The table of the challenger's study and how its rows were used.

    Attributes:
        plan: The table, its target and its split.
        seed: The seed of the split.
        score: The recorded score, whose digests identify the held-out rows.
    """

    plan: DataPlan
    seed: int
    score: HeldOutScore

    @property
    def _way_out(self) -> str:
        return (
            "a table that neither model has seen, with the target column "
            f"{self.plan.target!r}, as -P data="
        )

    def load(self) -> pd.DataFrame:
        """Read the table from its recorded place.

        Raises:
            PromotionRefusedError: If it cannot be read.
        """
        from pipelines.table.reading import load_table, with_text_names

        try:
            return with_text_names(load_table(place_of(self.plan, DATA)))
        except (StudyError, DataError) as error:
            raise PromotionRefusedError(
                f"the held-out rows of the challenger's study cannot be read: {error}. To compare "
                f"on other rows, give {self._way_out}"
            ) from error

    def held_out(self, given: Mapping[str, pd.DataFrame] | None = None) -> HeldOut:
        """The rows that the study held out.

        Args:
            given: tables of the study by their role, instead of those at the recorded places.

        Raises:
            PromotionRefusedError: If a table or the split differs from the recorded one.
        """
        plan, score = self.plan, self.score
        tables = {DATA: given[DATA] if given and DATA in given else self.load(), **(given or {})}
        try:
            prepared = rebuild_source(plan, self.seed, tables).prepare()
        except StudyError as error:
            raise PromotionRefusedError(
                f"the held-out rows of the challenger's study cannot be read: {error}"
            ) from error
        if prepared.digest != score.data:
            raise PromotionRefusedError(
                f"the table {plan.uri} has changed since the challenger's study (its digest was "
                f"{score.data[:8]}… and is {prepared.digest[:8]}… now), so the held-out rows are "
                f"unknown; give the original table, or {self._way_out}"
            )
        if prepared.rows.digest != score.split:
            raise PromotionRefusedError(
                f"this version of the project splits the rows of {plan.uri} differently than the "
                "one that ran the challenger's study, so the held-out rows are unknown; give "
                f"{self._way_out}"
            )
        table = prepared.test_frame.reset_index(drop=True)
        return HeldOut(
            frame=table,
            y=prepared.y_test,
            groups=group_codes(plan.split, table, plan.overrides),
            weight=prepared.weight_test,
            of_study=True,
            origin="rows that the challenger's study held out",
        )

    def refuse_own_rows(self, frame: pd.DataFrame, shown: str) -> None:
        """Check that most rows of a new table are not in the study's table, if that is readable.

        Raises:
            PromotionRefusedError: If they are.
        """
        try:
            own = self.load()
        except PromotionRefusedError:
            return
        if set(own.columns) != set(frame.columns):
            return
        names = sorted(map(str, own.columns))
        shared = float(_row_hashes(frame[names]).isin(_row_hashes(own[names])).mean())
        if shared > MAX_SHARED:
            raise PromotionRefusedError(
                f"{shared:.0%} of the rows of {shown} are also in the table of the challenger's "
                "study, which was trained on most of them; give new rows, or leave data= out to "
                "compare on the held-out rows"
            )


def held_out_rows(
    study: StudyTable,
    target: TargetEncoder,
    data: str | Path | pd.DataFrame | None = None,
) -> HeldOut:
    """The held-out rows of a study, or the new rows `data`.

    If `data` is the study's own table, at a new place for example, its held-out rows are used,
    because the challenger was trained on the others.

    Args:
        study: The challenger's table.
        target: The challenger's labels.
        data: A table or its place; None for the study's.

    Raises:
        UserError: If there are no such rows, or too few.
    """
    import pandas as pd

    from pipelines.table.reading import digest, load_table, with_text_names

    if data is None:
        return enough(study.held_out())
    frame = with_text_names(data if isinstance(data, pd.DataFrame) else load_table(str(data)))
    role = study.plan.role_of(digest(frame))
    if role is not None:
        return enough(study.held_out({role: frame}))
    shown = "the table in memory" if isinstance(data, pd.DataFrame) else Path(str(data)).name
    study.refuse_own_rows(frame, shown)
    return enough(_new_rows(study.plan, target, frame, shown))


def _new_rows(plan: DataPlan, target: TargetEncoder, frame: pd.DataFrame, shown: str) -> HeldOut:
    rows, y, notes = with_known_target(target, frame, plan.target, shown)
    table, weight = rows.drop(columns=plan.target), None
    if plan.roles.weight:
        check_role(rows, "weight", plan.roles.weight, plan.target)
        weight = read_weights(rows, plan.roles.weight, shown)
    return HeldOut(
        frame=table,
        y=y,
        groups=group_codes(plan.split, table, plan.overrides),
        weight=weight,
        of_study=False,
        origin=f"new rows of {shown}",
        notes=notes,
    )


def _row_hashes(frame: pd.DataFrame) -> pd.Series:
    """A hash of each row, the same for equal integers and floats."""
    import pandas as pd

    numeric = frame.select_dtypes("number").columns
    same = frame.astype(dict.fromkeys(numeric, "float64")) if len(numeric) else frame
    hashes: pd.Series = pd.util.hash_pandas_object(same, index=False)
    return hashes


def enough(rows: HeldOut) -> HeldOut:
    """The rows, if they are enough to compare two models.

    Raises:
        PromotionRefusedError: If they are not.
    """
    if len(rows) < MIN_ROWS:
        raise PromotionRefusedError(
            f"{len(rows)} {rows.origin} are too few to compare two models; at least {MIN_ROWS} are "
            "needed: give more with -P data=, or hold out more with `tune -P test_share=`"
        )
    return rows
