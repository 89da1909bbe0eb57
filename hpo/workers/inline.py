"""An executor without processes, for tests and debuggers."""

import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from typing import Generic, Self, TypeVar

from hpo.errors import JobError, time_limit_exceeded
from hpo.workers import Executor, JobT, ResultT
from hpo.workers.worker import raised

SpecT = TypeVar("SpecT")


class InlineExecutor(Executor[JobT, ResultT], Generic[SpecT, JobT, ResultT]):
    """Runs each job inside `submit`, in this process.

    A job cannot be interrupted here: one that exceeds its time limit runs to its end, and then its
    result is discarded.

    Args:
        make_evaluate: called once with `spec`; returns the callable that evaluates the jobs.
        spec: what all jobs share.
    """

    def __init__(
        self, make_evaluate: Callable[[SpecT], Callable[[JobT], ResultT]], spec: SpecT
    ) -> None:
        self._make_evaluate = make_evaluate
        self._spec = spec
        self._evaluate: Callable[[JobT], ResultT] | None = None

    @property
    def free(self) -> int:
        """One: no job is running outside `submit`."""
        return 1

    def submit(self, job: JobT, time_limit: float | None = None) -> "Future[ResultT]":
        """Run `job`; the future is done when this returns."""
        self._evaluate = self._evaluate or self._make_evaluate(self._spec)
        future: Future[ResultT] = Future()
        start = time.monotonic()
        try:
            result = self._evaluate(job)
        except Exception as error:  # as in a worker, an exception of the job is its outcome
            future.set_exception(JobError(*raised(error)))
            return future
        if time_limit is not None and time.monotonic() - start > time_limit:
            future.set_exception(time_limit_exceeded(time_limit))
        else:
            future.set_result(result)
        return future

    def wait(
        self, futures: Collection["Future[ResultT]"], timeout: float
    ) -> set["Future[ResultT]"]:
        """All futures: every job is done when `submit` returns."""
        return set(futures)

    def shutdown(self, now: bool = False) -> None:
        """Do nothing: there are no processes to end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
