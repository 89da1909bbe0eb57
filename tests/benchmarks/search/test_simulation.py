"""Simulated time on small cases solved by hand, and both simulators compared."""

import math
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.peers.flat import flat
from benchmarks.peers.replay.own import race, study_of
from benchmarks.search.simulation import (
    Finish,
    Leg,
    Meter,
    SimulatedExecutor,
    Workers,
    incumbents,
    rung_of,
    simulate,
)
from benchmarks.tabulated.curves import Curves
from hpo.loop import Job
from hpo.space import Categorical, Float, Params, SearchSpace
from hpo.trial import Report

SPACE = SearchSpace((Float("x", 0.0, 1.0),))


def curves(failing: float = 2.0) -> Curves:
    """A unit of budget takes 1 + x seconds; losses fall, and are nan above the budget `failing`."""

    def losses(params: Params) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        x = float(params["x"])
        return np.array([x + 2, x + 1, x]) if x < failing else np.full(3, math.nan)

    def seconds(params: Params) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return np.array([1.0, 3.0, 9.0]) * (1 + float(params["x"]))

    return Curves("line", SPACE, {"x": 0.5}, (1.0, 3.0, 9.0), 0.0, 0.5, losses, seconds)


class Script:
    """Hands out the legs it was given, one after the other, and keeps what it is told."""

    def __init__(self, legs: Sequence[Leg]) -> None:
        self.left = list(legs)
        self.told: list[Finish] = []

    def ask(self) -> Leg | None:
        return self.left.pop(0) if self.left else None

    def tell(self, finish: Finish) -> None:
        self.told.append(finish)


