"""Searches replayed on tabulated trainings; no figure of a real table."""

import numpy as np
import pytest

from benchmarks.search.validation import (
    BUDGETS,
    WAYS,
    Tabulated,
    Training,
    affordable,
    raced,
    shown,
)
from pipelines.table.scores.metrics import METRICS

Y = [np.arange(8.0) + 10 * fold for fold in range(5)]
Y_TEST = np.arange(20.0)


def training(family: str, error: float, seconds: float, *, is_default: bool = True) -> Training:
    valid = [y + error * (-1.0) ** np.arange(len(y)) for y in Y]
    served = Y_TEST + error, Y_TEST + 2 * error
    return Training(family, is_default, np.full(5, seconds), valid, served)


def tabulated() -> Tabulated:
    trainings = [
        training("lightgbm", 1.0, 2.0),
        training("lightgbm", 0.0, 2.0, is_default=False),
        training("linear", 0.5, 2.0),
        training("mlp", 0.0, 100.0),
    ]
    return Tabulated(trainings, Y, Y_TEST, METRICS["rmse"])


def test_a_search_sees_what_its_seconds_allow() -> None:
    seconds = np.array([2.0, 5.0, 1.0, 4.0])
    assert affordable(seconds, [1, 0, 2, 3], 8.0) == [1, 0, 2]
    assert affordable(seconds, [1, 0, 2, 3], 6.0) == [1, 2]  # what does not fit is skipped
    assert affordable(seconds, [1, 0], 0.0) == [1]  # the first is always trained


def test_far_behind_after_a_fold_ends_a_training() -> None:
    rng = np.random.default_rng(0)
    losses = 1.0 + 0.01 * rng.random((5, 5))
    losses[3] += 1.0
    seconds = np.ones((5, 5))
    assert raced(seconds, losses, [0, 1, 2, 3, 4], 21.0) == [0, 1, 2, 4]  # one second for the 3rd
    assert raced(seconds, losses, [0, 1, 2, 4, 3], 20.0) == [0, 1, 2, 4]
    assert raced(seconds, losses, [3, 0], 10.0) == [3, 0], "none ends before three trials"


@pytest.mark.parametrize(
    ("way", "limit", "error", "trials"),
    [
        ("lightgbm, hold-out", 2.0, 1.0, 1),
        ("lightgbm, hold-out", 4.0, 0.0, 2),
        ("several, hold-out", 4.0, 0.5, 2),  # the defaults of all families come first
        ("lightgbm, cv:5", 10.0, 2.0, 1),  # five trainings, and rounds of all folds
        ("several, cv:5, the best trial", 20.0, 1.0, 2),
        ("several and mlp, cv:5", 520.0, 0.0, 3),
    ],
)
def test_what_a_search_serves(way: str, limit: float, error: float, trials: int) -> None:
    found, tried = tabulated().replayed(way, limit, 0)
    assert found == pytest.approx(error)
    assert tried == trials


def test_errors_are_shown_relative_to_the_first_way() -> None:
    rows = [
        {"table": name, "budget": budget, "way": way, "error": 0.5 if i else 1.0, "trials": 3.0}
        for name in "ab"
        for budget in BUDGETS
        for i, way in enumerate(WAYS)
    ]
    lines = shown(rows).splitlines()
    assert len(lines) == 2 + len(BUDGETS) * len(WAYS)
    assert "| 1.000 [1.000, 1.000] | 0 % of tables | 3 |" in lines[2]
    assert "| 0.500 [0.500, 0.500] | 100 % of tables | 3 |" in lines[3]
