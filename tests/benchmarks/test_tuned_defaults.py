import numpy as np
import pytest

from benchmarks.warmstart.defaults import Training, after_each, losses_of, pool_of, regrets, report


def test_regret_is_relative_to_the_median_of_the_pool() -> None:
    # the default, and a pool of three
    assert regrets(np.array([[5.0, 1.0, 2.0, 9.0]])).tolist() == [[2.0, 0.0, 1.0, 2.0]]


def test_a_failed_training_is_the_worst() -> None:
    row = [Training({}, loss, 1.0) for loss in (1.0, float("nan"), 3.0)]
    assert losses_of([row]).tolist() == [[1.0, 3.0, 3.0]]


def test_a_table_has_no_part_in_what_is_tried_first_on_it() -> None:
    """The second column is best on two tables and worst on the third; the rest is equal."""
    regret = np.ones((3, 12))
    regret[:2, 1], regret[2, 1] = 0.0, 2.0
    random, chosen = after_each(regret)
    assert chosen[:2, 1].tolist() == [0.0, 0.0]
    assert chosen[2].tolist() == [1.0] * 9
    assert 0.0 < random[0, 1] < 1.0
    assert random[0, 0] == chosen[0, 0] == 1.0


def test_the_best_on_the_mean_is_printed_first() -> None:
    regret = np.ones((4, 10))
    regret[:, 7] = 0.25
    points = [{}, *pool_of("lightgbm", 9)]
    text, values = report(regret, points)
    assert "4 tables." in text
    assert "- mean regret 0.25: learning_rate" in text
    best = values["best"]
    assert isinstance(best, list)
    assert best[0] == pytest.approx(points[7])