class Random:
    """Random search at the full budget with the draws of `hpo`, from seed and trial number."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.number = -1

    def ask(self) -> Leg:
        self.number += 1
        params = SPACE.sample(np.random.default_rng([self.seed, self.number]))
        return Leg(self.number, params, 9.0)

    def tell(self, finish: Finish) -> None:
        pass


def leg(key: int, x: float, budget: float) -> Leg:
    return Leg(key, {"x": x}, budget)


def test_two_workers_take_the_next_leg_when_they_are_free() -> None:
    racer = Script([leg(0, 0.0, 9.0), leg(1, 0.0, 1.0), leg(2, 0.0, 3.0), leg(3, 0.0, 9.0)])
    finishes = simulate(racer, curves(), workers=2, seconds=100.0)
    # 0 runs to 9; 1 to 1, 2 to 4, 3 to 13
    assert [(f.leg.key, f.time, f.seconds) for f in finishes] == [
        (1, 1, 1),
        (2, 4, 3),
        (0, 9, 9),
        (3, 13, 9),
    ]
    assert [f.spent for f in finishes] == [1, 4, 13, 22]
    assert racer.told == finishes


def test_legs_that_end_after_the_race_do_not_count() -> None:
    racer = Script([leg(0, 0.0, 9.0), leg(1, 0.0, 9.0)])
    assert [f.time for f in simulate(racer, curves(), workers=1, seconds=17.9)] == [9.0]
    assert len(racer.told) == 1


def test_continuing_costs_the_difference_and_repeating_costs_all() -> None:
    legs = [
        leg(0, 1.0, 1.0),
        leg(0, 1.0, 9.0),
        leg(0, 1.0, 3.0),
        leg(0, 1.0, 9.0),
        leg(1, 1.0, 9.0),
    ]
    finishes = simulate(Script(legs), curves(), workers=1, seconds=1000.0)
    assert [f.seconds for f in finishes] == [2.0, 16.0, 6.0, 18.0, 18.0]
    assert [f.loss for f in finishes] == [3.0, 1.0, 2.0, 1.0, 1.0]


def test_what_cannot_be_continued_costs_all_each_time() -> None:
    legs = [leg(0, 1.0, 1.0), leg(0, 1.0, 9.0)]
    finishes = simulate(Script(legs), replace(curves(), continued=False), workers=1, seconds=1000.0)
    assert [f.seconds for f in finishes] == [2.0, 18.0]


def test_what_is_done_at_the_same_moment_is_told_in_the_order_of_its_start() -> None:
    racer = Script([leg(i, 0.0, 3.0) for i in (3, 1, 2)])
    assert [f.leg.key for f in simulate(racer, curves(), workers=3, seconds=10.0)] == [3, 1, 2]


def test_a_failure_takes_its_time_and_is_no_incumbent() -> None:
    legs = [leg(0, 0.9, 3.0), leg(1, 0.2, 1.0), leg(2, 0.1, 1.0), leg(3, 0.3, 1.0)]
    finishes = simulate(Script(legs), curves(failing=0.5), workers=1, seconds=100.0)
    assert math.isnan(finishes[0].loss)
    assert finishes[0].seconds == pytest.approx(5.7)
    assert [f.leg.key for f in incumbents(finishes)] == [1, 2]


def test_noisy_incumbents_are_those_of_the_largest_budget() -> None:
    legs = [leg(0, 0.0, 1.0), leg(1, 0.9, 3.0), leg(2, 0.0, 1.0), leg(3, 0.5, 3.0)]
    finishes = simulate(Script(legs), curves(), workers=1, seconds=100.0)
    assert [f.leg.key for f in incumbents(finishes, noisy=True)] == [0, 1, 3]


def test_a_race_ends_when_nothing_runs_and_nothing_can_start() -> None:
    assert simulate(Script([]), curves(), workers=4, seconds=math.inf) == []


@pytest.mark.parametrize(
    ("budget", "rung"), [(0.5, 0), (1, 0), (1.1, 1), (3.0000000001, 1), (9, 2), (50, 2)]
)
def test_a_leg_ends_at_the_first_rung_that_is_not_below_its_budget(
    budget: float, rung: int
) -> None:
    assert rung_of((1.0, 3.0, 9.0), budget) == rung


def test_the_executor_lets_time_pass_only_when_waited_for() -> None:
    executor = SimulatedExecutor(curves(failing=0.5), workers=2)
    futures = [executor.submit(Job(i, {"x": x}, 0.0, 3.0)) for i, x in enumerate((0.9, 0.0))]
    assert executor.free == 0
    assert executor.now() == 0.0
    assert executor.wait(futures, timeout=0.1) == {futures[1]}
    assert futures[1].result() == Report(3.0, 1.0, seconds=3.0)
    assert executor.now() == 3.0
    assert executor.free == 1
    assert executor.wait(futures, timeout=0.1) == {futures[0]}
    assert math.isnan(futures[0].result().loss)
    nothing: list[Future[Report]] = []
    assert executor.wait(nothing, timeout=0.1) == set()


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_both_simulators_run_random_search_alike(workers: int) -> None:
    peer = simulate(Random(seed=5), curves(failing=0.8), workers, seconds=120.0)
    own = race(curves(failing=0.8), seed=5, workers=workers, seconds=120.0, name="random")
    assert len(own) > 5
    assert [(f.time, f.spent, f.leg.params) for f in own] == [
        (f.time, f.spent, f.leg.params) for f in peer
    ]
    assert [f.loss for f in own] == pytest.approx([f.loss for f in peer], nan_ok=True)


@pytest.mark.parametrize("name", ["hyperband", "asha", "bohb"])
def test_our_races_continue_what_they_promote(name: str) -> None:
    finishes = race(curves(failing=0.9), seed=0, workers=4, seconds=100.0, name=name)
    reached: dict[object, float] = {}
    for finish in finishes:
        start = reached.get(finish.leg.key, 0.0)
        assert finish.leg.budget > start
        assert finish.seconds == pytest.approx(
            (finish.leg.budget - start) * (1 + float(finish.leg.params["x"]))
        )
        reached[finish.leg.key] = finish.leg.budget
    assert {1.0, 3.0, 9.0} <= set(reached.values())


def test_a_race_repeats_from_its_seed() -> None:
    runs = [race(curves(), seed=2, workers=8, seconds=60.0, name="tpe") for _ in range(2)]
    assert runs[0] == runs[1]
    assert study_of(curves(), seed=2, workers=8, name="tpe").proposals.lag == 16


def test_looking_up_curves_is_metered() -> None:
    def slow(params: Params) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return np.array([float(sum(i % 7 for i in range(20_000)))])

    meter = Meter()
    line = curves()
    metered = meter.on(Curves("slow", SPACE, {"x": 0.5}, (1.0,), 0.0, 1.0, slow, line.seconds))
    pool = Workers(metered, 1)
    pool.start(leg(0, 0.0, 1.0))
    assert meter.cpu_seconds > 0.0


def test_flat_configurations_lose_what_is_inactive() -> None:
    space = SearchSpace(
        (Categorical("kind", ("a", "b")), Float("x", 0.0, 1.0, when={"kind": ("b",)}))
    )
    assert flat({"kind": "a", "x": 0.25}, space) == {"kind": "a"}
    assert flat({"kind": "b", "x": 0.25}, space) == {"kind": "b", "x": 0.25}
