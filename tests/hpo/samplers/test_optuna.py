import math
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages.journal import JournalFileBackend

from hpo.algorithms import algorithm
from hpo.errors import ParameterError
from hpo.samplers.optuna import DefineByRunSampler
from hpo.samplers.random import RandomSampler
from hpo.space import Categorical, Float, Integer, SearchSpace
from hpo.space.optuna import Dimension, Dimensions, united
from hpo.storage import MemoryStorage
from hpo.study import FirstPoint, Study, StudySettings
from hpo.trial import Failure, Report

optuna.logging.set_verbosity(optuna.logging.ERROR)

FLAT = SearchSpace(
    (
        Float("x", -5.0, 5.0),
        Float("rate", 1e-5, 1.0, log=True),
        Float("momentum", 0.0, 1.0, step=0.1),
        Integer("n", 1, 100, log=True),
        Integer("k", 2, 20, step=2),
        Categorical("kind", ("a", "b", "c")),
    )
)


def flat(trial: optuna.Trial) -> float:
    return loss(
        {
            "x": trial.suggest_float("x", -5, 5),
            "rate": trial.suggest_float("rate", 1e-5, 1, log=True),
            "momentum": trial.suggest_float("momentum", 0, 1, step=0.1),
            "n": trial.suggest_int("n", 1, 100, log=True),
            "k": trial.suggest_int("k", 2, 20, step=2),
            "kind": trial.suggest_categorical("kind", ["a", "b", "c"]),
        }
    )


def loss(p: Mapping[str, Any]) -> float:
    if p["kind"] == "c" and p["x"] > 3:
        raise ArithmeticError
    away = (p["x"] - 2) ** 2 + abs(math.log10(p["rate"]) + 3) + abs(p["momentum"] - 0.9)
    return float(away + p["n"] / 100 + p["k"] / 20 + (p["kind"] != "b"))


def branches(trial: optuna.Trial) -> float:
    """The kind of a model decides its parameters; one has as many as a number says."""
    if trial.suggest_categorical("kind", ["linear", "net", None]) == "net":
        act = trial.suggest_categorical("act", ["relu", "tanh"])
        slope = trial.suggest_float("slope", 0, 1) if act == "relu" else 0.5
        sizes = [trial.suggest_int(f"size{i}", 4, 64) for i in range(trial.suggest_int("n", 1, 3))]
        return slope + sum(sizes) / 64
    return 1 + abs(trial.suggest_float("c", 1e-3, 1e3, log=True) - 1)


def study(seed: int | None = 0, **kwargs: Any) -> optuna.Study:
    return optuna.create_study(sampler=DefineByRunSampler(seed=seed), **kwargs)


def run(
    objective: Callable[[optuna.Trial], float], n: int, seed: int | None = 0, **kwargs: Any
) -> optuna.Study:
    made = study(seed, **kwargs)
    made.optimize(objective, n_trials=n, catch=ArithmeticError)
    return made


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_optuna_gets_the_trials_of_our_own_study(direction: str) -> None:
    sign = -1 if direction == "maximize" else 1
    theirs = run(lambda trial: sign * flat(trial), 40, direction=direction)
    sampler, scheduler = algorithm("tpe", rungs=(1,))
    first = FirstPoint(theirs.trials[0].params, "center")
    ours = Study(
        FLAT,
        sampler,
        scheduler,
        MemoryStorage(),
        seed=0,
        max_trials=40,
        settings=StudySettings(first_points=[first]),
    )
    while (trial := ours.ask()) is not None:
        try:
            outcome: Report | Failure = Report(trial.budget, loss(trial.params))
        except ArithmeticError as error:
            outcome = Failure(str(error))
        ours.tell(trial.number, outcome)
    assert [trial.params for trial in theirs.trials] == [trial.params for trial in ours.trials]
    assert any(trial.state == optuna.trial.TrialState.FAIL for trial in theirs.trials)


