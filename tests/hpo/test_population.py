"""Population-based training."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.algorithms import algorithm, canonical
from hpo.errors import ParameterError
from hpo.schedulers.population import PopulationBased, explored
from hpo.space import SearchSpace
from hpo.space.parameters import Categorical, Float, Integer
from hpo.storage import MemoryStorage
from hpo.study import Study
from hpo.trial import Failure, Report, Trial, schedule, seconds_again
from tests.strategies import spaces

RUNGS = (1.0, 2.0, 3.0, 4.0)
SPACE = SearchSpace((Float("x", 1e-3, 1.0, log=True),))


def study_of(trials: int, storage: MemoryStorage | None = None, name: str = "pbt") -> Study:
    sampler, scheduler = algorithm(f"{name}:population=4,quantile=0.25", RUNGS)
    return Study(SPACE, sampler, scheduler, storage or MemoryStorage(), seed=3, max_trials=trials)


def played(study: Study, workers: int, *, failing: bool = False, seed: int = 0) -> Study:
    rng, running = np.random.default_rng(seed), list[Trial]()
    while True:
        while len(running) < workers and (trial := study.ask()) is not None:
            running.append(trial)
        if not running:
            return study
        trial = running.pop(int(rng.integers(len(running))))
        noise = np.random.default_rng([trial.number, int(trial.budget)])
        if failing and noise.random() < 0.2:
            study.tell(trial.number, Failure("of the test"))
        else:
            study.tell(trial.number, Report(trial.budget, float(trial.params["x"])))


def test_the_worst_is_replaced_by_a_copy_of_the_best_at_every_rung() -> None:
    study = played(study_of(7), 1)
    roots, children = study.trials[:4], study.trials[4:]
    assert [trial.parent for trial in roots] == [None] * 4
    assert len(children) == 3  # one at each rung but the last
    worst = max(roots, key=lambda trial: float(trial.params["x"]))
    assert worst.budget == 1.0
    best = min(roots, key=lambda trial: float(trial.params["x"]))
    assert children[0].parent == best.number
    assert [child.reports[0].budget for child in children] == [2.0, 3.0, 4.0]
    at_the_end = [trial for trial in study.trials if trial.reached == 4.0]
    assert len(at_the_end) == 4
    assert study.start_of(children[0]) == children[0].reached


def test_a_copy_starts_where_its_parent_was() -> None:
    study = study_of(7)
    while True:
        trial = study.ask()
        assert trial is not None
        if trial.parent is not None:
            break
        study.tell(trial.number, Report(trial.budget, float(trial.params["x"])))
    assert (study.start_of(trial), trial.budget) == (1.0, 2.0)
    assert trial.params != study.trials[trial.parent].params
    promotable = study.scheduler.promotable(study.standings, 99)
    assert trial.number not in promotable.get(1.0, [])
    assert trial.parent in promotable[1.0], "its checkpoint is needed"


@given(workers=st.integers(1, 6), seed=st.integers(0, 5), trials=st.integers(1, 25))
def test_the_order_of_results_changes_nothing(workers: int, seed: int, trials: int) -> None:
    for failing in (False, True):
        one = played(study_of(trials), 1, failing=failing)
        many = played(study_of(trials), workers, failing=failing, seed=seed)
        assert many.trials == one.trials
        assert len(one.trials) == trials
        assert all(trial.finished for trial in one.trials)


def test_a_study_that_is_resumed_at_any_event_has_the_same_population() -> None:
    whole = played(study_of(16), 1).trials
    storage = MemoryStorage()
    while (trial := study_of(16, storage).ask()) is not None:
        study = study_of(16, storage)
        assert study.ask() == trial
        study.tell(trial.number, Report(trial.budget, float(trial.params["x"])))
    assert tuple(storage.load()) == whole


@given(data=st.data(), seed=st.integers(0, 1000))
def test_explored_configurations_are_in_the_space(data: st.DataObject, seed: int) -> None:
    space = data.draw(spaces())
    rng = np.random.default_rng(seed)
    params = space.sample(rng)
    for _ in range(5):
        params = explored(PopulationBased(), space, params, rng)
        assert set(params) == set(space.active(params))
        assert space.allowed(params)
        again = space.decode(space.encode(params))
        assert set(again) == set(params)


def test_the_schedule_of_a_copy_has_the_values_of_those_it_comes_from() -> None:
    trials = played(study_of(7), 1).trials
    copy = trials[-1]
    phases = schedule(trials, copy.number)
    assert phases[-1].number == copy.number
    assert (phases[0].start, phases[-1].to) == (0.0, 4.0)
    assert all(one.to == other.start for one, other in zip(phases, phases[1:], strict=False))
    assert all(phase.params == trials[phase.number].params for phase in phases)
    assert len(schedule(trials, 0)) == 1


def test_numbers_move_by_the_factor_and_choices_stay() -> None:
    space = SearchSpace(
        (Float("x", 0.01, 100.0, log=True), Integer("n", 1, 100), Categorical("c", ("a", "b")))
    )
    scheduler = PopulationBased(factor=2.0, resample=0.0)
    found = [
        explored(scheduler, space, {"x": 1.0, "n": 10, "c": "b"}, np.random.default_rng(i))
        for i in range(20)
    ]
    assert {round(float(each["x"]), 9) for each in found} == {0.5, 2.0}
    assert {each["n"] for each in found} == {5, 20}
    assert {each["c"] for each in found} == {"b"}


@given(data=st.data(), seed=st.integers(0, 1000))
def test_copies_inherit_what_a_training_cannot_change(data: st.DataObject, seed: int) -> None:
    space = data.draw(spaces())
    inherited = data.draw(st.sets(st.sampled_from(space.names)))
    rng = np.random.default_rng(seed)
    params = space.sample(rng)
    found = explored(PopulationBased(inherited=frozenset(inherited)), space, params, rng)
    assert space.allowed(found)
    both = inherited & params.keys() & found.keys()
    assert {name: found[name] for name in both} == {name: params[name] for name in both}
    if inherited >= set(space.names):
        assert found == params


def test_seconds_of_a_copy_count_from_the_start() -> None:
    trials = [
        replace(t, reports=tuple(replace(r, seconds=1.0) for r in t.reports))
        for t in played(study_of(7), 1).trials
    ]
    assert [seconds_again(trials, t) for t in trials] == [t.reached for t in trials]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pbt:populaton=4", "pbt has no setting 'populaton', did you mean 'population'"),
        ("pbt:population=1", "population=1 must be 2 or greater"),
        ("pbt:quantile=0.7", "quantile=0.7 must be 0.5 or less"),
        ("pbt:factor=1,resample=2", "(?s)factor=1.0 must be greater than 1.*resample=2.0"),
    ],
)
def test_settings_that_are_not_allowed(name: str, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        algorithm(name, RUNGS)


def test_the_name_has_its_settings_in_a_fixed_order() -> None:
    assert canonical("pbt:quantile=0.5,population=4") == "pbt:population=4,quantile=0.5"
    assert canonical("pbt:population=8") == "pbt"
    _, scheduler = algorithm("tpe+pbt:population=6", RUNGS)
    assert isinstance(scheduler, PopulationBased)
    assert (scheduler.population, scheduler.rungs) == (6, RUNGS)
    # 6 members for four legs, and one replaced at each of three rungs: 9 trials cost 6 trainings
    assert scheduler.cost == pytest.approx(6 / 9)
