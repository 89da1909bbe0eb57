"""The loop between a study and its workers."""

import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from hpo.errors import JobError, UserError
from hpo.space import Params
from hpo.study import Study
from hpo.trial import Failure, Report, Trial

_POLL = 0.1  # seconds between looks at the clock and at the stop request
_AMPLE = (
    1.5  # times what a full training takes: when so much time is left the best trial is finished
)


@dataclass(frozen=True)
class Job:
    """One leg for a worker: take `params` from budget `start` to budget `to`."""

    number: int
    params: Params
    start: float
    to: float


class Executor(Protocol):
    """Workers that take jobs."""

    @property
    def free(self) -> int:
        """How many jobs would start at once."""
        ...

    def wait(
        self, futures: Collection["Future[Report]"], timeout: float
    ) -> "Collection[Future[Report]]":
        """Those that are done, as soon as there is one; none when `timeout` seconds were not enough."""
        ...

    def submit(self, job: Job, time_limit: float | None = None) -> "Future[Report]":
        """Run a job; its future raises what the job raised, or why its worker ended."""
        ...


@dataclass
class Stop:
    """A request to end: 0 none, 1 finish what runs, 2 stop now."""

    level: int = 0


def run(
    study: Study,
    executor: Executor,
    *,
    stop: Stop,
    deadline: float = float("inf"),
    grace: float = float("inf"),
    time_limit: float | None = None,
    finishing: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Trial]:
    """Run the study and yield each trial when it has been told.

    Ends when nothing can be started and nothing runs, or when `stop` asks for it. At `deadline` (on
    `clock`) legs that still run are given up; without any success they get `grace` more seconds. A
    leg that was given up is not told: it is handed out again when the study is resumed.

    With `finishing`, the best trial is granted the full budget when there is just time for that, so
    that a race which ends by the clock ends with a full training, too.

    Args:
        study: what to run.
        executor: where to run it.
        stop: looked at all the time; may be changed by a signal handler.
        deadline: when to stop, seconds on the clock.
        grace: seconds after it in which a first success is waited for.
        time_limit: seconds after which a single leg fails.
        finishing: whether the best trial is trained to the end before the deadline.
        clock: what tells the time; simulated workers have their own.
    """
    running: dict[Future[Report], Trial] = {}
    while stop.level < 2 and clock() < (deadline if study.best_trial else deadline + grace):
        more = stop.level == 0 and clock() < deadline
        # What is done is told first: the next leg is chosen by all that is known.
        while more and executor.free > 0 and not any(future.done() for future in running):
            last = finishing and _just_fits(study, deadline - clock())
            trial = study.finish_best() if last else study.ask()
            more = trial is not None
            if trial is not None:
                running[executor.submit(_job(trial), time_limit)] = trial
        if not running and not more:
            return
        if not running:  # the workers are busy with something else
            time.sleep(_POLL)
            continue
        left = max(deadline - clock(), 0.0) or _POLL
        done = executor.wait(running, min(_POLL, left))
        for future in sorted(done, key=lambda future: running[future].number):
            yield study.tell(running.pop(future).number, _outcome(future))


def _just_fits(study: Study, left: float) -> bool:
    """Whether a full training of the best trial takes most of the seconds that are left, going by its legs so far."""
    best = study.unfinished_best
    if best is None:
        return False
    needed = best.seconds / best.reached * study.full
    return needed <= left <= _AMPLE * needed


def _job(trial: Trial) -> Job:
    return Job(trial.number, trial.params, trial.reached, trial.budget)


def _outcome(future: "Future[Report]") -> Report | Failure:
    """What a leg came to; what is no fault of the trial (no worker can be started at all) is raised."""
    error = future.exception()
    if isinstance(error, UserError):
        raise error
    if error is None:
        return future.result()
    return Failure(
        str(error) if isinstance(error, JobError) else f"{type(error).__name__}: {error}"
    )
