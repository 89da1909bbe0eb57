"""No configuration is tried twice, and a finite space ends."""

from collections.abc import Hashable

import numpy as np
import pytest

from hpo.algorithms import algorithm
from hpo.configurations import LISTED, Configurations, by_value, raced
from hpo.history import History
from hpo.samplers.random import RandomSampler
from hpo.schedulers.full import Full
from hpo.space import Categorical, Float, Integer, Params, SearchSpace, Value
from hpo.storage import MemoryStorage
from hpo.study import FirstPoint, Study, StudySettings
from hpo.trial import Report, Trial

EIGHT = SearchSpace(
    (
        Categorical("leaves", (15, 31)),
        Categorical("bins", (63, 255)),
        Categorical("extra", (False, True)),
    )
)
TREE = SearchSpace(
    (Categorical("branch", ("a", "b")), Integer("k", 1, 3, when={"branch": ("b",)}))
)  # four configurations


class Stubborn:
    """A sampler that proposes the same configuration for ever."""

    def min_results(self, space: SearchSpace) -> int:
        return 1

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Value]:
        return history.space.decode(np.full(len(history.space), 0.1))


def run(study: Study) -> tuple[Trial, ...]:
    while trial := study.ask():
        loss = sum(float(v) for v in trial.params.values() if not isinstance(v, str))
        study.tell(trial.number, Report(trial.budget, loss))
    return study.trials


def study_of(name: str, space: SearchSpace, storage: MemoryStorage, trials: int = 40) -> Study:
    sampler, scheduler = algorithm(name, (1, 3, 9))
    first = FirstPoint(space.decode(np.full(len(space), 0.9)), "default")
    again = FirstPoint(first.params, "tuned default")
    return Study(
        space,
        sampler,
        scheduler,
        storage,
        seed=1,
        max_trials=trials,
        settings=StudySettings(first_points=(first, again)),
    )


@pytest.mark.parametrize("name", ["random", "grid", "tpe", "hyperopt", "bohb", "hyperband"])
@pytest.mark.parametrize(("space", "n"), [(EIGHT, 8), (TREE, 4)])
def test_a_finite_space_ends_when_each_configuration_is_tried(
    name: str, space: SearchSpace, n: int
) -> None:
    storage = MemoryStorage()
    study = study_of(name, space, storage)
    trials = run(study)

    assert len({by_value(trial.params) for trial in trials}) == len(trials) == n
    assert study.proposals.total == n
    assert study.proposals.exhausted
    assert study.complete
    assert study_of(name, space, storage).complete  # also when it is resumed


def test_a_study_that_stops_before_is_not_exhausted() -> None:
    study = study_of("tpe", EIGHT, MemoryStorage(), trials=6)

    assert len(run(study)) == 6
    assert study.complete
    assert not study.proposals.exhausted


def test_a_sampler_that_insists_is_replaced() -> None:
    space = SearchSpace((Float("x", 0.0, 1.0),))
    for sampled in (space, EIGHT):
        study = Study(sampled, Stubborn(), Full(1), MemoryStorage(), seed=0, max_trials=8)
        assert len({by_value(trial.params) for trial in run(study)}) == 8


def test_the_same_training_under_other_values_is_not_run_again() -> None:
    space = SearchSpace((Integer("depth", 1, 8), Integer("leaves", 2, 4)))

    def capped(params: Params) -> Hashable:
        return min(int(params["leaves"]), 2 ** int(params["depth"])), min(int(params["depth"]), 2)

    study = Study(
        space,
        RandomSampler(),
        Full(1),
        MemoryStorage(),
        seed=0,
        max_trials=50,
        settings=StudySettings(identity=capped),
    )

    assert len(run(study)) == study.proposals.total == 4
    assert study.proposals.exhausted


def test_an_objective_that_is_not_deterministic_repeats_configurations() -> None:
    study = Study(
        EIGHT,
        Stubborn(),
        Full(1),
        MemoryStorage(),
        seed=0,
        max_trials=20,
        settings=StudySettings(identity=None),
    )

    assert len(run(study)) == 20
    assert study.proposals.total is None


def test_a_grid_goes_on_behind_a_first_point() -> None:
    sampler, scheduler = algorithm("grid", (1,))
    first = FirstPoint({"leaves": 31, "bins": 255, "extra": True}, "default")
    study = Study(
        EIGHT,
        sampler,
        scheduler,
        MemoryStorage(),
        seed=0,
        settings=StudySettings(first_points=[first]),
    )

    trials = run(study)

    assert len({by_value(trial.params) for trial in trials}) == len(trials) == 8


def test_large_spaces_are_not_listed() -> None:
    wide = SearchSpace((Integer("a", 0, LISTED), Integer("b", 0, 2**40)))
    for space in (wide, SearchSpace((Float("x", 0, 1),))):
        assert Configurations(space, RandomSampler(), by_value).total() is None


def test_values_that_are_equal_numbers_are_one_configuration() -> None:
    assert by_value({"a": 1}) == by_value({"a": 1.0}) == by_value({"a": np.int64(1)})  # type: ignore[dict-item]
    assert by_value({"a": 1}) != by_value({"a": True})
    assert by_value({"a": 1}) != by_value({"a": "1"})


RACE = SearchSpace(
    (
        Categorical("model", ("a", "b")),
        Categorical("loss", ("p", "q")),
        Float("b.rate", 0.0, 1.0, when={"model": ("b",)}),
        Categorical("b.kind", ("u", "v"), when={"model": ("b",)}),
        Float("b.power", 0.0, 1.0, when={"b.kind": ("v",)}),
    )
)
A = {"model": "a", "loss": "p"}
B = {"model": "b", "loss": "q", "b.rate": 0.5, "b.kind": "u"}


@pytest.mark.parametrize(
    ("points", "expected"), [((A, B), "model"), ((A,), None), ((), None), ((A, A), None)]
)
def test_options_race_if_each_has_a_first_point(
    points: tuple[Params, ...], expected: str | None
) -> None:
    assert raced(RACE, points) == expected


def test_a_choice_that_nothing_depends_on_does_not_race() -> None:
    space = SearchSpace((Categorical("loss", ("p", "q")), Float("rate", 0.0, 1.0)))
    points = [{"loss": name, "rate": 0.5} for name in ("p", "q")]
    assert raced(space, points) is None