def test_the_first_trial_is_the_center() -> None:
    assert run(branches, 1).trials[0].params == {"kind": "linear", "c": pytest.approx(1)}


def test_the_seed_decides_a_study_and_another_gives_another(tmp_path: Path) -> None:
    def params(seed: int | None, **kwargs: Any) -> list[Mapping[str, Any]]:
        return [trial.params for trial in run(branches, 12, seed, **kwargs).trials]

    assert params(1) == params(1) != params(2)
    assert params(None) != params(None)
    journal = JournalFileBackend(str(tmp_path / "optuna.log"))
    assert params(1, storage=optuna.storages.JournalStorage(journal)) == params(1)


def test_a_study_goes_on_in_another_process_as_if_it_had_not_stopped() -> None:
    whole = run(branches, 16)
    cut = run(branches, 8)
    cut.sampler = pickle.loads(pickle.dumps(cut.sampler))
    cut.optimize(branches, n_trials=8)
    assert [trial.params for trial in cut.trials] == [trial.params for trial in whole.trials]


def test_conditions_are_those_that_tell_the_trials_with_a_parameter() -> None:
    trials = run(branches, 40).trials
    found = Dimensions.of(united(t.distributions for t in trials), [t.params for t in trials])
    assert found.conditions["c"] == {"kind": ("linear", "None")}
    assert found.conditions["act"] == found.conditions["n"] == {"kind": ("net",)}
    assert found.conditions["slope"]["act"] == ("relu",)
    assert "kind" not in found.conditions
    for trial in trials:
        assert set(trial.params) <= set(found.space.active(found.ours(trial.params)))


def layers(trial: optuna.Trial) -> float:
    """A whole number says how many parameters there are; one is best."""
    n = trial.suggest_int("layers", 1, 4)
    return sum((trial.suggest_float(f"x{i}", -5, 5) - i) ** 2 for i in range(n))


def test_a_whole_number_decides_which_parameters_there_are() -> None:
    made = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    made.optimize(layers, n_trials=30)
    trials = made.trials
    found = Dimensions.of(united(t.distributions for t in trials), [t.params for t in trials])
    assert found.conditions == {
        "x1": {"layers": (2, 3, 4)},
        "x2": {"layers": (3, 4)},
        "x3": {"layers": (4,)},
    }
    assert found.space["layers"] == Categorical("layers", (1, 2, 3, 4))
    assert found.theirs(found.ours(trials[0].params)) == trials[0].params
    few = [trial.params for trial in trials if trial.params["layers"] in (1, 4)]
    nearest = Dimensions.of(united(t.distributions for t in trials), few)
    assert nearest.conditions["x1"] == {"layers": (3, 4)}  # 2 and 3 were not seen


def test_a_whole_number_with_many_values_stays_a_range() -> None:
    def objective(trial: optuna.Trial) -> float:
        n = trial.suggest_int("n", 1, 100)
        return n / 100 + (trial.suggest_float("x", 0, 1) if n > 50 else 0.0)

    made = optuna.create_study(sampler=DefineByRunSampler(seed=0))
    made.optimize(objective, n_trials=12)
    trials = made.trials
    found = Dimensions.of(united(t.distributions for t in trials), [t.params for t in trials])
    assert found.space["n"] == Integer("n", 1, 100)


def test_parameters_that_are_not_asked_for_do_not_mislead_the_search() -> None:
    best = []
    for seed in range(5):
        made = optuna.create_study(sampler=DefineByRunSampler(seed=seed))
        made.optimize(layers, n_trials=30)
        best.append(made.best_value)
    assert sorted(best)[2] < 0.02  # 0.003; without the conditions 0.28


def test_running_trials_are_pending_before_they_have_suggested_anything() -> None:
    made = run(lambda trial: abs(trial.suggest_int("k", 1, 8) - 3), 1)
    asked = [made.ask() for _ in range(7)]
    assert len({trial.suggest_int("k", 1, 8) for trial in asked}) == 7


