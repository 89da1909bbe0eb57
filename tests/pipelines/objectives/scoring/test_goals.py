"""The goals that the options metric, limits and prefer stand for."""

from typing import Any

import pytest

from hpo.errors import ParameterError
from hpo.goals import MAXIMIZE, MINIMIZE, Goal, Goals, Limit
from pipelines.objectives.code.results import goal_of
from pipelines.objectives.code.results import goals_of as goals_of_code
from pipelines.objectives.scoring.goals import (
    as_began,
    goal_mistakes,
    goals_of,
    preferring,
    table_goal,
)
from pipelines.study.options import TuneOptions, ValidateOptions

AUC, LATENCY = Goal("roc_auc", "maximize"), Goal("latency")


@pytest.mark.parametrize(
    ("options", "goals"),
    [
        ({}, Goals((AUC,))),
        ({"metric": "f1"}, Goals((Goal("f1", "maximize"),))),
        ({"metric": "auto, latency"}, Goals((AUC, LATENCY))),
        (
            {"metric": "auto,latency", "prefer": "auto:0.8, latency:0.2"},
            Goals((AUC, LATENCY), (), {"roc_auc": 0.8, "latency": 0.2}),
        ),
        (
            {"limits": "latency<5, recall_loss<1".replace("recall_loss", "log_loss")},
            Goals((AUC,), (Limit("latency", 5.0), Limit("log_loss", 1.0))),
        ),
        (
            {"metric": "auto - 0.1*energy:15, robustness:0.2", "limits": "roc_auc - size>0"},
            Goals(
                (
                    Goal("roc_auc minus 0.1 energy:15", "maximize"),
                    Goal("robustness:0.2", "maximize"),
                ),
                (Limit("roc_auc minus size", 0.0, at_most=False),),
            ),
        ),
        (
            {
                "metric": "log_loss + 0.1*energy,robustness",
                "prefer": "log_loss + 0.1*energy:2,robustness:1",
            },
            Goals(
                (Goal("log_loss plus 0.1 energy"), Goal("robustness")),
                (),
                {"log_loss plus 0.1 energy": 2.0, "robustness": 1.0},
            ),
        ),
    ],
)
def test_goals_of_a_table(options: dict[str, Any], goals: Goals) -> None:
    assert goals_of(TuneOptions(**options), "", "binary") == goals


def test_goals_of_code_have_signs() -> None:
    options = TuneOptions(metric="-err,+recall", limits="seconds<3", prefer="err:1,recall:2")
    assert goals_of_code(options) == Goals(
        (Goal("err"), Goal("recall", "maximize")),
        (Limit("seconds", 3.0),),
        {"err": 1.0, "recall": 2.0},
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "latency"}, "first metric must score predictions.*metric=auto,latency"),
        ({"metric": "auto,lateny"}, "unknown metric 'lateny'"),
        ({"limits": "lateny<5"}, "unknown metric 'lateny'"),
        ({"limits": "lateny<5,siz<2"}, "(?s)2 mistakes.*'lateny'.*'siz'"),
        ({"metric": "auto,rmse"}, "is for regression tasks, but this one is binary"),
        ({"metric": "auto,roc_auc"}, "names roc_auc twice"),
        ({"metric": " , "}, "names no metric"),
        ({"metric": "auto,latency", "prefer": "f1:1"}, "prefer='f1' is not a goal"),
        ({"metric": "auto - 0.1*enrgy"}, "term 'enrgy': unknown metric.*did you mean 'energy'"),
        ({"metric": "auto + 0.1*energy"}, "energy is better when lower; write - before its term"),
        ({"metric": "log_loss - size"}, "size is better when lower; write . before its term"),
        ({"metric": "energy + size"}, "first metric must score predictions, and energy is"),
        ({"metric": "auto,robustness:2"}, "strength must be a number above 0"),
        ({"limits": "energy:0<1"}, "watts of a core must be a number greater than 0"),
        ({"limits": "roc_auc - enrgy>0"}, "unknown metric 'enrgy'"),
        ({"metric": "auto,equalized_odds"}, "needs a column whose groups it compares"),
    ],
)
def test_goals_that_a_table_does_not_have(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        goals_of(TuneOptions(**options), "", "binary")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limits": "latency"}, "limits='latency' must be a metric, < or >"),
        ({"limits": "latency,size<2,f1>much"}, "2 mistakes:\n- limits='latency'"),
        ({"metric": "auto,latency", "min_gain": 0.1}, "min_gain=0.1 is of one metric"),
        ({"algorithm": "asha", "min_gain": 0.1}, "algorithm=asha grants several; take patience"),
        ({"metric": "auto,latency", "prefer": "latency"}, "metrics with their weights"),
        ({"prefer": "roc_auc:1"}, "weighs several metrics"),
        ({"metric": "auto,latency", "confirm": 5}, "confirm=5 orders trials by one metric"),
        ({"limits": "latency<5", "ensemble": 9}, "ensemble=9 is chosen by one metric"),
        ({"metric": "f1,f1"}, "names f1 twice"),
        ({"metric": "roc_auc - x*size"}, "the term 'x*size' must be a metric"),
        ({"metric": "roc_auc - size", "ensemble": 9}, "ensemble=9 is chosen by one metric"),
        ({"metric": "roc_auc - size", "confirm": 3}, "confirm=3 orders trials by one metric"),
    ],
)
def test_mistakes_that_show_before_the_table_is_read(options: dict[str, Any], message: str) -> None:
    (found,) = goal_mistakes(TuneOptions(**options))
    assert message in found


