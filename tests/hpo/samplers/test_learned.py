from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from hpo.arrays import FloatArray
from hpo.history import History
from hpo.past import Past, PastSource
from hpo.samplers.learned import N_CANDIDATES, LearnedSampler
from hpo.samplers.random import RandomSampler
from hpo.samplers.tpe import TPESampler, spread_out
from hpo.space import SearchSpace
from hpo.space.parameters import Value
from tests.hpo.test_past import SPACE, past_of, source, valley


@dataclass(frozen=True)
class Mine:
    """A sampler with a start-up of five trials; then all proposals are the same."""

    CHOICE: ClassVar[Mapping[str, Value]] = {"x": 0.123, "y": 0.5, "idle": 0.5, "kind": "a"}

    def min_results(self, space: SearchSpace) -> int:
        return 5

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Value]:
        return dict(self.CHOICE)


def history(n: int, sign: float = 1.0, seed: int = 0) -> History:
    x = SPACE.codes.sample(np.random.default_rng(seed), n)
    return History.of(SPACE, x, sign * valley(x), np.full(len(x), np.nan), x[:0], n)


def good_past() -> Past:
    return past_of(*(source(f"s{i}", valley, i) for i in range(4)))


def started(sampler: LearnedSampler | TPESampler, seed: int, n: int = 5) -> FloatArray:
    """`(n, d)` codes that a study without any result yet starts with."""
    seen, pending = History(SPACE), list[Mapping[str, Value]]()
    for number in range(n):
        params = sampler.suggest(seen, np.random.default_rng([seed, number]))
        assert params is not None
        pending.append(params)
        seen.set_pending(pending)
    return np.array([SPACE.encode(params) for params in pending])


def test_start_up_points_are_better_where_the_past_is_right() -> None:
    """Over 20 seeds, the mean loss of five start-up points is less than 2/3 of the cold one."""
    with_past, without = (
        np.mean([valley(started(sampler, seed)).mean() for seed in range(20)])
        for sampler in (LearnedSampler(good_past(), TPESampler()), TPESampler())
    )
    assert with_past < 2 / 3 * without


def test_start_up_points_are_spread_out() -> None:
    """Where past studies say nothing, they are as far apart as without a past."""
    gaps = []
    for sampler in (LearnedSampler(good_past(), TPESampler()), TPESampler(), RandomSampler()):
        idle = [started(sampler, seed)[:, 2] for seed in range(40)]  # type: ignore[arg-type]
        gaps.append(np.mean([np.diff(np.sort(codes)).min() for codes in idle]))
    assert gaps[0] > 0.7 * gaps[1]
    assert gaps[0] > gaps[2]


def test_with_a_past_that_is_right_a_search_is_sooner_there() -> None:
    """Over 8 seeds, the mean regret after five trials is less than half of that without a past."""
    after = []
    for sampler in (LearnedSampler(good_past(), TPESampler()), TPESampler()):
        found = []
        for seed in range(8):
            seen = History(SPACE)
            for number in range(5):
                params = sampler.suggest(seen, np.random.default_rng([seed, number]))
                assert params is not None
                seen.observe(params, float(valley(SPACE.encode(params)[None])[0]))
            found.append(seen.losses.min())
        after.append(np.mean(found))
    assert after[0] < 0.5 * after[1]


def test_a_past_that_is_wrong_leaves_the_start_where_it_would_have_been() -> None:
    seen = history(20, sign=-1.0)
    sampler = LearnedSampler(good_past(), TPESampler(n_startup=30))
    assert sampler.past.trust(seen.x, seen.losses) == 0.0
    mine = sampler.suggest(seen, np.random.default_rng(3))
    assert mine == SPACE.decode(spread_out(SPACE, seen.x, np.random.default_rng(3), N_CANDIDATES))


@pytest.mark.parametrize("n", [5, 6, 40])
def test_after_the_start_the_studys_own_sampler_decides(n: int) -> None:
    sampler = LearnedSampler(good_past(), Mine())
    assert sampler.suggest(history(n), np.random.default_rng(1)) == Mine.CHOICE
    assert sampler.suggest(history(4), np.random.default_rng(1)) != Mine.CHOICE


def test_a_past_of_one_study_with_three_trials_is_enough() -> None:
    x = SPACE.codes.sample(np.random.default_rng(0), 3)
    past = Past(SPACE, (PastSource("s", x, np.array([0.0, 1.0, -1.0]), 1.0),))
    for n in (0, 1, 2, 3, 8):
        assert LearnedSampler(past, TPESampler()).suggest(history(n), np.random.default_rng(n))
