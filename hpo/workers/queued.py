"""What executors with a thread of their own have in common: a queue of jobs and its futures."""

import pickle
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from hpo.errors import JobError
from hpo.workers import Executor, JobT, ResultT, first_done
from hpo.workers.tasks import Task, TaskQueue
from hpo.workers.worker import raised


class QueuedExecutor(Executor[JobT, ResultT]):
    """Queues pickled jobs, which a thread sends to workers and settles.

    Args:
        name: of the thread.
        tasks: the queue.
        run: what the thread does until the queue is finished.
        wake: tells the thread that the queue has changed.
    """

    def __init__(
        self, name: str, tasks: TaskQueue, run: Callable[[], None], wake: Callable[[], None]
    ) -> None:
        self._tasks = tasks
        self._wake = wake
        self._thread = threading.Thread(target=run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: JobT, time_limit: float | None = None) -> "Future[ResultT]":
        """Queue a job.

        Args:
            job: picklable.
            time_limit: seconds, counted from when a worker receives the job. A job over its limit
                is stopped when its future is done.

        Returns:
            The job's result. The future raises `JobError`, `WorkerDied`, `TimeLimitExceeded` or
            `PoolBroken`.

        Raises:
            PoolBroken: when no worker can be started.
            RuntimeError: when the executor has been shut down.
        """
        future: Future[ResultT] = Future()
        try:
            task = Task(future, pickle.dumps(job, pickle.HIGHEST_PROTOCOL), time_limit)
        except Exception as error:  # pickling runs code of the job, and fails this job only
            future.set_exception(JobError(*raised(error)))
            return future
        self._tasks.put(task)
        self._wake()
        return future

    def wait(
        self, futures: Collection["Future[ResultT]"], timeout: float
    ) -> set["Future[ResultT]"]:
        """Wait until at least one future is done, for `timeout` seconds; return all that are."""
        return first_done(futures, timeout)

    def shutdown(self, now: bool = False) -> None:
        """End the workers and wait until they have ended.

        Args:
            now: whether to kill the workers; the futures of running jobs then raise
                `CancelledError`, and queued jobs are cancelled. Otherwise all jobs are finished.
        """
        self._tasks.shut_down(now)
        self._wake()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shutdown(now=kind is not None)
