from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.warmstart.defaults import (
    Training,
    losses_of,
    portfolio,
    promising,
    regrets,
    study,
)
from hpo.space import Float, SearchSpace
from hpo.space.parameters import Params


def test_regret_is_relative_to_the_median_of_the_pool() -> None:
    # the default, a pool of three, and a configuration that was chosen
    losses = np.array([[5.0, 1.0, 3.0, 9.0, 2.0]])
    assert regrets(losses, pool=3).tolist() == [[2.0, 0.0, 1.0, 2.0, 0.5]]


def test_a_failed_training_is_the_worst() -> None:
    row = [Training({}, loss, 1.0) for loss in (1.0, float("nan"), 3.0)]
    assert losses_of([row]).tolist() == [[1.0, 3.0, 3.0]]


def test_each_point_of_a_portfolio_helps_where_the_others_do_not() -> None:
    # the second column is good on average, the third only where the second is bad
    regret = np.array([[1.0, 0.1, 1.0, 0.3], [1.0, 0.1, 1.0, 0.3], [1.0, 0.9, 0.0, 0.8]])
    assert portfolio(regret, 2) == [1, 2]


def test_promising_configurations_lie_where_the_regret_is_small() -> None:
    space = SearchSpace((Float("x", 0.0, 1.0), Float("y", 0.0, 1.0)))
    rng = np.random.default_rng(0)
    points: list[Params] = [space.sample(rng) for _ in range(40)]
    regret = np.array([abs(float(p["x"]) - 0.8) for p in points])
    found = promising(space, points, regret, 4)
    assert [float(p["x"]) for p in found] == pytest.approx([0.8] * 4, abs=0.15)
    assert len({tuple(p.values()) for p in found}) == 4


def test_tables_of_the_test_choose_nothing() -> None:
    """On the last table everything is upside down, and the portfolio is that of the others."""

    def train(points: Sequence[Params]) -> list[list[Training]]:
        rates = [np.log(float(point.get("learning_rate", 0.1))) for point in points]
        return [
            [Training(point, sign * rate, 1.0) for point, rate in zip(points, rates, strict=True)]
            for sign in (1, 1, -1)
        ]

    text, values = study("lightgbm", 12, 3, train, n_test=1)
    points = values["points"]
    assert isinstance(points, list)
    assert points[0]["learning_rate"] < 0.01
    assert "2 tables chose among 16 configurations; the regrets are those of 1 others" in text
