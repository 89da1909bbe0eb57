"""Samplers whose state is a population or a distribution, rebuilt from the results."""

import numpy as np
import pytest

from hpo.algorithms import sampler_of
from hpo.history import History
from hpo.samplers.cmaes import CMAESSampler
from hpo.samplers.de import DESampler
from hpo.samplers.evolution import EvolutionSampler
from hpo.schedulers.full import Full
from hpo.space import Categorical, Float, Integer, Params, SearchSpace
from hpo.storage import MemoryStorage
from hpo.study import Study
from hpo.trial import Report

SPACE = SearchSpace(
    (
        Float("x", 0.0, 1.0),
        Float("y", 0.0, 1.0),
        Categorical("kind", ("a", "b", "c")),
        Float("deep", 0.0, 1.0, when={"kind": ("b",)}),
        Integer("n", 1, 6),
        Categorical("constant", (1,)),
    )
)


def loss_of(params: Params) -> float:
    deep = 2 * (float(params["deep"]) - 0.7) ** 2 if params["kind"] == "b" else 0.3
    x, y = float(params["x"]), float(params["y"])
    return (x - 0.3) ** 2 + (y - 0.6) ** 2 + deep + 0.02 * (int(params["n"]) - 4) ** 2


def best(name: str, trials: int, seed: int, batch: int = 1) -> float:
    sampler = sampler_of(name)
    study = Study(SPACE, sampler, Full(1), MemoryStorage(), seed=seed, max_trials=trials)
    while asked := [trial for _ in range(batch) if (trial := study.ask())]:
        for trial in asked:
            study.tell(trial.number, Report(1, loss_of(trial.params)))
    return min(trial.loss for trial in study.trials)


@pytest.mark.parametrize(
    ("name", "batch"), [("evolution", 1), ("evolution", 4), ("de", 1), ("de", 4), ("cmaes", 4)]
)
def test_better_than_random_search(name: str, batch: int) -> None:
    found = [best(name, 80, seed, batch) for seed in range(2)]
    random = [best("random", 80, seed) for seed in range(2)]
    assert np.mean(found) < 0.7 * np.mean(random)


def history_of(losses: list[float], space: SearchSpace = SPACE) -> History:
    history, rng = History(space), np.random.default_rng(0)
    for loss in losses:
        history.observe(space.sample(rng), loss)
    history.n_sampled = len(losses)
    return history


def test_evolution_changes_one_parameter_of_the_best_that_is_alive() -> None:
    # The best of all has died of age; the best of the last four is the third.
    history = history_of([0.0, 5.0, 5.0, 1.0, 4.0, 3.0])
    parent = SPACE.decode(history.x[3])
    for seed in range(30):
        rng = np.random.default_rng(seed)
        child = EvolutionSampler(4, 4).suggest(history, rng)
        changed = {name for name in parent.keys() & child.keys() if parent[name] != child[name]}
        assert len(changed) == 1
        assert parent.keys() ^ child.keys() <= {"deep"}
        assert "constant" not in changed


def test_a_child_has_another_value_even_on_few_levels() -> None:
    space = SearchSpace((Integer("n", 1, 3), Categorical("c", (True, False))))
    history = history_of([1.0] * 10, space)
    for seed in range(20):
        child = EvolutionSampler(step=0.01).suggest(history, np.random.default_rng(seed))
        assert child not in [space.decode(history.x[0])] or child != space.decode(history.x[-1])


def test_differential_evolution_crosses_a_slot_with_a_mutant() -> None:
    space = SearchSpace(tuple(Float(f"x{i}", 0.0, 1.0) for i in range(6)))
    history = history_of([4.0, 3.0, 2.0, 1.0, 5.0, 6.0, 7.0, 8.0], space)  # the first four remain
    sampler = DESampler(4, crossover=0.0)
    for seed in range(5):
        params = sampler.suggest(history, np.random.default_rng(seed))
        same = [params[f"x{i}"] == pytest.approx(history.x[0, i]) for i in range(6)]
        assert sum(same) == 5


def test_differences_of_a_population_that_agrees_are_none() -> None:
    space = SearchSpace((Float("x", 0.0, 1.0), Float("y", 0.0, 1.0)))
    history = History(space)
    for _ in range(8):
        history.observe({"x": 0.25, "y": 0.5}, 1.0)
    params = DESampler().suggest(history, np.random.default_rng(0))
    assert params == {"x": pytest.approx(0.25), "y": pytest.approx(0.5)}


def test_cma_es_contracts_around_the_best_of_ranges_and_choices() -> None:
    space = SearchSpace((Float("x", 0.0, 1.0), Integer("n", 1, 9), Categorical("c", ("a", "b"))))
    study = Study(space, CMAESSampler(), Full(1), MemoryStorage(), seed=0, max_trials=80)
    while trial := study.ask():
        off = abs(float(trial.params["x"]) - 0.9) + abs(int(trial.params["n"]) - 2) / 8
        study.tell(trial.number, Report(1, off + (trial.params["c"] == "a")))
    last = [trial.params for trial in study.trials[-24:]]
    assert np.median([abs(float(params["x"]) - 0.9) for params in last]) < 0.1
    assert np.median([int(params["n"]) for params in last]) in (1, 2, 3)
    assert sum(params["c"] == "b" for params in last) >= 16


def test_a_generation_that_is_not_complete_changes_nothing() -> None:
    history, longer = history_of(list(range(16))), history_of(list(range(23)))
    one, other = (
        CMAESSampler(8).suggest(each, np.random.default_rng(3)) for each in (history, longer)
    )
    assert one == other
