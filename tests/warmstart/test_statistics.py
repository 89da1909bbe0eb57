import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from warmstart.statistics import (
    binned,
    counts_of,
    entropy,
    kurtosis,
    mutual_information,
    outlier_share,
    skewness,
    standardised,
    winsorised,
)


@given(st.lists(st.floats(-1e6, 1e6).map(lambda value: round(value, 6)), min_size=2, max_size=50))
def test_moments_are_those_of_scipy(values: list[float]) -> None:
    x = np.array(values)
    if np.std(x) > 1e-3 * np.abs(x).max():
        assert skewness(x) == pytest.approx(stats.skew(x), abs=1e-6)
        assert kurtosis(x) == pytest.approx(stats.kurtosis(x, fisher=False), abs=1e-6)


def test_what_does_not_vary_has_no_moments() -> None:
    for values in (np.ones(5), np.zeros(0)):
        assert math.isnan(skewness(values))
        assert math.isnan(kurtosis(values))
        assert not standardised(values).any()


def test_standardised_puts_the_mean_where_a_value_is_missing() -> None:
    assert standardised(np.array([1.0, np.nan, 3.0])).tolist() == [-1, 0, 1]


def test_winsorised() -> None:
    x = np.array([*range(101), np.nan])
    np.testing.assert_array_equal(winsorised(x), [1, *range(1, 100), 99, np.nan])


def test_outliers() -> None:
    assert outlier_share(np.array([0.0, 1, 2, 3, 4, 100])) == 1 / 6
    assert math.isnan(outlier_share(np.zeros(0)))


def test_entropy() -> None:
    assert entropy(np.array([1, 1, 0])) == pytest.approx(math.log(2))
    assert entropy(np.array([4])) == 0
    assert math.copysign(1, entropy(np.zeros(0, dtype=np.int64))) == 1


def test_distinct_does_not_count_missing_values() -> None:
    assert counts_of(np.array([2.0, np.nan, 1.0, 2.0])).tolist() == [1, 2]
    assert counts_of(np.array([5, -1, 3, 5])).tolist() == [1, 2]


def test_bins() -> None:
    assert binned(np.array([0.0, 7.0, np.nan, 0.0]), 3).tolist() == [1, 2, 0, 1]
    assert np.bincount(binned(np.arange(100.0), 10)).tolist() == [10] * 10
    assert np.bincount(binned(np.r_[np.zeros(80), np.arange(20.0)], 10)).max() == 81
    levels = np.repeat([4, 7, 1, 9], [5, 3, 1, 1])
    assert np.bincount(binned(levels, 3)).tolist() == [5, 3, 2]
    assert binned(np.array([-1, -1]), 3).tolist() == [0, 0]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_information_is_symmetric_and_bounded(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs).T
    found = mutual_information(a, b)
    assert found == pytest.approx(mutual_information(b, a), abs=1e-12)
    assert 0 <= found <= min(entropy(counts_of(a)), entropy(counts_of(b)))
    assert mutual_information(a, a) == pytest.approx(entropy(counts_of(a)), abs=1e-12)


def test_information_of_chance_is_about_nothing() -> None:
    rng = np.random.default_rng(0)
    found = [mutual_information(*rng.integers(0, 10, (2, 500))) for _ in range(50)]
    # Without the correction it is 81 / 1,000.
    assert np.mean(found) < 0.015
