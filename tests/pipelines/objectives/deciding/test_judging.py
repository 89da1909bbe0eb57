"""Calibrations and thresholds, judged on rows that did not fit them."""

import numpy as np
import pytest

from pipelines.objectives.deciding.judging import Wanted, judge
from pipelines.objectives.ensemble.rows import ValidationRows
from pipelines.table.scores.metrics import METRICS
from pipelines.table.scores.thresholds import Threshold
from serving.decision import UNDECIDED

F1, N = METRICS["f1"], 2_000


def rows(y: np.ndarray) -> ValidationRows:
    even, odd = np.arange(0, len(y), 2), np.arange(1, len(y), 2)
    return ValidationRows(y, None, [(even, odd), (odd, even)])


@pytest.fixture(scope="module")
def rare() -> tuple[np.ndarray, np.ndarray]:
    """Labels, a tenth of them positive, and their true probabilities."""
    rng = np.random.default_rng(0)
    p = 1 / (1 + np.exp(-(rng.normal(0, 1.5, N) - 3)))
    return (rng.random(N) < p).astype(np.int64), np.column_stack([1 - p, p])


def too_certain(p: np.ndarray) -> np.ndarray:
    odds = (p[:, 1] / p[:, 0]) ** 3
    return np.column_stack([1 / (1 + odds), odds / (1 + odds)])


def test_a_model_that_is_too_certain_is_calibrated(rare: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = rare
    wrong = too_certain(p)
    found = judge(rows(y), wrong, Wanted(True), calibrates_anyway=False, tunes_anyway=False)
    loss, error = found.calibration
    assert loss.after < 0.8 * loss.before
    assert error.after < 0.5 * error.before
    np.testing.assert_allclose(found.decision.probabilities(wrong), p, atol=0.15)
    served = found.decision.probabilities(wrong)
    assert (found.decision.codes(served) == wrong.argmax(axis=1)).all()  # labels stay
    assert "log_loss" in found.lines()[0]


def test_auto_leaves_a_calibration_out_that_does_not_help(
    rare: tuple[np.ndarray, np.ndarray],
) -> None:
    y, p = rare
    few = rows(y[:80]), p[:80], Wanted(True)
    auto = judge(*few, calibrates_anyway=False, tunes_anyway=False)
    assert auto.calibration[0].after >= auto.calibration[0].before
    assert auto.decision == UNDECIDED
    assert "left out" in auto.lines()[0]
    always = judge(*few, calibrates_anyway=True, tunes_anyway=False)
    assert always.decision.calibration is not None


def test_several_classes_keep_their_labels() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 600)
    p = rng.dirichlet(np.ones(3), 600) * 0.5 + 0.5 * np.eye(3)[np.where(y > 0, y, 1)]
    found = judge(rows(y), p, Wanted(True), calibrates_anyway=True, tunes_anyway=False).decision
    assert (found.codes(found.probabilities(p)) == p.argmax(axis=1)).all()


@pytest.mark.parametrize("calibrates", [False, True])
def test_a_threshold_for_a_rare_class_is_below_a_half(
    rare: tuple[np.ndarray, np.ndarray], calibrates: bool
) -> None:
    y, p = rare
    wanted = Wanted(calibrates, metric=F1)
    found = judge(rows(y), p, wanted, calibrates_anyway=True, tunes_anyway=False)
    threshold = found.decision.threshold
    assert threshold is not None
    assert 0.1 < threshold < 0.4
    assert found.tuned is not None
    assert found.tuned.after > found.tuned.before + 0.1


def test_a_cost_moves_the_threshold_to_where_it_is_least(
    rare: tuple[np.ndarray, np.ndarray],
) -> None:
    y, p = rare
    cost = Threshold.parse("cost:fp=1,fn=5").metric
    wanted = Wanted(metric=cost)
    found = judge(rows(y), p, wanted, calibrates_anyway=False, tunes_anyway=True)
    assert found.decision.threshold == pytest.approx(1 / 6, abs=0.08)  # of true probabilities


def test_weights_count_as_rows(rare: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = (part[:300] for part in rare)
    wrong, weight = too_certain(p), np.where(np.arange(300) < 150, 2.0, 1.0)
    again = np.r_[np.arange(300), np.arange(150)]
    wanted = Wanted(True, metric=F1)
    weighed = wanted.decided(y, wrong, weight)
    repeated = wanted.decided(y[again], wrong[again], None)
    p_weighed, p_repeated = (d.probabilities(wrong) for d in (weighed, repeated))
    np.testing.assert_allclose(p_weighed, p_repeated, atol=0.02)
    assert weighed.threshold == pytest.approx(repeated.threshold, abs=0.02)
