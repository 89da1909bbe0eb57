"""Logging the winner with a server that loses answers."""

from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from hpo.errors import StudyError
from pipelines.objectives.ending import winner
from pipelines.objectives.ending.winner import ATTEMPTS, Logged, log

WON: Any = SimpleNamespace(ending=SimpleNamespace(store=SimpleNamespace(run_id="the-study")))
PLAN: Any = None


@pytest.mark.parametrize("refusals", range(ATTEMPTS + 1))
def test_a_refused_winner_is_logged_by_a_later_attempt(
    refusals: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [MlflowException("UNIQUE constraint failed")] * refusals

    def attempt(*_: object) -> Logged:
        if left:
            raise left.pop()
        return Logged("models:/m", None, 0.1)

    monkeypatch.setattr(winner, "_log", attempt)
    if refusals < ATTEMPTS:
        assert log(PLAN, PLAN, PLAN, WON).uri == "models:/m"
        return
    with pytest.raises(StudyError, match=r"UNIQUE .*resume with study=the-study to log the winner"):
        log(PLAN, PLAN, PLAN, WON)
