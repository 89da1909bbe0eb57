import numpy as np
import pytest
from scipy.stats import spearmanr

from hpo.agreement import agreements, describe
from hpo.trial import Report, Trial


def trial(number: int, losses: dict[float, float]) -> Trial:
    reports = tuple(Report(budget, loss) for budget, loss in losses.items())
    return Trial(number, {}, max(losses), reports=reports)


def test_each_rung_is_held_against_the_next_over_the_trials_that_reached_both() -> None:
    rng = np.random.default_rng(0)
    low, high = rng.random(8), rng.random(8)
    trials = [trial(i, {9.0: low[i], 27.0: high[i]}) for i in range(8)]
    trials += [trial(8 + i, {9.0: float(i)}) for i in range(5)]
    trials += [trial(13, {27.0: 0.1, 81.0: 0.0})]
    (found,) = agreements(trials)
    assert (found.low, found.high, found.trials) == (9.0, 27.0, 8)
    assert found.correlation == pytest.approx(spearmanr(low, high)[0])
    assert f"9 → 27 rounds: {found.correlation:.2f} (8 trials)" in describe([found], "rounds")


def test_equal_losses_have_no_order() -> None:
    assert agreements([trial(i, {1.0: 0.5, 3.0: float(i)}) for i in range(9)]) == []
