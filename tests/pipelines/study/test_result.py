from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType, SimpleNamespace
from typing import Any

from hpo.space import Float, SearchSpace
from hpo.trial import Report, Trial
from pipelines.study.result import Outcome, StudyResult
from pipelines.study.summary import failures
from tests.plans import plan


def trial(number: int, loss: float, origin: str = "sampler") -> Trial:
    return Trial(number, {"a": number}, 10, origin, (Report(10, loss, {"rmse": loss}, 1.0),))


def result(
    trials: tuple[Trial, ...],
    *,
    registered: str | None = None,
    given_again: Mapping[str, str | None] = MappingProxyType({}),
    linear: float = 9.0,
    wanted: int = 12,
    **planned: Any,
) -> StudyResult:
    chosen = {"trials": wanted, "register": registered, "space": SPACE} | planned
    return StudyResult(
        run_id="abc",
        plan=plan(**chosen),
        trials=trials,
        baselines={"linear": linear},
        tracking_uri="sqlite:///my store.db",
        seconds=1.0,
        complete=True,
        outcome=Outcome({"rmse": 1.5}, model_uri="models:/m-1", version=1 if registered else None),
        winner=min(trials, key=lambda t: t.loss),
        winner_run="def",
        given_again=given_again,
    )


SPACE = SearchSpace((Float("a", 0.0, 20.0),))
TRIALS = tuple(trial(i, 20.0 - i, "default" if i == 0 else "sampler") for i in range(12))


def test_the_best_come_first_and_the_default_is_always_shown() -> None:
    lines = str(result(TRIALS)).splitlines()
    shown = [line.split()[1] for line in lines if line.startswith("trial")]
    assert shown == ["11", "10", "9", "8", "7", "6", "5", "4", "3", "2", "0"]


def test_a_baseline_that_no_trial_beats_is_told() -> None:
    assert "no trial beats the baseline linear" in str(result(TRIALS, linear=3.0))
    assert "no trial beats" not in str(result(TRIALS, linear=30.0))


def test_commands_can_be_pasted_into_a_shell() -> None:
    text = str(result(TRIALS, registered="x; touch pwned"))
    assert "--name='x; touch pwned'" in text
    assert "--backend-store-uri 'sqlite:///my store.db'" in text


def test_what_comes_next_depends_on_what_is_left() -> None:
    assert "go on    mlflow-warmstart tune --study=abc --trials=24" in str(result(TRIALS))
    assert "resume   " not in str(result(TRIALS))
    assert "--study=abc --trials=50" in str(result(TRIALS, wanted=50))
    assert "study=" not in str(result(TRIALS[:1], wanted=1))
    assert "tune(data=…, study='abc', trials=24)" in str(result(TRIALS, given_again={"data": None}))
    given = str(result(TRIALS, given_again={"objective": "cmd:./train.sh {x}"}))
    assert "tune --study=abc --trials=24 --objective='cmd:./train.sh {x}'" in given


def test_a_search_that_ended_by_the_clock_goes_on_with_one() -> None:
    assert "--study=abc --trials=50 --timeout=30" in str(result(TRIALS, wanted=50, timeout=30.0))


def test_a_search_that_goes_on_after_min_gain_is_given_less_than_the_forecast() -> None:
    ended = replace(result(TRIALS, min_gain=1.0), stalled=True, expected_gain=0.001)
    assert "--min-gain=0.0005" in str(ended)


def race(number: int, *losses: float, granted: float = 0.0, failure: str | None = None) -> Trial:
    reports = tuple(Report(27.0 * 3**i, loss, {"rmse": loss}) for i, loss in enumerate(losses))
    return Trial(number, {}, granted or reports[-1].budget, reports=reports, failure=failure)


def test_a_race_shows_how_far_each_trial_came_and_where_it_was_best() -> None:
    trials = (
        race(0, 3.0, 2.0),
        race(1, 1.0, 1.0, 1.0),
        race(2, 1.5, 1.6),
        race(3, 4.0, granted=81, failure="x"),
    )
    text = str(result(trials, algorithm="bohb", rungs=(27.0, 81.0, 243.0)))
    assert "sampler, 81 rounds\n" in text
    assert "sampler, 243 rounds\n" in text
    assert "sampler, 81 rounds, best at 27\n" in text
    assert "sampler, 27 rounds, failed at 81\n" in text


def test_a_winner_that_is_not_trained_to_the_end_is_told() -> None:
    assert "it has had 81 of 243 rounds; to train it to the end: mlflow-warmstart train" in str(
        result((race(0, 3.0, 2.0),), algorithm="bohb", rungs=(27.0, 81.0, 243.0))
    )
    whole = str(result((race(0, 3.0, 2.0, 2.0),), algorithm="bohb", rungs=(27.0, 81.0, 243.0)))
    assert "243 rounds" in whole
    assert "it has had" not in whole


def test_failures_names_the_commonest_reason() -> None:
    failed = [Trial(i, {}, 1, failure=reason) for i, reason in enumerate(["a", "b\nmore", "b"])]
    assert failures(failed) == "b"


def test_a_notebook_shows_the_summary() -> None:
    shown = list[str]()
    finished = result((trial(0, 1.0),))
    finished._repr_pretty_(SimpleNamespace(text=shown.append), False)
    assert shown == [str(finished)]