def test_a_validation_has_one_goal() -> None:
    (found,) = goal_mistakes(ValidateOptions(metric="auto,latency"))
    assert "several metrics are for tune alone" in found
    assert len([*goal_mistakes(ValidateOptions(metric="f1 - size"))]) == 1
    assert not [*goal_mistakes(ValidateOptions(metric="f1"))]
    assert not [*goal_mistakes(TuneOptions(metric="auto,latency", prefer="roc_auc:1"))]


BEGAN = Goals((AUC, LATENCY), (Limit("size", 9.0),), {"latency": 1.0})


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"metric": "roc_auc, latency"},
        {"metric": "auto,latency", "limits": "size < 9.0"},
    ],
)
def test_the_same_goals_may_be_given_again(given: dict[str, Any]) -> None:
    found = as_began(BEGAN, given, table_goal("binary"))
    assert found == found | given


@pytest.mark.parametrize(
    ("given", "began"),
    [
        ({"metric": "latency,roc_auc"}, "roc_auc,latency"),
        ({"limits": "size<8"}, "size<9"),
        ({"metric": "nonsense"}, "roc_auc,latency"),
    ],
)
def test_other_goals_are_found_with_those_it_began_with(given: dict[str, Any], began: str) -> None:
    (name,) = given
    assert as_began(BEGAN, given, table_goal("binary"))[name] == began


def test_other_weights_may_be_given_later() -> None:
    assert preferring(BEGAN, None) is BEGAN
    assert preferring(BEGAN, "roc_auc:2").weights == {"roc_auc": 2.0}
    with pytest.raises(ParameterError, match="prefer='f1' is not a goal"):
        preferring(BEGAN, "f1:1")


def test_sums_of_code_are_signed_or_begin_with_a_known_metric() -> None:
    found = goals_of_code(TuneOptions(metric="-(err + 0.1*seconds), accuracy - 2*size"))
    assert found == Goals((Goal("err plus 0.1 seconds"), Goal("accuracy minus 2 size", "maximize")))
    with pytest.raises(ParameterError, match="whether it is to be small or large is not known"):
        goals_of_code(TuneOptions(metric="err + 0.1*seconds"))


@pytest.mark.parametrize(
    "given", ["-(err + 0.1*seconds)", "-(err plus 0.1 seconds)", "-( err  +  0.10*seconds )"]
)
def test_a_sum_may_be_given_again(given: str) -> None:
    goals = Goals((Goal("err plus 0.1 seconds"),))
    assert as_began(goals, {"metric": given}, goal_of, own=True)["metric"] == given
    other = as_began(goals, {"metric": "-(err + 0.2*seconds)"}, goal_of, own=True)
    assert other["metric"] == "-(err plus 0.1 seconds)"
    table = Goals((Goal("roc_auc minus size", "maximize"),))
    assert (
        as_began(table, {"metric": "auto - size"}, table_goal("binary"))["metric"] == "auto - size"
    )


def test_signs_are_shown_where_they_were_given() -> None:
    goals = Goals((Goal("err"), Goal("recall", "maximize")))
    assert as_began(goals, {"metric": "-err"}, goal_of)["metric"] == "-err,+recall"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metric": "statistics:fmean"}, "-statistics:fmean to minimise it or .statistics:fmean"),
        ({"limits": "neg_log_loss>-0.3"}, "write a bound of it, such as log_loss<0.3"),
        ({"limits": "matthews_corrcoef>0.3"}, "such as mcc>0.3"),
        ({"limits": "jacard>0.3"}, "did you mean 'jaccard'"),
    ],
)
def test_metrics_of_others_say_how_they_are_written(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        goals_of(TuneOptions(**options), "", "binary")


def test_a_metric_without_weights_is_refused_for_weighted_rows() -> None:
    options = TuneOptions(metric="neg_max_error")
    assert goals_of(options, "", "regression").names == ("neg_max_error",)
    with pytest.raises(ParameterError, match="takes no sample_weight"):
        goals_of(options, "", "regression", weighted=True)


def test_a_scorer_with_a_name_here_is_a_goal_of_that_name() -> None:
    found = goals_of(TuneOptions(metric="neg_log_loss,recall"), "", "binary")
    assert found.goals == (Goal("log_loss", MINIMIZE), Goal("recall", MAXIMIZE))