def test_threads_do_not_repeat_a_configuration() -> None:
    made = study()
    made.optimize(lambda trial: trial.suggest_int("k", 1, 40), n_trials=24, n_jobs=4)
    known = [trial.params["k"] for trial in made.trials if trial.number > 3]
    assert len(set(known)) == len(known)


def test_a_small_space_is_tried_again_when_it_is_exhausted() -> None:
    made = run(lambda trial: trial.suggest_int("k", 1, 3), 6)
    assert {trial.params["k"] for trial in made.trials[:3]} == {1, 2, 3}


def test_an_enqueued_trial_is_pending_before_it_has_suggested_anything() -> None:
    made = run(lambda trial: trial.suggest_int("k", 1, 3), 1)
    made.enqueue_trial({"k": 3, "other": "odd"})
    fixed, free = made.ask(), made.ask()
    assert free.suggest_int("k", 1, 3) == 1
    assert fixed.suggest_int("k", 1, 3) == 3


def test_a_range_may_change_between_trials() -> None:
    def objective(trial: optuna.Trial) -> float:
        high = trial.suggest_int("high", 2, 9)
        return high - trial.suggest_int("k", 1, high) + trial.suggest_float("x", 0, high, step=0.5)

    made = run(objective, 30)
    for trial in made.trials:
        assert trial.params["k"] <= trial.params["high"]
    assert made.best_value <= 1


def test_pruned_trials_rank_behind_complete_ones_and_the_later_pruned_first() -> None:
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        for step in range(4):
            trial.report(x, step)
            if x > 0.25 * (step + 1):
                raise optuna.TrialPruned
        return x

    made = run(objective, 40)
    assert any(trial.state == optuna.trial.TrialState.PRUNED for trial in made.trials)
    late = [trial.params["x"] for trial in made.trials[20:]]
    assert sum(late) / len(late) < 0.35


def test_a_constraint_keeps_the_search_away() -> None:
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        trial.set_constraint("at least 0.5", 0.5 - x)
        return x

    late = [trial.params["x"] for trial in run(objective, 40).trials[20:]]
    assert sum(x >= 0.5 for x in late) > 10


def test_several_directions_are_one_clear_error() -> None:
    made = study(directions=["minimize", "maximize"])
    with pytest.raises(ParameterError, match="2 directions, but DefineByRunSampler optimises one"):
        made.optimize(lambda trial: (trial.suggest_float("x", 0, 1), 0.0), n_trials=1)


def test_a_seed_below_zero_is_an_error() -> None:
    with pytest.raises(ParameterError, match="seed=-1"):
        DefineByRunSampler(seed=-1)


def test_a_range_that_we_cannot_search_is_random_and_any_sampler_of_ours_will_do() -> None:
    def objective(trial: optuna.Trial) -> float:
        return trial.suggest_int("huge", 0, 2**60) / 2**60 + trial.suggest_float("x", 0, 1)

    made = optuna.create_study(sampler=DefineByRunSampler(RandomSampler(), seed=0))
    made.optimize(objective, n_trials=6)
    assert len({trial.params["huge"] for trial in made.trials}) == 6


CHOICES = st.lists(
    st.one_of(
        st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from(["", "a", "None", "1"])
    ),
    min_size=2,
    max_size=5,
    unique_by=lambda value: (type(value), value),
)


@given(choices=CHOICES)
@settings(max_examples=50, deadline=None)
def test_each_choice_of_optuna_is_one_of_ours_and_back(choices: list[Any]) -> None:
    dimension = Dimension.of("c", optuna.distributions.CategoricalDistribution(choices))
    assert dimension is not None
    for choice in dimension.distribution.choices:  # type: ignore[attr-defined]
        first = choices[int(dimension.distribution.to_internal_repr(choice))]
        back = dimension.theirs(dimension.ours(choice))
        assert (type(back), back) == (type(first), first)
