"""The corrected resampled t-test and its intervals: the formulas, and how often they are wrong."""

import numpy as np
import pytest
from scipy import stats

from hpo.arrays import FloatArray
from pipelines.table.scores.estimates import differences, holm, mean_of

RNG = np.random.default_rng(3)


def test_without_shared_rows_it_is_students_test() -> None:
    gains = RNG.normal(0.4, 1.0, size=12)
    (found,) = differences([gains], ratio=0.0)
    expected = stats.ttest_1samp(gains, 0.0)
    low, high = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.estimate.low, found.estimate.high) == pytest.approx((low, high))


def test_shared_rows_widen_the_interval_as_published() -> None:
    """Nadeau and Bengio 2003: 1/n becomes 1/n + n_test/n_train, here 0.1 + 0.25."""
    scores = RNG.normal(size=10)
    plain, corrected = mean_of(scores, 0.0), mean_of(scores, 0.25)
    assert (corrected.high - corrected.low) / (plain.high - plain.low) == pytest.approx(
        np.sqrt(3.5)
    )
    assert corrected.mean == plain.mean == pytest.approx(scores.mean())


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.6, 0.7]) == (1.0, 1.0)
    assert holm([]) == ()


def test_single_and_constant_scores() -> None:
    assert (mean_of([0.5], 0.25).low, mean_of([0.5], 0.25).high) == (-np.inf, np.inf)
    same, always, once = differences([[0.0, 0.0], [0.1, 0.1], [0.3]], 0.25)
    assert (same.p, always.p, once.p) == (1.0, 0.0, 1.0)
    assert always.adjusted == 0.0


# --- calibration
# ------------------------------------------------------------------------------------

REPETITIONS = 600


def repeated_folds(n: int, rng: np.random.Generator) -> FloatArray:
    """`(10, 2)` squared errors on 2 x 5 folds of two equally good learners, an input each."""
    x = rng.normal(size=(n, 2))
    y = x.sum(axis=1) + rng.normal(size=n)
    scores = []
    for _ in range(2):
        fold_of = rng.permutation(n) % 5
        for fold in range(5):
            train, test = fold_of != fold, fold_of == fold
            slopes = x[train].T @ y[train] / np.square(x[train]).sum(axis=0)
            scores.append(np.square(y[test, None] - x[test] * slopes).mean(axis=0))
    return np.array(scores)


@pytest.mark.parametrize("n", [60, 300])
def test_rates_are_no_higher_than_stated(n: int) -> None:
    """At 0.05, a twentieth of equal pairs may differ and a twentieth of the intervals may miss.

    Both counts are binomial: the standard deviation of a share of 600 is sqrt(0.05 * 0.95 / 600) =
    0.0089, and four of them are allowed (a chance of 3e-5). The true mean is that of all
    repetitions, whose own error is a 24th of the spread between them and adds less than 0.001 to
    the rate of misses. Without the correction more than a tenth differ.
    """
    rng = np.random.default_rng(n)
    drawn = [repeated_folds(n, rng) for _ in range(REPETITIONS)]
    true = np.mean([scores[:, 0] for scores in drawn])
    gains = [scores[:, 0] - scores[:, 1] for scores in drawn]
    intervals = [mean_of(scores[:, 0], 0.25) for scores in drawn]
    significant = np.mean([differences([each], 0.25)[0].p < 0.05 for each in gains])
    missed = np.mean([not found.low <= true <= found.high for found in intervals])
    uncorrected = np.mean([differences([each], 0.0)[0].p < 0.05 for each in gains])
    bound = 0.05 + 4 * np.sqrt(0.05 * 0.95 / REPETITIONS)
    assert 0 < significant <= bound
    assert 0 < missed <= bound
    assert uncorrected > 0.1
