"""Searches in simulated time: a leg takes the seconds and brings the loss that its learning curve says.

Nothing is trained and nobody waits: the clock jumps from one finished leg to the next. What a
search decides, and what it knows when it decides, is as with real workers; its own thinking takes
no simulated time.

A peer is a `Racer`; `simulate` drives it. Our own searches run through `hpo.loop.run` as they are,
with a `SimulatedExecutor` in the place of the worker processes. Both rest on `Workers`: the same
legs end at the same times.

Every method gets the credit of continuing, where legs can be continued: one of a training that has
reached a lower budget costs the difference only, also for peers that train from scratch in reality.
A leg to a budget that was reached before is a new training.
"""

import heapq
import math
import time
from collections.abc import Callable, Collection, Hashable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Protocol

from benchmarks.tabulated.curves import Curves
from hpo.arrays import FloatArray
from hpo.loop import Job
from hpo.space.parameters import Params
from hpo.trial import Report


@dataclass(frozen=True)
class Leg:
    """Take the configuration `params` to `budget`.

    `key` names the training, so that it can be continued; `job` is what the racer wants to see
    again with the result.
    """

    key: Hashable
    params: Params
    budget: float
    job: Any = None


@dataclass(frozen=True)
class Finish:
    """A leg that has ended.

    `time` is the simulated time of its end, `seconds` what it took, `spent` the worker seconds of
    all legs that have ended so far. `loss` is nan when it failed.
    """

    leg: Leg
    time: float
    seconds: float
    spent: float
    loss: float


class Racer(Protocol):
    """A search that is asked for legs and told their losses."""

    def ask(self) -> Leg | None:
        """The next leg to start; None when nothing can start before another result is in."""
        ...

    def tell(self, finish: Finish) -> None:
        """What came of a leg; its loss is nan when it failed."""
        ...


class Workers:
    """Simulated workers and their clock.

    Args:
        curves: what legs take and bring.
        number: how many legs run at a time.
    """

    def __init__(self, curves: Curves, number: int) -> None:
        self.now = 0.0
        self._curves = curves
        self._number = number
        self._running: list[tuple[float, int, Leg, float, float]] = []
        self._known: dict[Hashable, tuple[FloatArray, FloatArray]] = {}
        self._reached: dict[Hashable, int] = {}
        self._started = 0
        self._spent = 0.0

    @property
    def free(self) -> int:
        """How many legs would start at once."""
        return self._number - len(self._running)

    def start(self, leg: Leg) -> None:
        """Begin a leg now; it ends at the first tabulated budget that is not below the one asked for."""
        if leg.key not in self._known:
            self._known[leg.key] = self._curves.losses(leg.params), self._curves.seconds(leg.params)
        losses, seconds = self._known[leg.key]
        rung = rung_of(self._curves.budgets, leg.budget)
        reached = self._reached.get(leg.key, -1)
        paid = seconds[reached] if self._curves.continued and 0 <= reached < rung else 0.0
        took = float(seconds[rung] - paid)
        self._reached[leg.key] = max(rung, reached)
        # the second entry settles ties: what was started first is done first
        heapq.heappush(
            self._running, (self.now + took, self._started, leg, took, float(losses[rung]))
        )
        self._started += 1

    def next(self) -> Finish | None:
        """Let time pass until a leg ends; None when nothing runs."""
        if not self._running:
            return None
        self.now, _, leg, took, loss = heapq.heappop(self._running)
        self._spent += took
        return Finish(leg, self.now, took, self._spent, loss if math.isfinite(loss) else math.nan)


def rung_of(budgets: tuple[float, ...], budget: float) -> int:
    """The first of `budgets` (ascending) that is not below `budget`; the last for what is above all of them."""
    # budgets that a peer computed as R * eta^-k miss ours by rounding
    found = (rung for rung, tabulated in enumerate(budgets) if tabulated >= budget * (1 - 1e-9))
    return next(found, len(budgets) - 1)


def simulate(racer: Racer, curves: Curves, workers: int, seconds: float) -> list[Finish]:
    """Race for so many simulated seconds and return the legs that ended, in order.

    A worker that is free asks at once; when several results are in at the same moment, each is told
    and followed by a question before the next. The race ends early when nothing runs and nothing
    can start.
    """
    pool = Workers(curves, workers)
    finishes: list[Finish] = []
    while True:
        while pool.free and (leg := racer.ask()) is not None:
            pool.start(leg)
        done = pool.next()
        if done is None or done.time > seconds:
            return finishes
        finishes.append(done)
        racer.tell(done)


def incumbents(finishes: Iterable[Finish], noisy: bool = False) -> list[Finish]:
    """The legs after which the best configuration was another or better.

    The best one has the least loss of all; where losses are noisy at low budgets, the least of
    those at the largest budget so far.
    """
    found: list[Finish] = []
    best = (0.0, math.inf)
    for finish in finishes:
        mine = (-finish.leg.budget if noisy else 0.0, finish.loss)
        if not math.isnan(finish.loss) and mine < best:
            best = mine
            found.append(finish)
    return found


@dataclass
class Meter:
    """CPU seconds that go into looking up curves, which are not the search's."""

    cpu_seconds: float = 0.0

    def on(self, curves: Curves) -> Curves:
        """The same curves, metered."""
        return replace(
            curves, losses=self._timed(curves.losses), seconds=self._timed(curves.seconds)
        )

    def _timed(self, look_up: Callable[[Params], FloatArray]) -> Callable[[Params], FloatArray]:
        def metered(params: Params) -> FloatArray:
            start = time.process_time()
            found = look_up(params)
            self.cpu_seconds += time.process_time() - start
            return found

        return metered


class SimulatedExecutor:
    """Simulated workers for `hpo.loop.run`: the trial is the training that is continued.

    `now` is the clock to hand to the loop, `finishes` are the legs that have ended.
    """

    def __init__(self, curves: Curves, workers: int) -> None:
        self.finishes: list[Finish] = []
        self._pool = Workers(curves, workers)
        self._futures: dict[Hashable, Future[Report]] = {}

    @property
    def free(self) -> int:
        """How many jobs would start at once."""
        return self._pool.free

    def now(self) -> float:
        """Simulated seconds since the start."""
        return self._pool.now

    def submit(self, job: Job, time_limit: float | None = None) -> "Future[Report]":
        """Begin a leg; its future is done when `wait` has let the time pass. Time limits are not simulated."""
        self._pool.start(Leg(job.number, job.params, job.to))
        future: Future[Report] = Future()
        self._futures[job.number] = future
        return future

    def wait(self, futures: Collection["Future[Report]"], timeout: float) -> set["Future[Report]"]:
        """Let time pass until the next leg ends, however long that takes, and return its future."""
        done = self._pool.next()
        if done is None:
            return set()
        self.finishes.append(done)
        future = self._futures.pop(done.leg.key)
        future.set_result(Report(done.leg.budget, done.loss, seconds=done.seconds))
        return {future}
