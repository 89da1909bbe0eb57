"""What peers are given is the same space: every configuration they draw belongs to ours."""

from pathlib import Path

import hyperopt
import numpy as np
import pytest
from hyperopt.pyll.stochastic import sample

from benchmarks.methods import method
from benchmarks.peers import hyperopt_tpe, own
from benchmarks.search.problems import names, problem
from benchmarks.search.quality import Job, Setup, regrets, report, stored
from benchmarks.statistics import best_so_far
from benchmarks.worker import minimise
from hpo.errors import UserError


@pytest.mark.parametrize("name", names())
def test_hyperopt_draws_from_the_same_space(name: str) -> None:
    space = problem(name).space
    graph, decode, rng = (
        hyperopt_tpe.graph(space),
        hyperopt_tpe.decoder(space),
        np.random.default_rng(0),
    )
    for _ in range(20):
        space.validate(decode(sample(graph, rng)))


def test_hyperopt_starts_from_the_given_configuration_and_stops_in_time() -> None:
    chosen = problem("nested")
    losses = hyperopt_tpe.minimise(chosen, seed=1, trials=12, first=True)
    assert len(losses) == 12
    assert losses[0] == pytest.approx(chosen.loss(chosen.default))


def test_a_history_of_hyperopt_is_read_back_as_it_was_written() -> None:
    space = problem("network").space
    params = space.sample(np.random.default_rng(3))
    trials = hyperopt.Trials()
    trials.insert_trial_docs([hyperopt_tpe.document(space, 0, params, 0.5)])
    trials.refresh()
    assert {k: v[0] for k, v in trials.vals.items() if v} == {
        name: hyperopt_tpe._raw(space[name], value) for name, value in params.items()
    }


def test_own_searches_repeat_with_their_seed() -> None:
    chosen = problem("network")
    runs = [own.minimise(chosen, seed=4, trials=15, first=True, name="random") for _ in range(2)]
    assert runs[0] == runs[1]
    assert runs[0][0] == chosen.loss(chosen.default)


def test_settings_are_read_from_a_methods_name() -> None:
    chosen = method("tpe:gamma=0.2,n_startup=7")
    assert chosen.settings == {"name": "tpe", "gamma": 0.2, "n_startup": 7}
    with pytest.raises(UserError, match="did you mean 'optuna'"):
        method("optunna")


def test_results_are_stored_and_reported(tmp_path: Path) -> None:
    results = stored(tmp_path)
    for name, shift in (("tpe", 0.0), ("random", 1.0)):
        for seed in range(3):
            results.add(
                Job(name, "branin", seed, 10, True),
                {
                    "losses": [9.0 + shift - i / 10 + seed / 100 for i in range(10)],
                    "cpu_seconds": 0.1,
                },
            )
    again = stored(tmp_path)
    assert again.answers == results.answers
    measured = regrets(again, ["tpe", "random"], ["branin"], Setup(3, 10, first=True))
    assert np.all(measured[0] < measured[1])
    setup, methods = Setup(3, 10, first=True), [method("tpe"), method("random")]
    text, values = report(again, methods, ["branin", "nested"], setup)
    assert values["problems"] == ["branin"]
    assert "| **tpe** (this project) | 1.00 [1.00, 1.00]" in text


def test_a_search_with_noise_is_judged_by_the_true_loss_of_its_best() -> None:
    chosen = problem("branin~3")
    assert chosen.noise == 3.0
    assert chosen.loss(chosen.default) == problem("branin").loss(chosen.default)

    losses = minimise(own, chosen, seed=2, trials=12, first=True, name="random")
    again = minimise(own, chosen, seed=2, trials=12, first=True, name="random")
    without = own.minimise(problem("branin"), seed=2, trials=12, first=True, name="random")

    assert losses == again
    assert set(losses) <= set(without)
    assert losses != best_so_far(np.array(without)).tolist()
