"""Jobs of a pool: the queue that callers fill and the supervisor empties."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any

from hpo.errors import PoolBroken


@dataclass
class Task:
    """A submitted job.

    Attributes:
        future: the job's future.
        job: the pickled job.
        time_limit: seconds, or None.
        deadline: when the time limit is over, on `time.monotonic`; infinite until the job starts.
        losses: how many workers were lost while they ran it.
    """

    future: "Future[Any]"
    job: bytes
    time_limit: float | None
    deadline: float = math.inf
    losses: int = 0

    def start(self) -> None:
        """Start the clock."""
        if self.time_limit is not None:
            self.deadline = time.monotonic() + self.time_limit


@dataclass
class TaskQueue:
    """The jobs of a pool; usable by several threads.

    Attributes:
        lock: guards all attributes; reentrant, because callbacks of futures may call the pool.
        waiting: jobs that no worker has taken.
        again: jobs whose workers were lost.
        unsettled: how many jobs are waiting or running.
        closing: whether no more jobs are accepted.
        stopping: whether the pool must end without finishing the jobs.
        broken: why no worker can be started.
    """

    lock: "threading.RLock" = field(default_factory=threading.RLock)
    waiting: deque[Task] = field(default_factory=deque)
    again: list[Task] = field(default_factory=list)
    unsettled: int = 0
    closing: bool = False
    stopping: bool = False
    broken: PoolBroken | None = None

    @property
    def finished(self) -> bool:
        """Whether the pool must stop now, or is closed and has no jobs left."""
        with self.lock:
            return self.stopping or (self.closing and self.unsettled == 0)

    def serve(
        self,
        who: str,
        *,
        step: Callable[[], None],
        end: Callable[[], None],
        give_up: Callable[[PoolBroken | None], None],
    ) -> None:
        """What a pool's thread does until the queue is finished, or no worker can be started.

        Args:
            who: what fails when `step` does.
            step: does what is to be done now, and waits for what is next.
            end: ends the workers.
            give_up: settles the jobs that are left, with the error if there is one.
        """
        reason: PoolBroken | None = None
        try:
            while not self.finished:
                step()
        except PoolBroken as error:
            reason = error
        except BaseException as error:  # after a bug here, no caller may wait for ever
            reason = PoolBroken(f"{who} of the workers failed: {error!r}")
            raise
        finally:
            try:
                end()
            finally:
                give_up(reason)

    def put(self, task: Task) -> None:
        """Append a job.

        Raises:
            PoolBroken: when no worker can be started.
            RuntimeError: when no more jobs are accepted.
        """
        with self.lock:
            if self.broken:
                raise self.broken
            if self.closing:
                raise RuntimeError("cannot submit a job: the pool has been shut down")
            self.waiting.append(task)
            self.unsettled += 1

    def take(self) -> Task | None:
        """Remove the next job that was not cancelled, and mark it as running."""
        with self.lock:
            if self.again:
                return self.again.pop()
            while self.waiting:
                task = self.waiting.popleft()
                if task.future.set_running_or_notify_cancel():
                    return task
                self.unsettled -= 1
        return None

    def put_back(self, task: Task) -> None:
        """Let another worker take a running job, before all others."""
        with self.lock:
            task.deadline = math.inf
            self.again.append(task)

    def settle(self, task: Task, outcome: Any, good: bool) -> None:
        """Set the result of a job, or the exception `outcome` if it is not `good`."""
        # Under one lock, so that a free worker and a finished future become visible together.
        with self.lock:
            self.unsettled -= 1
            if good:
                task.future.set_result(outcome)
            else:
                task.future.set_exception(outcome)

    def shut_down(self, now: bool) -> None:
        """Accept no more jobs; with `now`, do not finish those there are."""
        with self.lock:
            self.closing = True
            self.stopping = self.stopping or now

    def give_up(self, error: PoolBroken | None) -> None:
        """Accept no more jobs; settle the waiting ones with `error`, or cancel them."""
        with self.lock:
            self.closing = True
            self.broken = error
            waiting, lost = list(self.waiting), list(self.again)
            self.waiting.clear()
            self.again.clear()
            self.unsettled -= len(waiting) + len(lost)
        for task in lost:
            task.future.set_exception(error or CancelledError())
        for task in waiting:
            if error is None:
                task.future.cancel()
            if task.future.set_running_or_notify_cancel():
                task.future.set_exception(error)
