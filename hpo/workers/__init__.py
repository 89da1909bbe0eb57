"""Executors run jobs: in this process (`inline`) or in supervised worker processes (`pool`)."""

from collections.abc import Collection
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Protocol, TypeVar

JobT = TypeVar("JobT", contravariant=True)
ResultT = TypeVar("ResultT")


class Executor(Protocol[JobT, ResultT]):
    """Runs jobs and answers with futures: all that `hpo.loop` needs to know of a place to run them.

    A job that fails affects its own future only. Whoever made an executor also shuts it down.
    """

    @property
    def free(self) -> int:
        """How many more jobs could start at once."""
        ...

    def submit(self, job: JobT, time_limit: float | None = None) -> "Future[ResultT]":
        """Start a job, or queue it until a worker is free.

        Args:
            job: passed to the worker.
            time_limit: seconds from the job's start; a job that takes longer fails.

        Returns:
            The job's result. The future raises `JobError` when the job raised, `TimeLimitExceeded`
            when it was too slow, and `WorkerDied` when its process ended.

        Raises:
            PoolBroken: when no worker can be started.
        """
        ...

    def wait(
        self, futures: Collection["Future[ResultT]"], timeout: float
    ) -> Collection["Future[ResultT]"]:
        """Wait until at least one of the futures is done, for `timeout` seconds at most.

        Returns:
            The futures that are done; none after a timeout.
        """
        ...


def first_done(futures: Collection["Future[ResultT]"], timeout: float) -> "set[Future[ResultT]]":
    """The futures that are done, as soon as one is; none after `timeout` seconds."""
    return wait(futures, timeout, FIRST_COMPLETED).done
