"""Whether an ensemble is taken: by rows that chose neither it nor the single trial."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pipelines.objectives.ensemble.decision import decide
from pipelines.objectives.ensemble.library import Library
from pipelines.study.choice.ensemble import Ensemble
from pipelines.table.scores.metrics import METRICS

N = 400
ORDER = np.random.default_rng(5).permutation(N)
HALVES = [(ORDER[:200], ORDER[200:]), (ORDER[200:], ORDER[:200])]


def library(noise: np.ndarray, seed: int = 0, metric: str = "rmse") -> Library:
    """Trials with independent errors of these sizes, numbered from 10."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=N)
    predictions = (y + noise[:, None] * rng.normal(size=(len(noise), N))).astype(np.float32)
    return Library(tuple(range(10, 10 + len(noise))), predictions, y, METRICS[metric])


def test_trials_that_err_independently_make_a_better_ensemble() -> None:
    found = decide(library(np.ones(5)), HALVES, 5, 0)
    assert found.is_better
    assert found.gain.estimate.mean == pytest.approx(found.single - found.score)
    assert found.score < 0.7 * found.single
    assert set(found.weights) <= set(range(10, 15))
    assert list(found.weights.values()) == sorted(found.weights.values(), reverse=True)
    assert "Ensemble of 5 trials" in found.lines()[0]


def test_the_gain_has_the_direction_of_the_metric() -> None:
    found = decide(library(np.ones(5), metric="r2"), HALVES, 5, 0)
    assert found.score > found.single
    assert found.gain.estimate.mean > 0
    assert found.is_better


def test_one_member_is_no_ensemble() -> None:
    found = decide(library(np.array([0.01, 3.0, 3.0])), HALVES, 3, 0)
    assert list(found.weights) == [10]
    assert not found.is_better
    assert found.lines()[0].startswith("No ensemble")
    assert not decide(library(np.ones(5)), HALVES, 1, 0).is_better


def test_what_only_fits_its_own_rows_is_rarely_taken() -> None:
    """One trial predicts the mean, the best that there is; the others add noise of their own."""
    taken = 0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        y, noise = rng.normal(size=100), rng.normal(size=(20, 100))
        predictions = np.vstack([np.zeros(100), noise])
        order = rng.permutation(100)
        halves = [(order[:50], order[50:]), (order[50:], order[:50])]
        found = decide(Library(tuple(range(21)), predictions, y, METRICS["rmse"]), halves, 5, 0)
        assert len(found.weights) > 1  # it seems to be better on the rows that chose it
        taken += found.is_better
    assert taken <= 1


def test_a_decision_is_read_as_it_was_written_and_for_the_same_trials_only() -> None:
    found = replace(decide(library(np.ones(3)), HALVES, 3, 0), basis="these trials")
    text = found.to_tag()
    assert Ensemble.from_tag(text, "these trials") == found
    assert Ensemble.from_tag(text, "others") is None
    for broken in ("", "{}", "[1]", json.dumps({**json.loads(text), "weights": 3})):
        assert Ensemble.from_tag(broken, "these trials") is None


def test_some_members_share_the_weight_of_all() -> None:
    found = decide(library(np.ones(4)), HALVES, 4, 0)
    first, second, *_ = found.weights
    left = found.only({first, second})
    assert sum(left.weights.values()) == pytest.approx(1.0)
    assert list(left.weights) == [first, second]
    assert left == replace(found, weights=left.weights)
