"""The rows on which a promotion is decided: those that a study held out, found again, or new ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hpo.errors import DataError, StudyError, closest
from pipelines.registry.gate import HeldOutScore, PromotionRefusedError
from pipelines.table.source import DataPlan, rebuild_source
from pipelines.table.splits import group_codes
from serving.values import labelled, numbers

if TYPE_CHECKING:
    import pandas as pd

    from serving.features import TargetEncoder
    from serving.values import IntArray

FEWEST_ROWS = 50  # with fewer, equal models are promoted more often than the probability says
SHARED = 0.5  # so large a share of "new" rows that are the study's own is no accident


@dataclass(frozen=True)
class HeldOut:
    """Rows that no search has seen.

    `frame` holds the raw columns without the target, `y` (n,) class codes or values in original
    units, `groups` (n,) codes of rows that depend on each other (None when there are none).
    `of_study` says whether they are the very rows of the recorded score; `origin` is what they are
    called in messages.
    """

    frame: pd.DataFrame
    y: npt.NDArray[Any]
    groups: IntArray | None
    of_study: bool
    origin: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.y)


def held_out_rows(
    plan: DataPlan,
    seed: int,
    score: HeldOutScore,
    target: TargetEncoder,
    data: str | Path | pd.DataFrame | None = None,
) -> HeldOut:
    """The rows that the study of `plan` held out, or the new rows `data`.

    When `data` is the study's own table (it has moved, say), the rows that were held out of it are
    taken: the others have been trained on.

    Args:
        plan: The challenger's table and how its rows were used.
        seed: Of its split.
        score: What was recorded on its held-out rows; tells whether they are found again.
        target: The challenger's labels.
        data: A table, or its place; None for that of the study.

    Raises:
        UserError: when the rows cannot be had; it ends with the way out.
    """
    import pandas as pd

    from pipelines.table.reading import digest, load_table, with_text_names

    if data is None:
        return _enough(_of_study(plan, seed, score, _study_table(plan, seed)))
    frame = with_text_names(data if isinstance(data, pd.DataFrame) else load_table(str(data)))
    if digest(frame) == score.data:
        return _enough(_of_study(plan, seed, score, frame))
    shown = "the table in memory" if isinstance(data, pd.DataFrame) else Path(str(data)).name
    _refuse_own_rows(plan, seed, frame, shown)
    return _enough(_new(plan, target, frame, shown))


def _study_table(plan: DataPlan, seed: int) -> pd.DataFrame:
    """The table of a study, from where it was.

    Raises:
        PromotionRefusedError: when it cannot be read.
    """
    from pipelines.table.reading import load_table, with_text_names

    try:
        return with_text_names(load_table(str(rebuild_source(plan, seed).data)))
    except (StudyError, DataError) as error:
        raise PromotionRefusedError(
            f"the rows that the challenger's study held out cannot be read again: {error}. To compare on other rows, "
            f"give a table that neither model has seen, with the target column {plan.target!r}, as -P data="
        ) from error


def _of_study(plan: DataPlan, seed: int, score: HeldOutScore, frame: pd.DataFrame) -> HeldOut:
    prepared = rebuild_source(plan, seed, frame).prepare()
    if prepared.digest != score.data:
        raise PromotionRefusedError(
            f"the table {plan.uri} has changed since the challenger's study (digest {prepared.digest[:8]}…, it was "
            f"{score.data[:8]}…), so its held-out rows cannot be told from the others; give the table as it was, or "
            f"one that neither model has seen, with the target column {plan.target!r}, as -P data="
        )
    if prepared.rows.digest != score.split:
        raise PromotionRefusedError(
            f"this version divides the rows of {plan.uri} in another way than the one that ran the challenger's study, "
            f"so its held-out rows cannot be told; give a table that neither model has seen, with the target column "
            f"{plan.target!r}, as -P data="
        )
    table = prepared.test_frame.reset_index(drop=True)
    return HeldOut(
        table,
        prepared.y_test,
        group_codes(plan.split, table),
        True,
        "rows that the challenger's study held out",
    )


def _new(plan: DataPlan, target: TargetEncoder, frame: pd.DataFrame, shown: str) -> HeldOut:
    if plan.target not in frame.columns:
        names = list(map(str, frame.columns))
        raise DataError(
            f"{shown} has no target column {plan.target!r}{closest(plan.target, names)}; new rows need the truth to be "
            f"scored against; columns: {', '.join(names[:20])}"
        )
    known = _has_target(target, frame[plan.target], shown)
    notes: tuple[str, ...] = ()
    if not known.all():
        notes = (
            f"{int((~known).sum()):,} of {len(frame):,} rows of {shown} have no {plan.target!r}",
        )
    frame = frame[known].reset_index(drop=True)
    try:
        y = target.original(target.encode(frame[plan.target]))
    except ValueError as error:
        raise DataError(f"{shown}: {error}; the models know no other") from error
    table = frame.drop(columns=plan.target)
    return HeldOut(table, y, group_codes(plan.split, table), False, f"new rows of {shown}", notes)


def _has_target(target: TargetEncoder, series: pd.Series, shown: str) -> npt.NDArray[np.bool_]:
    if target.kind != "regression":
        try:
            return labelled(series)[0] >= 0
        except ValueError as error:
            raise DataError(f"{shown}: target {error}") from error
    values, unreadable = numbers(series)
    strange = unreadable | np.isinf(values)
    if strange.any():
        first = series.iloc[int(np.flatnonzero(strange)[0])]
        raise DataError(
            f"{shown}: {int(strange.sum()):,} targets are no finite numbers, the first is {first!r}; mend them or "
            "leave these cells empty, then their rows are dropped"
        )
    return ~np.isnan(values)


def _refuse_own_rows(plan: DataPlan, seed: int, frame: pd.DataFrame, shown: str) -> None:
    """Refuse a table that holds the rows which the challenger was trained on, as far as that can be told."""
    try:
        own = _study_table(plan, seed)
    except PromotionRefusedError:
        return
    if set(own.columns) != set(frame.columns):
        return
    names = sorted(map(str, own.columns))
    shared = float(_row_codes(frame[names]).isin(_row_codes(own[names])).mean())
    if shared > SHARED:
        raise PromotionRefusedError(
            f"{shared:.0%} of the rows of {shown} stand in the table of the challenger's study too, which was trained "
            "on most of them; new rows are needed. Leave data= out to compare on the rows that were held out"
        )


def _row_codes(frame: pd.DataFrame) -> pd.Series:
    """One number for each row, the same for the same values whether they are whole numbers or not."""
    import pandas as pd

    numeric = frame.select_dtypes("number").columns
    same = frame.astype(dict.fromkeys(numeric, "float64")) if len(numeric) else frame
    codes: pd.Series = pd.util.hash_pandas_object(same, index=False)
    return codes


def _enough(rows: HeldOut) -> HeldOut:
    if len(rows) < FEWEST_ROWS:
        raise PromotionRefusedError(
            f"{len(rows)} {rows.origin} are too few to compare two models on; at least {FEWEST_ROWS} are needed: give "
            "more with -P data=, or hold more out with `tune -P test_share=`"
        )
    return rows
