"""What came of a winner, as a later session of its study reads it."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from hpo.space import Float, SearchSpace
from hpo.trial import Report, Trial
from pipelines.objectives.ending.finished import from_tag, to_tag
from pipelines.registry.logged import is_stored
from pipelines.study.ending import Choice
from pipelines.study.plan import Plan
from pipelines.study.result import BesideDefault, Outcome
from pipelines.table.scores.bootstrap import Gain, Interval
from tests.plans import plan as any_plan

WINNER = Trial(3, {"x": 0.1}, 9).with_outcome(Report(9, -0.5, {"auc": 0.5}))
FULL = Outcome(
    test={"auc": 0.1 + 0.2, "f1": 0.5},
    interval=Interval(0.3, 0.2, 0.4),
    model_uri="models:/m-1",
    version=2,
    trained_on=120,
    default=BesideDefault(0.25, Gain(0.05, -0.1, 0.2, 0.7, 4000), refitted=True),
)


def plan(**changes: Any) -> Plan:
    return any_plan(space=SearchSpace((Float("x", 0.0, 1.0),)), **changes)


@pytest.mark.parametrize("outcome", [FULL, Outcome({}, model_uri="models:/m-1")])
def test_an_outcome_is_read_as_it_was_written(outcome: Outcome) -> None:
    chosen = plan(register="adult", refit="auto")
    assert from_tag(to_tag(outcome, Choice(WINNER), chosen), Choice(WINNER), chosen) == outcome


@pytest.mark.parametrize(
    ("winner", "changes"),
    [
        (replace(WINNER, number=4), {}),
        (replace(WINNER, budget=27).with_outcome(Report(27, -0.6, {"auc": 0.6})), {}),
        (WINNER, {"register": "other"}),
        (WINNER, {"register": None}),
        (WINNER, {"refit": "all"}),
    ],
)
def test_the_outcome_of_another_winner_or_of_other_options_is_not_used(
    winner: Trial, changes: dict[str, Any]
) -> None:
    chosen = plan(register="adult", refit="auto")
    text = to_tag(FULL, Choice(WINNER), chosen)
    assert from_tag(text, Choice(winner), replace(chosen, **changes)) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"of": [3, 9, null, "off"]}'])
def test_a_damaged_outcome_is_not_used(text: str) -> None:
    assert from_tag(text, Choice(WINNER), plan(register=None, refit="off")) is None


@pytest.mark.parametrize("gone", ["", "model", "version", "complete"])
def test_an_outcome_counts_as_long_as_model_and_version_are_there(
    gone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def model(_: MlflowClient, model_id: str) -> Any:
        assert model_id == "m-1"
        if gone == "model":
            raise MlflowException("deleted")
        return SimpleNamespace(status="FAILED" if gone == "complete" else "READY")

    def version(_: MlflowClient, name: str, number: str) -> None:
        assert (name, number) == ("adult", "2")
        if gone == "version":
            raise MlflowException("deleted")

    monkeypatch.setattr(MlflowClient, "get_logged_model", model)
    monkeypatch.setattr(MlflowClient, "get_model_version", version)
    assert is_stored("sqlite://", "models:/m-1", "adult", 2) is (not gone)
