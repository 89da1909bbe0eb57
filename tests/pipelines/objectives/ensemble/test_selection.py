"""Greedy selection with replacement: what it finds, and what its bags protect from."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.objectives.ensemble.selection import Loss, Predictions, blend, select
from pipelines.table.scores.metrics import METRICS


def rmse(y: np.ndarray) -> Loss:
    return lambda prediction: METRICS["rmse"](y, prediction)


def rmse_on(y: np.ndarray) -> Callable[[np.ndarray], Loss]:
    return lambda rows: rmse(y[rows])


def noisy(n_trials: int, n: int, seed: int, noise: float = 1.0) -> tuple[np.ndarray, Predictions]:
    """Targets, and predictions whose errors are independent."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=n)
    return y, y + rng.normal(scale=noise, size=(n_trials, n))


@settings(max_examples=30, deadline=None)
@given(n_trials=st.integers(1, 8), most=st.integers(1, 8), seed=st.integers(0, 99))
def test_weights_sum_to_one_and_no_more_trials_have_one_than_allowed(
    n_trials: int, most: int, seed: int
) -> None:
    y, predictions = noisy(n_trials, 40, seed)
    weights = select(predictions, rmse_on(y), most, seed)
    assert weights.shape == (n_trials,)
    assert weights.sum() == pytest.approx(1.0)
    assert (weights >= 0).all()
    assert 1 <= np.count_nonzero(weights) <= min(most, n_trials)
    np.testing.assert_array_equal(weights, select(predictions, rmse_on(y), most, seed))


def test_independent_errors_cancel() -> None:
    y, predictions = noisy(6, 500, 0)
    weights = select(predictions, rmse_on(y), 6, 0)
    assert rmse(y)(blend(predictions, weights)) < 0.6 * min(map(rmse(y), predictions))


def test_a_trial_that_is_much_better_than_all_others_stays_alone() -> None:
    y, predictions = noisy(5, 200, 1)
    predictions[3] = y
    weights = select(predictions, rmse_on(y), 5, 0)
    assert weights.tolist() == [0.0, 0.0, 0.0, 1.0, 0.0]


def test_a_better_trial_has_the_larger_weight() -> None:
    rng = np.random.default_rng(2)
    y = rng.normal(size=2000)
    predictions = y + rng.normal(size=(2, 2000)) * [[1.0], [2.0]]
    good, poor = select(predictions, rmse_on(y), 2, 0)
    assert good == pytest.approx(0.8, abs=0.05)  # the shares of the inverse variances
    assert poor > 0


def test_probabilities_are_blended_and_stay_probabilities() -> None:
    rng = np.random.default_rng(3)
    y = rng.integers(0, 3, size=300)
    hits = np.eye(3)[y] * 2
    predictions = np.array([rng.dirichlet([1, 1, 1], 300) + hits for _ in range(4)]) / 3
    loss = METRICS["log_loss"]
    weights = select(predictions, lambda rows: lambda p: loss(y[rows], p), 3, 0)
    mean = blend(predictions, weights)
    np.testing.assert_allclose(mean.sum(axis=1), 1.0)
    assert loss(y, mean) < min(loss(y, each) for each in predictions)


def test_the_result_does_not_depend_on_where_the_best_trial_stands() -> None:
    y, predictions = noisy(2, 100, 4)
    one = select(predictions, rmse_on(y), 2, 0)
    other = select(predictions[::-1], rmse_on(y), 2, 0)
    np.testing.assert_allclose(one, other[::-1])


def test_the_luckiest_of_equal_trials_does_not_take_all_the_weight() -> None:
    """On few rows one of several equally good trials is the best by chance."""
    heaviest = []
    for seed in range(10):
        y, predictions = noisy(6, 30, seed)
        heaviest.append(select(predictions, rmse_on(y), 6, seed).max())
    assert np.mean(heaviest) < 0.5


def test_bags_without_one_of_two_classes_are_left_out() -> None:
    y = np.array([1] + [0] * 5)
    predictions = np.array([[0.9, 0.1, 0.2, 0.1, 0.3, 0.2], [0.1, 0.3, 0.2, 0.1, 0.9, 0.2]])
    auc = METRICS["roc_auc"]

    def loss_on(rows: np.ndarray) -> Loss:
        return lambda p: -auc(y[rows], np.column_stack([1 - p, p]))

    assert select(predictions, loss_on, 2, 0)[0] > 0.5
    with pytest.raises(ValueError, match="class"):
        select(
            predictions, lambda rows: lambda p: auc(y[rows] * 0, np.column_stack([1 - p, p])), 2, 0
        )
