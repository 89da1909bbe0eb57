"""The loop between a study and its workers."""

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from hpo.errors import JobError, TimeLimitExceeded, UserError
from hpo.space import Params
from hpo.study import Study
from hpo.trial import Failure, Phase, Report, Trial, schedule
from hpo.workers import Executor

_POLL = 0.1  # seconds between checks of the clock and of the stop request
_LATE = 0.5  # seconds after the deadline until a leg that is still running is stopped
_SLACK = 1.5  # the best trial is finished once at most this many full trainings fit in


@dataclass(frozen=True)
class Job:
    """One leg for a worker: train `params` from budget `start` to budget `to`.

    `before` are the earlier parts of a training whose values change (`hpo.trial.schedule`).
    """

    number: int
    params: Params
    start: float
    to: float
    before: tuple[Phase, ...] = ()

    @property
    def source(self) -> int:
        """The trial whose checkpoint at `start` it continues from."""
        is_first = self.before and self.start <= self.before[-1].to
        return self.before[-1].number if is_first else self.number


class StopLevel(IntEnum):
    """How urgently a run is asked to end."""

    CONTINUE = 0
    FINISH_RUNNING = 1  # start no more legs, wait for those that run
    NOW = 2  # do not wait for running legs either


@dataclass
class Stop:
    """A request to end a run. Signal handlers change `level` while the run is going on.

    Attributes:
        level: how urgent it is.
        in_call: whether a call is going on that does not look at `level`. A request to stop now
            ends it by a `KeyboardInterrupt`.
    """

    level: StopLevel = StopLevel.CONTINUE
    in_call: bool = False


class _Leg(NamedTuple):
    """A running leg: its trial, and whether it is stopped at the deadline."""

    number: int
    until_deadline: bool


def run(
    study: Study,
    executor: Executor[Job, Report],
    *,
    stop: Stop,
    deadline: float | Callable[[], float] = math.inf,
    grace: float = float("inf"),
    time_limit: float | None = None,
    finishing: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Trial]:
    """Run the study and yield each trial when a leg of it has ended.

    The run ends when no leg can start and none is running, or when `stop` asks for it. At
    `deadline` it ends without waiting for running legs; while no trial has succeeded it continues
    for up to `grace` seconds, and a first one starts even after the deadline. Legs that were still
    running are not reported to the study, which grants them again when it is resumed.

    Args:
        study: the study to run.
        executor: runs the legs.
        stop: checked several times a second; may be changed by a signal handler.
        deadline: when to end, in seconds on `clock`; or what says so, if that changes meanwhile.
        grace: seconds after the deadline to wait for a first success.
        time_limit: seconds after which a leg fails.
        finishing: whether to grant the best trial the full budget when there is just enough time
            left for it, so that a race that ends at the deadline includes a full training.
        clock: the current time in seconds; simulated workers have their own clock.

    Raises:
        UserError: when no worker can be started.
    """
    running: dict[Future[Report], _Leg] = {}

    def left() -> float:
        return (deadline() if callable(deadline) else deadline) - clock()

    def start_legs() -> bool:
        """Start legs on the free workers; return whether more legs may follow."""
        # Results are reported before the next leg is chosen, so that the choice can use them.
        while executor.free > 0 and not any(map(Future.done, running)):
            finish = finishing and _should_finish_best(study, left())
            trial = study.finish_best() if finish else study.ask()
            if trial is None:
                return False
            limit = _limit(study, left(), time_limit)
            leg = _Leg(trial.number, until_deadline=limit != time_limit)
            running[executor.submit(_job(study, trial), limit)] = leg
        return True

    while stop.level < StopLevel.NOW and left() > (0.0 if study.best_trial else -grace):
        in_time = left() > 0 or not study.trials  # a first one starts in any case
        may_start = stop.level == StopLevel.CONTINUE and in_time
        more = may_start and start_legs()
        if not running and not more:
            return
        if not running:  # the workers are busy with other jobs
            time.sleep(_POLL)
            continue
        done = executor.wait(running, min(_POLL, max(left(), 0.0) or _POLL))
        for future in sorted(done, key=lambda future: running[future].number):
            leg = running.pop(future)
            if not (leg.until_deadline and isinstance(future.exception(), TimeLimitExceeded)):
                yield study.tell(leg.number, _outcome(future))


def _limit(study: Study, left: float, time_limit: float | None) -> float | None:
    """The seconds that a leg may take: until the deadline, once there is a result to end with.

    A worker whose leg is stopped is ready for what follows the search.
    """
    until = max(left, 0.0) + _LATE
    if study.best_trial is None or until >= (time_limit or math.inf):
        return time_limit
    return until


def _should_finish_best(study: Study, left: float) -> bool:
    """Whether a full training of the best trial would take most of the `left` seconds.

    The estimate is the trial's training time so far, scaled up to the full budget.
    """
    best = study.unfinished_best
    if best is None:
        return False
    needed = best.seconds / best.reached * study.scheduler.rungs[-1]
    return needed <= left <= _SLACK * needed


def _job(study: Study, trial: Trial) -> Job:
    before = schedule(study.trials, trial.number)[:-1] if trial.parent is not None else ()
    return Job(trial.number, trial.params, study.start_of(trial), trial.budget, before)


def _outcome(future: "Future[Report]") -> Report | Failure:
    """The outcome of a leg.

    Raises:
        UserError: when the failure is not the trial's, such as workers that cannot be started.
    """
    error = future.exception()
    if isinstance(error, UserError):
        raise error
    if error is None:
        return future.result()
    if isinstance(error, JobError):
        return Failure(str(error))
    return Failure(f"{type(error).__name__}: {error}")
