"""Searches in simulated time: learning curves give the seconds and the loss of each leg.

Nothing is trained, and the clock jumps from one finished leg to the next. A search makes the same
decisions with the same knowledge as with real workers; its own computations take no simulated time.

A peer is a `Racer`, which `simulate` drives. Our own searches run through `hpo.loop.run`, with a
`SimulatedExecutor` in place of the worker processes. Both use `Workers`, so the same legs end at
the same times.

If legs can be continued, every method gets the benefit: a leg of a training that has reached a
lower budget costs only the difference, even for peers that really train from scratch. A leg to a
budget that was reached before is a new training.
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
    """A training of the configuration `params` up to `budget`.

    `key` identifies the training, so that it can be continued. `job` is returned to the racer with
    the result.
    """

    key: Hashable
    params: Params
    budget: float
    job: Any = None


@dataclass(frozen=True)
class Finish:
    """A leg that has ended.

    `time` is the simulated time of its end, `seconds` its duration, `spent` the worker seconds of
    all legs that have ended so far. `loss` is nan if it failed.
    """

    leg: Leg
    time: float
    seconds: float
    spent: float
    loss: float


class Racer(Protocol):
    """A search with an ask-and-tell interface."""

    def ask(self) -> Leg | None:
        """The next leg to start; None if the search must wait for another result."""
        ...

    def tell(self, finish: Finish) -> None:
        """Receive the result of a leg."""
        ...


class Workers:
    """Simulated workers and their clock.

    Args:
        curves: the seconds and losses of legs.
        number: the number of legs that run at a time.
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
        """The number of idle workers."""
        return self._number - len(self._running)

    def start(self, leg: Leg) -> None:
        """Start a leg now; its budget is rounded up to the next tabulated one."""
        if leg.key not in self._known:
            self._known[leg.key] = self._curves.losses(leg.params), self._curves.seconds(leg.params)
        losses, seconds = self._known[leg.key]
        rung = rung_of(self._curves.budgets, leg.budget)
        reached = self._reached.get(leg.key, -1)
        paid = seconds[reached] if self._curves.continued and 0 <= reached < rung else 0.0
        took = float(seconds[rung] - paid)
        self._reached[leg.key] = max(rung, reached)
        # of legs that end at the same time, the one that was started first comes first
        heapq.heappush(
            self._running, (self.now + took, self._started, leg, took, float(losses[rung]))
        )
        self._started += 1

    def next(self) -> Finish | None:
        """Advance the clock until a leg ends; None if nothing runs."""
        if not self._running:
            return None
        self.now, _, leg, took, loss = heapq.heappop(self._running)
        self._spent += took
        return Finish(leg, self.now, took, self._spent, loss if math.isfinite(loss) else math.nan)


def rung_of(budgets: tuple[float, ...], budget: float) -> int:
    """The index of the first of the ascending `budgets` not below `budget`, or of the last."""
    # peers compute budgets as R * eta^-k, which differ from ours by rounding
    found = (rung for rung, tabulated in enumerate(budgets) if tabulated >= budget * (1 - 1e-9))
    return next(found, len(budgets) - 1)


def simulate(racer: Racer, curves: Curves, workers: int, seconds: float) -> list[Finish]:
    """Run a search for a number of simulated seconds; returns the legs that ended, in order.

    An idle worker asks at once. If several legs end at the same time, the racer gets one result and
    is asked before it gets the next. The race ends early if nothing runs and nothing can start.
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
    """The legs that improved the best loss.

    If losses are noisy at low budgets, only those at the largest budget so far count.
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
    """Measures the CPU seconds of looking up curves, which are not part of the search."""

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
    """Simulated workers for `hpo.loop.run`; the legs of a trial continue each other.

    `now` is the clock for the loop, `finishes` are the legs that have ended.
    """

    def __init__(self, curves: Curves, workers: int) -> None:
        self.finishes: list[Finish] = []
        self._pool = Workers(curves, workers)
        self._futures: dict[Hashable, Future[Report]] = {}

    @property
    def free(self) -> int:
        """The number of idle workers."""
        return self._pool.free

    def now(self) -> float:
        """Simulated seconds since the start."""
        return self._pool.now

    def submit(self, job: Job, time_limit: float | None = None) -> "Future[Report]":
        """Start a leg; `wait` completes its future. Time limits are not simulated."""
        self._pool.start(Leg(job.number, job.params, job.to))
        future: Future[Report] = Future()
        self._futures[job.number] = future
        return future

    def wait(self, futures: Collection["Future[Report]"], timeout: float) -> set["Future[Report]"]:
        """Advance the clock until the next leg ends and return its future; ignores the timeout."""
        done = self._pool.next()
        if done is None:
            return set()
        self.finishes.append(done)
        future = self._futures.pop(done.leg.key)
        future.set_result(Report(done.leg.budget, done.loss, seconds=done.seconds))
        return {future}
