"""Peers of the warm-start benchmark get the same past studies as our own searches."""

import json
from collections.abc import Generator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.methods import WARMED
from benchmarks.warmstart import asked
from benchmarks.warmstart.asked import Given
from benchmarks.warmstart.pasts import left_by, tables
from benchmarks.warmstart.searches import Task, search
from benchmarks.warmstart.starts import METHODS, Method
from benchmarks.worker import _answer
from hpo.space import SearchSpace
from hpo.space.parameters import Params
from pipelines.models.errors import TrainingError
from warmstart.transfer import neighbours

ABALONE, *REGRESSIONS = [t for t in tables("lightgbm") if t.features.values["task.regression"]]
TASK = Task(
    "lightgbm",
    ABALONE.name,
    ABALONE.space,
    ABALONE.first_points,
    ABALONE.features,
    ABALONE.loss_at,
    ABALONE.budgets,
)


class Stub:
    """A peer that tries its input and then stops, in a worker within this process."""

    def __init__(self) -> None:
        self.told: list[float | None] = []
        self._made: list[Any] = []

    def search(self, space: SearchSpace, given: Given) -> Generator[Params | None, float | None]:
        self.given = given
        for params in (*given.first, *(known[0][0] for known in given.past)):
            self.told.append((yield params))
        yield None

    def call(self, **job: Any) -> Any:
        return _answer(
            json.loads(json.dumps(job)), SimpleNamespace(search=self.search), {}, self._made
        )


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Stub:
    made = Stub()
    monkeypatch.setattr(asked, "_running", lambda _: made)
    return made


def test_a_peer_starts_as_ours_do_and_sees_the_same_past(stub: Stub) -> None:
    past = [left_by(table, 1_000) for table in REGRESSIONS[:2]]
    best = search(TASK, past, Method(peer="optuna"), seed=3, trials=6)
    assert stub.given.seed == 3
    assert stub.given.first == [point.params for point in ABALONE.first_points]
    assert stub.told == [pytest.approx(ABALONE.loss(p)) for p in stub.given.first] + stub.told[2:]
    assert len(stub.given.past) == 2
    for known in stub.given.past:
        losses = [loss for _, loss in known]
        assert losses == sorted(losses)
        for params, _ in known:
            ABALONE.space.validate(params)
    alike = neighbours(
        past,
        ABALONE.features,
        model="lightgbm",
        space=ABALONE.space,
        metric="rmse",
        task="regression",
        digest="",
        most=2,
    )
    nearest = alike[0].study
    leader, first = nearest.space.decode(nearest.x[0]), stub.given.past[0][0][0]
    assert first == pytest.approx(
        {name: leader.get(name, first[name]) for name in ABALONE.space.names}
    )
    # the best loss so far, at the budget of full trainings, also after the peer has ended
    told = [loss for loss in stub.told if loss is not None]
    assert best == [*np.minimum.accumulate(told), min(told), min(told)]


def test_a_cold_peer_sees_no_past_and_hears_of_failures(stub: Stub) -> None:
    def losses(params: Params, _: float) -> float:
        if params == ABALONE.first_points[0].params:
            raise TrainingError("not this one")
        return 1.0

    assert search(replace(TASK, losses=losses), [], Method(past=None, peer="optuna"), 0, 3) == [
        np.inf,
        1.0,
        1.0,
    ]
    assert stub.given.past == []
    assert stub.told == [None, 1.0]


def test_the_peers_of_the_table_exist() -> None:
    assert {method.peer for method in METHODS.values()} - {None} == set(WARMED)
