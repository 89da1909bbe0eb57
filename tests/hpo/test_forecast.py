"""The forecast of what more trials bring, and the rule that ends a study by it."""

from dataclasses import replace

import numpy as np
import pytest

from hpo.goals import Goal, Goals, Limit
from hpo.goals.forecast import HORIZON, expected_gain, gains_little
from hpo.samplers.random import RandomSampler
from hpo.schedulers.full import Full
from hpo.space import Float, SearchSpace
from hpo.storage import MemoryStorage
from hpo.study import Study, StudySettings
from hpo.trial import Failure, Report

SPACE = SearchSpace((Float("x", 0.0, 1.0),))


def test_the_forecast_is_the_mean_gain_where_losses_are_exponential() -> None:
    rng, pairs = np.random.default_rng(0), []
    for _ in range(2_000):
        losses = -rng.exponential(size=40 + HORIZON)
        gain = losses[:40].min() - losses.min()
        pairs.append((expected_gain(losses[:40]), max(gain, 0.0)))
    forecast, gain = np.array(pairs, dtype=float).mean(0)
    error = np.array(pairs, dtype=float).std(0).max() / np.sqrt(len(pairs))
    assert forecast == pytest.approx(gain, abs=0.15 * gain + 6 * error)


def test_the_forecast_has_the_units_of_the_loss() -> None:
    losses = np.random.default_rng(1).normal(size=50)
    gain = expected_gain(losses)
    assert gain is not None
    assert expected_gain(3.0 * losses - 7.0) == pytest.approx(3.0 * gain)


def test_what_is_not_known_and_what_is_flat() -> None:
    assert expected_gain(np.arange(19.0)) is None
    assert expected_gain(np.full(30, np.inf)) is None
    assert expected_gain(np.array([*[np.inf] * 17, 1.0, 2.0, 3.0])) is None
    assert expected_gain(np.ones(30)) == 0.0


def test_one_low_forecast_is_not_enough() -> None:
    flat = np.ones(19 + HORIZON)
    assert gains_little(flat, 1e-9)
    assert not gains_little(flat[:-1], 1e-9)
    assert not gains_little(np.append(flat, 0.0), 1e-9)


def study(min_gain: float | None, storage: MemoryStorage, **more: object) -> Study:
    return Study(
        SPACE,
        RandomSampler(),
        Full(1),
        storage,
        seed=0,
        max_trials=200,
        settings=StudySettings(min_gain=min_gain),
        **more,  # type: ignore[arg-type]
    )


def test_a_study_ends_when_little_is_expected_and_is_still_ended_when_resumed() -> None:
    storage = MemoryStorage()
    running = study(0.05, storage)
    while trial := running.ask():
        if trial.number % 7 == 3:
            running.tell(trial.number, Failure("no memory"))
        else:
            running.tell(trial.number, Report(1, abs(float(trial.params["x"]) - 0.3)))
    assert running.stagnation.stalled
    assert 20 + HORIZON <= len(running.trials) < 200
    assert running.stagnation.expected_gain is not None
    assert running.stagnation.expected_gain < 0.05
    assert study(0.05, storage).ask() is None
    assert study(1e-6, storage).ask() is not None


def test_no_forecast_with_limits() -> None:
    goals = Goals((Goal("loss"),), (Limit("loss", 1.0),))
    storage = MemoryStorage()
    running = study(None, storage)
    for _ in range(25):
        trial = running.ask()
        assert trial is not None
        running.tell(trial.number, Report(1, float(trial.number), {"loss": 1.0}))
    assert running.stagnation.expected_gain is not None
    assert study(None, storage, goals=goals).stagnation.expected_gain is None
    without_limits = study(None, storage, goals=replace(goals, limits=()))
    assert without_limits.stagnation.expected_gain is not None
