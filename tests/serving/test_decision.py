"""The calibration of probabilities, and the threshold of labels, as they are served."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.decision import UNDECIDED, Calibration, Decision

PROBABILITIES = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20)
SLOPES = st.floats(0.05, 20.0)


def two(positive: list[float]) -> np.ndarray:
    p = np.array(positive)
    return np.column_stack([1 - p, p])


@settings(max_examples=50)
@given(PROBABILITIES, st.tuples(SLOPES, SLOPES), st.floats(-5.0, 5.0))
def test_a_calibration_gives_probabilities_in_the_same_order(
    positive: list[float], slopes: tuple[float, float], offset: float
) -> None:
    p = two(sorted(positive))
    found = Calibration(slopes, (0.0, offset))(p)
    assert np.allclose(found.sum(axis=1), 1.0)
    assert (np.diff(found[:, 1]) >= -1e-12).all()


def test_a_calibration_with_slopes_of_one_and_no_offsets_changes_nothing() -> None:
    p = np.array([[0.2, 0.3, 0.5], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(Calibration((1.0,) * 3, (0.0,) * 3)(p), p, atol=1e-11)


def test_a_sigmoid_is_a_case_of_it() -> None:
    p = np.array([0.1, 0.5, 0.7])
    found = Calibration((2.0, 2.0), (0.0, 0.3))(two(list(p)))[:, 1]
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-(2 * np.log(p / (1 - p)) + 0.3))))


@settings(max_examples=50)
@given(PROBABILITIES, st.floats(0.01, 0.99))
def test_labels_are_positive_above_the_threshold(positive: list[float], threshold: float) -> None:
    p = two(positive)
    decision = Decision(None, threshold)
    decided = decision.decided(p)
    far = np.abs(p[:, 1] - threshold) > 1e-9
    assert (decision.codes(p) == (p[:, 1] > threshold))[far].all()
    assert (decided.argmax(axis=1) == decision.codes(p)).all()
    order = np.argsort(p[:, 1], kind="stable")
    assert (np.diff(decided[order, 1]) >= 0).all()


@pytest.mark.parametrize(
    "decision",
    [UNDECIDED, Decision(Calibration((1.5, 0.5), (0.0, 0.1)), 0.3), Decision(threshold=0.2)],
)
def test_a_decision_is_read_as_it_was_written(decision: Decision) -> None:
    assert Decision.from_dict(decision.to_dict()) == decision


@pytest.mark.parametrize("slopes", [(0.0, 1.0), (math.nan, 1.0), (1.0,), (-1.0, 1.0)])
def test_a_damaged_calibration_is_refused(slopes: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="needs a slope above 0"):
        Calibration(slopes, (0.0, 0.0))


@pytest.mark.parametrize("threshold", [0.0, 1.0, math.nan])
def test_a_threshold_that_is_no_probability_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        Decision(threshold=threshold)
