from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from hpo.history import History
from hpo.parameters import Value
from hpo.past import Past, Source, improvement
from hpo.samplers.learned import LearnedSampler, levels
from hpo.samplers.random import RandomSampler
from hpo.samplers.tpe import TPESampler
from hpo.space import SearchSpace
from tests.hpo.test_past import SPACE, past_of, source, valley


@dataclass(frozen=True)
class Nobody:
    """A sampler that must not be asked."""

    def least(self, space: SearchSpace) -> int:
        return 5

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Value]:
        raise AssertionError("the study's own sampler was asked")


@dataclass(frozen=True)
class Mine:
    """A sampler that proposes one and the same configuration."""

    CHOICE: ClassVar[Mapping[str, Value]] = {"x": 0.123, "y": 0.5, "idle": 0.5, "kind": "a"}

    def least(self, space: SearchSpace) -> int:
        return 5

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Value]:
        return dict(self.CHOICE)


def history(n: int, sign: float = 1.0, seed: int = 0) -> History:
    x = SPACE.sample_unit(np.random.default_rng(seed), n)
    return History.of(SPACE, x, sign * valley(x), x[:0], n)


def good_past() -> Past:
    return past_of(*(source(f"s{i}", valley, i) for i in range(4)))


def test_the_first_proposal_is_where_the_past_was_good() -> None:
    params = LearnedSampler(good_past(), Nobody()).suggest(history(0), np.random.default_rng(0))
    assert params is not None
    assert float(params["x"]) == pytest.approx(0.3, abs=0.15)


def test_with_a_past_that_is_right_a_search_is_sooner_there() -> None:
    """Over 8 seeds the mean regret after ten trials is less than half of that of the same search without a past."""
    after = []
    for past in (good_past(), None):
        sampler = LearnedSampler(past, TPESampler()) if past else TPESampler()
        found = []
        for seed in range(8):
            seen = History(SPACE)
            for number in range(10):
                params = sampler.suggest(seen, np.random.default_rng([seed, number]))
                assert params is not None
                seen.observe(params, float(valley(SPACE.encode(params)[None])[0]))
            found.append(seen.losses.min())
        after.append(np.mean(found))
    assert after[0] < 0.5 * after[1]


def test_a_past_that_is_wrong_is_left_to_the_studys_own_sampler() -> None:
    sampler = LearnedSampler(good_past(), RandomSampler())
    seen = history(20, sign=-1.0)
    mine = sampler.suggest(seen, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    rng.random()  # the draw that decides who is asked
    assert mine == RandomSampler().suggest(seen, rng)


def test_the_past_is_asked_less_often_as_results_come_in() -> None:
    """Of 200 proposals after n results a share of about 8 / (8 + n) is the past's."""
    sampler = LearnedSampler(good_past(), Mine())
    for n, share in ((0, 1.0), (8, 1 / 2), (24, 1 / 4)):
        seen = history(n)
        mine = [sampler.suggest(seen, np.random.default_rng(seed)) == Mine.CHOICE for seed in range(200)]
        assert np.mean(mine) == pytest.approx(1 - share, abs=0.12)  # three and a half deviations


def test_seconds_count_where_they_are_scarce() -> None:
    """Trainings take the longer, the larger y; of what promises about the same the shorter is chosen."""
    x = SPACE.sample_unit(np.random.default_rng(5), 60)
    timed = Source("s", x, source("s", valley, 0).scores[:1].repeat(60), seconds=np.exp(9 * x[:, 1]))
    seen = history(6)
    chosen = {}
    for per_second in (False, True):
        sampler = LearnedSampler(past_of(timed), Nobody(), fading=1e9, per_second=per_second)
        proposals = [sampler.suggest(seen, np.random.default_rng(seed)) for seed in range(12)]
        chosen[per_second] = np.mean([float(params["y"]) for params in proposals if params is not None])
    assert chosen[True] < chosen[False] - 0.1


def test_workers_side_by_side_are_not_sent_to_the_same_place() -> None:
    """In the units of the kernel, which sees far differences as one, they are more than twice as far apart."""
    sampler = LearnedSampler(good_past(), Nobody(), fading=1e9)
    apart = {}
    for told in (False, True):
        seen, pending = history(0), list[dict[str, Value]]()
        for number in range(4):
            seen.suppose(pending if told else [])
            params = sampler.suggest(seen, np.random.default_rng(number))
            assert params is not None
            pending.append(params)
        points = sampler.past.points(np.array([SPACE.encode(params) for params in pending]))
        gaps = np.linalg.norm(points[:, None] - points[None], axis=2)
        apart[told] = gaps[np.triu_indices(4, 1)].mean()
    assert apart[True] > 2 * apart[False]


def test_levels_hold_failures_for_the_worst() -> None:
    y = levels(np.array([1.0, 2.0, np.inf, 3.0]))
    assert y[2] == y[3] == y.max()
    assert y.mean() == pytest.approx(0)


def test_improvement_against_hand_computed_values() -> None:
    # mean 0, deviation 1, best 0: phi(0); no deviation to speak of: the plain difference
    np.testing.assert_allclose(improvement(np.zeros(1), np.ones(1), 0.0), 0.3989423, rtol=1e-6)
    np.testing.assert_allclose(improvement(np.array([-1.0]), np.array([1e-9]), 0.0), 1.0)


def test_a_past_of_one_study_with_three_trials_is_enough() -> None:
    x = SPACE.sample_unit(np.random.default_rng(0), 3)
    past = Past(SPACE, (Source("s", x, np.array([0.0, 1.0, -1.0]), 1.0),))
    for n in (0, 1, 2, 3, 8):
        assert LearnedSampler(past, TPESampler()).suggest(history(n), np.random.default_rng(n))
