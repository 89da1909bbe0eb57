"""The checks of a promotion: schema, latency, size and slices."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hpo.errors import DataError, ParameterError
from hpo.goals import Goal, Goals, Limit
from pipelines.promote import promote
from pipelines.registry.comparison import Served, compare
from pipelines.registry.gate import Check, HeldOutScore, Limits, PromotionRefusedError, read_latency
from pipelines.registry.heldout import HeldOut
from pipelines.registry.pair import Pair
from pipelines.registry.schema import schema_check
from pipelines.registry.slices import slice_checks
from pipelines.registry.versions import aliases
from pipelines.table.scores.metrics import METRICS
from serving.columns import BooleanColumn, CategoricalColumn, Column, DateColumn, NumericColumn
from serving.features import TargetEncoder
from tests.pipelines.promotion.models import SCORE, YES_NO, Store, X, Z, make_table, predictor


def test_a_model_of_another_schema_is_refused(store: Store, name: str) -> None:
    store.register(name, "bad")
    promote(name)
    store.register(name, "wider")
    with pytest.raises(PromotionRefusedError, match="needs what the champion does not: 'kind'"):
        promote(name)
    assert aliases(store.client, name)["champion"] == 1


def rows_of(frame: pd.DataFrame, groups: Any = None) -> HeldOut:
    y = YES_NO.encode(frame["answer"])
    return HeldOut(frame.drop(columns="answer"), y, groups, False, "new rows")


@pytest.mark.parametrize(
    ("columns", "before", "words"),
    [
        ((X,), (X, Z), ""),
        ((X, CategoricalColumn("z", ("1",))), (X, Z), ""),
        ((X, NumericColumn("z", dirty=True)), (X, Z), ""),
        ((X, Z), (X, BooleanColumn("z")), ""),
        (
            (X, Z),
            (X, CategoricalColumn("z", ("1",))),
            "reads 'z' as numeric, the champion as categorical",
        ),
        (
            (X, Z),
            (X, NumericColumn("z", dirty=True)),
            "the champion as numeric .others count as missing",
        ),
        ((X, BooleanColumn("z")), (X, Z), "reads 'z' as boolean, the champion as numeric"),
        (
            (X, Z),
            (X, DateColumn("z", "ISO8601", ("year",))),
            "the champion as date of the form ISO8601",
        ),
    ],
)
def test_the_challenger_must_accept_the_champions_inputs(
    columns: tuple[Column, ...], before: tuple[Column, ...], words: str
) -> None:
    check = schema_check(predictor((1, 0), columns), predictor((1, 0), before))
    assert check.passed is not bool(words)
    assert words.replace(".", "(") in check.found.replace("(", "(")


def test_answers_in_another_form_are_refused() -> None:
    numbers = predictor((1, 0), target=TargetEncoder("regression"))
    swapped = predictor((1, 0), target=TargetEncoder("binary", ("nein", "ja")))
    for other, words in (
        (numbers, "answers binary, 2 classes, the champion regression"),
        (swapped, "'nein', 'ja'"),
    ):
        verdict = compare(
            Served(2, predictor((1, 0)), 10),
            Served(1, other, 10),
            rows_of(make_table(50)),
            SCORE,
            Limits(),
        )
        assert [check.name for check in verdict.failed] == ["schema"]
        assert words in verdict.table()


def test_a_model_slower_or_larger_than_the_limit_is_refused(store: Store, name: str) -> None:
    store.register(name, "good")
    with pytest.raises(PromotionRefusedError, match="not passed: latency p99;"):
        promote(name, max_latency=1e-6)
    with pytest.raises(PromotionRefusedError, match="not passed: latency p50x1000;"):
        promote(name, max_latency="p99:100000,p50x1000:1e-6")
    with pytest.raises(PromotionRefusedError, match="not passed: size;"):
        promote(name, max_size=1e-6)
    assert promote(name, max_latency=100_000, max_size=100).done


def test_a_group_on_which_the_challenger_is_worse(store: Store, name: str) -> None:
    frame = make_table(500)
    turned = np.where(frame["kind"] == "b", -1.0, 1.0)
    half_right = frame.assign(
        x=frame["x"] * turned
    )  # as if the challenger were wrong about one kind
    verdict = compare(
        Served(2, predictor((1, 0)), 10),
        Served(1, predictor((0, 1)), 10),
        rows_of(half_right),
        SCORE,
        Limits(slice="kind", tolerance=0.05, confidence=0.5),
    )
    assert [check.name for check in verdict.failed] == ["slice kind='b'"]
    assert "worse by more than 0.05 with probability < 0.975" in verdict.table()
    assert not verdict.notes


def sliced(n: int, worse: int, groups: int = 8, units: Any = None) -> tuple[list[Check], list[str]]:
    """Slices of groups of n rows; on the first the challenger errs on `worse` rows more."""
    y = np.zeros(n * groups, dtype=np.int64)
    of_group, row = np.divmod(np.arange(len(y)), n)
    champion = row % 3 == 0
    challenger = np.where((of_group == 0) & (row % 3 == 1) & (row // 3 < worse), True, champion)
    frame = pd.DataFrame({"group": of_group.astype(str)})
    rows = HeldOut(frame, y, units, False, "new rows")
    one, other = (
        np.column_stack([~errs, errs]).astype(np.float64) for errs in (challenger, champion)
    )
    pair = Pair.on(rows, METRICS["accuracy"], one, other)
    return slice_checks(pair, rows, "group", 0.01)


def test_an_uncertain_group_passes_with_a_note() -> None:
    checks, doubts = sliced(
        60, worse=2
    )  # 3 % of 60 rows: more than the tolerance, and no more than luck may give
    assert all(check.passed for check in checks)
    assert "on 1 of 8 groups of 'group' the rows cannot rule out" in doubts[0]
    checks, doubts = sliced(600, worse=40)  # 7 % of 600 rows
    assert [check.passed for check in checks] == [False, *[True] * 7]
    assert not doubts


def test_many_groups_need_more_evidence() -> None:
    assert sliced(60, worse=7, groups=1)[0][0].passed is False
    assert sliced(60, worse=7, groups=40)[0][0].passed is True
    checks, _ = sliced(60, worse=20, groups=500)  # 1 - 0.05 / 500 is more than draws can show
    assert "probability < 0.996" in checks[0].rule
    assert [check.passed for check in checks] == [False, *[True] * 499]


def test_a_slice_of_a_single_group_is_compared_by_rows() -> None:
    units = np.repeat(np.arange(8), 600)
    assert [check.passed for check in sliced(600, 40, units=units)[0]] == [False, *[True] * 7]
    both = np.repeat(np.arange(80), 60)  # ten units in a group, of which one errs more
    assert sliced(600, 20, units=both)[0][0].passed is True


def test_a_slice_must_be_a_column_with_groups(store: Store, name: str) -> None:
    store.register(name, "good")
    assert "slice kind='a'" in str(promote(name, slice="kind", dry_run=True))
    with pytest.raises(DataError, match="slice='kinds' is not a column.*did you mean 'kind'"):
        promote(name, slice="kinds")
    with pytest.raises(DataError, match="slice='x' has no group with 50"):
        promote(name, slice="x")


def test_unusual_group_names_do_not_break_the_table() -> None:
    frame = make_table(400)
    strange = ["=1+1", 'a\nb,"<b>', "x" * 10_000, "y"]
    frame["kind"] = [strange[i % 4] for i in range(400)]
    frame.loc[:3, "kind"] = ["rare 1", "rare 2", "rare 3", None]
    verdict = compare(
        Served(2, predictor((1, 0)), 10),
        None,
        rows_of(frame),
        SCORE,
        Limits(slice="kind", tolerance=1.0),
    )
    assert max(map(len, verdict.table().splitlines())) < 400
    assert "slice kind, others" in verdict.table()
    assert len(verdict.to_csv().splitlines()) == 1 + len(verdict.checks)


@pytest.mark.parametrize("text", ["fast", "p98:3", "p50:", "p50=3"])
def test_unreadable_limits_of_latency(text: str) -> None:
    with pytest.raises(ParameterError, match="max_latency="):
        read_latency(text)


def test_limits_of_latency() -> None:
    assert read_latency(None) == {}
    assert read_latency("20") == read_latency(20) == {"p99": 20.0}
    assert read_latency("p50:5, p99x1000:80") == {"p50": 5.0, "p99x1000": 80.0}


BOTH = Goals((Goal("roc_auc", "maximize"), Goal("size")))


@pytest.mark.parametrize(
    ("challenger", "size", "failed"),
    [
        ((1, 0), 8, []),  # as good, and smaller
        ((1, 0), 10, ["goals together"]),  # the same
        ((1, 0), 12, ["goal size", "goals together"]),  # as good, and larger
        ((1, 3), 5, ["goal roc_auc"]),  # smaller, and worse
    ],
)
def test_a_challenger_may_be_worse_in_no_goal_and_is_better_in_one(
    challenger: tuple[float, float], size: int, failed: list[str]
) -> None:
    verdict = compare(
        Served(2, predictor(challenger), size),
        Served(1, predictor((1, 0)), 10),
        rows_of(make_table(500)),
        replace(SCORE, goals=BOTH),
        Limits(),
    )
    assert [check.name for check in verdict.failed] == failed
    assert verdict.summary.startswith("better in size" if size < 10 else "better in none")


def test_the_limits_of_the_study_are_checked_again() -> None:
    limits = Limit("size", 5e-6), Limit("accuracy", 0.99, at_most=False), Limit("latency", 1e6)
    goals = Goals((Goal("roc_auc", "maximize"),), (*limits, Limit("training_seconds", 1.0)))
    score = replace(SCORE, goals=goals)
    verdict = compare(
        Served(2, predictor((1, 0)), 10), None, rows_of(make_table(500)), score, Limits()
    )
    assert [check.name for check in verdict.failed] == ["limit size", "limit accuracy"]
    assert HeldOutScore.from_tags(score.to_tags(), "version 2") == score


def test_robustness_and_gaps_are_checked_again() -> None:
    limits = Limit("robustness:1", 0.9, at_most=False), Limit("roc_auc minus energy", 0.1, False)
    goals = Goals((Goal("roc_auc minus 0.1 energy", "maximize"),), limits)
    score = replace(SCORE, goals=goals)
    one, other = Served(2, predictor((1, 0)), 10), Served(1, predictor((1, 3)), 10)
    verdict = compare(one, other, rows_of(make_table(500)), score, Limits())
    checks = {check.name: check for check in verdict.checks}
    assert checks["limit robustness:1"].passed is False  # all cells are missing
    assert checks["limit roc_auc minus energy"].found == "not known of a served model"
    assert checks["goal roc_auc minus 0.1 energy"].passed  # by its first score
    robust = replace(SCORE, goals=Goals((SCORE.goal, Goal("robustness:0.2", "maximize"))))
    again = compare(one, other, rows_of(make_table(500)), robust, Limits())
    assert "better in roc_auc, robustness:0.2" in again.summary


def test_gaps_are_checked_again() -> None:
    pytest.importorskip("fairlearn")
    goals = Goals((SCORE.goal, Goal("demographic_parity:kind")), (Limit("equalized_odds:kind", 1),))
    score, one = replace(SCORE, goals=goals), Served(2, predictor((1, 0)), 10)
    rows = rows_of(make_table(500))
    verdict = compare(one, Served(1, predictor((1, 0)), 10), rows, score, Limits())
    checks = {check.name: check for check in verdict.checks}
    assert checks["limit equalized_odds:kind"].passed
    assert checks["goal demographic_parity:kind"].passed
    lacking = replace(rows, frame=rows.frame.drop(columns="kind"))
    with pytest.raises(DataError, match="have no column 'kind', which equalized_odds:kind needs"):
        compare(one, None, lacking, score, Limits())
