"""The contract of storages: those on MLflow behave like `MemoryStorage`."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpo.space import SearchSpace
from hpo.storage import MemoryStorage, Storage
from hpo.trial import Failure, Report, Trial
from pipelines.store.records import decode_trial, grant, without_curves
from pipelines.store.storage import MlflowStorage
from tests import stores
from tests.strategies import params_of, spaces


class Place(Protocol):
    """A kind of storage: makes a new one, and reopens one that another object has written."""

    def fresh(self) -> Storage: ...
    def again(self, storage: Any) -> Storage: ...


class Memory:
    def fresh(self) -> Storage:
        return MemoryStorage()

    def again(self, storage: Any) -> Storage:
        return storage  # type: ignore[no-any-return]


class Mlflow:
    def __init__(self, name: str) -> None:
        self.uri, self.make_writer = stores.STORES[name]()

    def fresh(self) -> Storage:
        return stores.study(self.uri, self.make_writer)

    def again(self, storage: MlflowStorage) -> Storage:
        storage.close()
        return stores.reopen(storage.run_id, self.uri, self.make_writer)


PLACES: dict[str, Callable[[], Place]] = {
    "memory": Memory,
    **{name: (lambda name=name: Mlflow(name)) for name in stores.STORES},  # type: ignore[misc]
}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    return PLACES[request.param]()


def trial(number: int, **changes: Any) -> Trial:
    return replace(
        Trial(number, {"rate": 0.1 + number / 7, "depth": number, "model": "a"}, 100.0), **changes
    )


def report(budget: float, auc: float, **changes: Any) -> Report:
    return replace(Report(budget, -auc, {"auc": auc, "loss": 1 - auc}, 0.25), **changes)


def kept(storage: Storage) -> list[Trial]:
    return [without_curves(trial) for trial in storage.load()]


def end(storage: Storage) -> None:
    if isinstance(storage, MlflowStorage):
        storage.close()


def test_empty(place: Place) -> None:
    storage = place.again(place.fresh())
    assert storage.load() == []
    end(storage)


def test_trials_come_back_as_they_were(place: Place) -> None:
    storage = place.fresh()
    trials = [
        trial(0).with_outcome(report(100, 0.1 + 0.2)),
        trial(1).with_outcome(Failure("ValueError: no\nsuch thing")),
        trial(2),
        trial(3, origin="default", parent=0, budget=27)
        .with_outcome(report(9, 0.5))
        .with_outcome(report(27, 1 / 3)),
        trial(4, budget=300).with_outcome(report(100, 0.75)),
        trial(5).with_outcome(report(100, math.nextafter(0.9, 1))),
    ]
    for t in trials:
        storage.add(replace(t, reports=(), failure=None))
        if t.reports or t.failure is not None:
            storage.update(t)
    assert kept(storage) == trials
    again = place.again(storage)
    assert kept(again) == trials
    assert [t.finished for t in again.load()] == [True, True, False, True, False, True]
    end(again)


def test_update_replaces(place: Place) -> None:
    storage = place.fresh()
    storage.add(trial(0, budget=9))
    first = trial(0, budget=9).with_outcome(report(9, 0.6))
    storage.update(first)
    promoted = replace(first, budget=27)
    storage.update(promoted)
    assert kept(storage) == [promoted]
    again = place.again(storage)
    assert kept(again) == [promoted]
    done = promoted.with_outcome(report(27, 0.7))
    again.update(done)
    third = place.again(again)
    assert kept(third) == [done]
    end(third)


def test_load_is_in_order_and_a_snapshot(place: Place) -> None:
    storage = place.fresh()
    for number in (2, 0, 1):
        storage.add(trial(number))
    loaded = storage.load()
    storage.add(trial(3))
    assert [t.number for t in loaded] == [0, 1, 2]
    again = place.again(storage)
    assert [t.number for t in again.load()] == [0, 1, 2, 3]
    end(again)


def test_curves_and_undefined_metrics_do_not_harm(place: Place) -> None:
    storage = place.fresh()
    storage.add(trial(0))
    curve = tuple((float(b), math.nan if b == 20 else b / 100) for b in range(10, 101, 10))
    told = trial(0).with_outcome(
        report(100, 0.5, metrics={"auc": 0.5, "f1": math.nan, "r2": -math.inf}, curve=curve)
    )
    storage.update(told)
    again = place.again(storage)
    assert kept(again) == [without_curves(told)]
    assert again.load()[0].reports[0].metrics["auc"] == 0.5
    end(again)


def test_long_and_odd_words(place: Place) -> None:
    storage = place.fresh()
    choices = {"choice": "ünï 'quoted' \"double\" `tick` \\ 1", "nul": "a\0b", "half": "\udcffx"}
    odd = trial(0, params=choices, origin="o" * 9000)
    storage.add(odd)
    storage.update(odd.with_outcome(Failure("x" * 7_000 + "\0\udcff" + "x" * 20_000)))
    again = place.again(storage)
    loaded = again.load()[0]
    assert loaded.finished
    assert loaded.params == choices
    assert str(loaded.failure).startswith("x" * 7000)
    end(again)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_params_round_trip_exactly(data: st.DataObject) -> None:
    """Values of any space keep their type through the text format that all MLflow stores share."""
    space: SearchSpace = data.draw(spaces())
    params = data.draw(params_of(space))
    record = grant(Trial(0, params, 1), "t", {}, 0)
    back = decode_trial({**record.tags, "hpo.trial.number": "0"}, record.params)
    assert back is not None
    assert back.params == params
    assert [type(v) for v in back.params.values()] == [type(v) for v in params.values()]


def test_text_order_of_writes_is_kept(place: Place) -> None:
    storage = place.fresh()
    for number in range(30):
        storage.add(trial(number))
        storage.update(trial(number).with_outcome(report(100, number / 30)))
    again = place.again(storage)
    losses = [t.loss for t in again.load()]
    assert all(a > b for a, b in pairwise(losses))
    end(again)
