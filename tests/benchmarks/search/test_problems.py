"""The problems have the least values that are claimed, and every method sees the same function."""

import math

import numpy as np
import pytest

from benchmarks.search.problems import names, problem
from hpo.errors import UserError
from hpo.space import Params

BEST: dict[str, Params] = {
    "branin": {"x": math.pi, "y": 2.275},
    "hartmann6": dict(
        zip(
            [f"x{i}" for i in range(6)],
            [0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573],
            strict=True,
        )
    ),
    "rosenbrock4": {f"x{i}": 1.0 for i in range(4)},
    "ones4+4": {**{f"c{i}": 1 for i in range(4)}, **{f"x{i}": 1.0 for i in range(4)}},
    "ones8+8": {**{f"c{i}": 1 for i in range(8)}, **{f"x{i}": 1.0 for i in range(8)}},
    "network": {
        "optimizer": "sgd",
        "learning_rate": 10**-1.5,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "batch_size": 64,
        "layers": 3,
        "width": 256,
        "dropout": 0.2,
        "activation": "mish",
        "normalise": True,
    },
    "nested": {"kind": "kernel", "kernel": "rbf", "cost": 10.0, "gamma": 1e-2},
}


@pytest.mark.parametrize("name", BEST)
def test_the_optimum_is_reached_where_it_is_known(name: str) -> None:
    chosen = problem(name)
    chosen.space.validate(BEST[name])
    assert chosen.loss(BEST[name]) == pytest.approx(chosen.optimum, abs=1e-4)
    assert chosen.regret(chosen.loss(BEST[name])) == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("name", names())
def test_nothing_lies_below_the_optimum_and_random_draws_have_regret_one(name: str) -> None:
    chosen = problem(name)
    drawn = [
        chosen.space.decode(row) for row in chosen.space.codes.sample(np.random.default_rng(0), 300)
    ]
    losses = np.array([chosen.loss(params) for params in drawn])
    assert losses.min() >= chosen.optimum - 1e-9
    assert np.median([chosen.regret(loss) for loss in losses]) == pytest.approx(1.0, abs=0.25)


@pytest.mark.parametrize("name", names())
def test_the_first_configuration_belongs_to_the_space_and_is_not_the_best(name: str) -> None:
    chosen = problem(name)
    chosen.space.validate(chosen.default)
    assert chosen.regret(chosen.loss(chosen.default)) > 0.01
    assert set(chosen.cheap) <= set(chosen.space.names)


def test_an_unknown_problem_is_answered_with_the_closest_one() -> None:
    with pytest.raises(UserError, match="did you mean 'branin'"):
        problem("brannin")
