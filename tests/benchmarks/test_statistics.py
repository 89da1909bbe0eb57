"""The statistics on numbers whose answers are known."""

import math

import numpy as np
import pytest

from benchmarks.statistics import (
    best_so_far,
    first_times,
    interval,
    mean_rank,
    mean_rank_intervals,
    ranks,
    ratio_interval,
    speed_up,
    wins,
)


def test_ranks_share_ties() -> None:
    assert ranks(np.array([3.0, 1.0, 1.0, 5.0])).tolist() == [3.0, 1.5, 1.5, 4.0]


def test_best_so_far_never_rises() -> None:
    assert best_so_far(np.array([[3.0, 5.0, 2.0, 4.0]])).tolist() == [[3.0, 3.0, 2.0, 2.0]]


def test_mean_rank_averages_over_problems_and_seeds() -> None:
    regrets = np.zeros((2, 3, 4))
    regrets[1] = 1.0
    regrets[:, 0] = [[1.0], [0.0]]
    assert mean_rank(regrets) == pytest.approx([(2 + 1 + 1) / 3, (1 + 2 + 2) / 3])


def test_mean_rank_intervals_hold_the_mean_and_vanish_when_seeds_agree() -> None:
    rng = np.random.default_rng(0)
    regrets = rng.random((3, 4, 20)) + np.array([0.0, 0.3, 0.6])[:, None, None]
    bounds, mean = mean_rank_intervals(regrets), mean_rank(regrets)
    assert np.all(bounds[:, 0] <= mean)
    assert np.all(mean <= bounds[:, 1])
    assert np.all(bounds[:, 0] < bounds[:, 1])
    same = np.repeat(rng.random((3, 4, 1)), 20, axis=2)
    assert mean_rank_intervals(same)[:, 0] == pytest.approx(mean_rank_intervals(same)[:, 1])


def test_wins_count_ties_half() -> None:
    share, low, high = wins(np.array([[0.0, 1.0, 2.0, 0.0]]), np.array([[1.0, 1.0, 1.0, 1.0]]))
    assert share == 0.625
    assert 0.0 <= low <= share <= high <= 1.0


def test_interval_of_a_median_covers_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        low, high = interval(rng.normal(size=30))
        hits += low <= 0.0 <= high
    # Binomial(200, 0.95): 5 standard deviations below 190 is 174.
    assert hits >= 174


def test_ratio_of_medians() -> None:
    value, low, high = ratio_interval(np.array([8.0, 10.0, 12.0]), np.array([2.0, 2.0, 2.0]))
    assert value == 5.0
    assert 4.0 <= low <= value <= high <= 6.0


def test_first_times_are_those_at_which_a_target_is_reached() -> None:
    times, losses = np.array([1.0, 4.0, 9.0]), np.array([3.0, 2.0, 1.0])
    assert [first_times(times, losses, target) for target in (3.0, 2.5, 1.0, 0.5)] == [
        1.0,
        4.0,
        9.0,
        math.inf,
    ]


def test_speed_up_is_the_median_over_problems_of_horizons_over_median_times() -> None:
    times = np.array([[10.0, 20.0, 90.0], [25.0, 50.0, 50.0], [9.0, math.inf, 10.0]])
    value, low, high = speed_up(times, horizon=100.0)
    assert value == 5.0  # of 5, 2 and 10
    assert low < value < high


def test_a_search_that_never_gets_there_is_no_time_sooner() -> None:
    assert speed_up(np.full((3, 5), math.inf), horizon=100.0) == (0.0, 0.0, 0.0)
    assert speed_up(np.full((3, 5), 40.0), horizon=100.0) == (2.5, 2.5, 2.5)
