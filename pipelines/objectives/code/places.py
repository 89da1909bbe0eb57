"""The executor of a study of the user's code: each job names the run that it logs to."""

from collections.abc import Collection
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from hpo.errors import StudyError
from hpo.loop import Job
from hpo.trial import Report
from pipelines.objectives.code.evaluation import CodeJob
from pipelines.store.storage import MlflowStorage
from pipelines.study.workshop import Pool

PATIENCE = 20.0  # seconds to wait for the run of a trial; without it, the code's MLflow calls fail


class InRuns:
    """A pool whose jobs begin when the run of their trial is in MLflow.

    Args:
        pool: that runs them.
        storage: of the study.
    """

    def __init__(self, pool: Pool, storage: MlflowStorage) -> None:
        self._pool = pool
        self._storage = storage

    @property
    def free(self) -> int:
        """How many more jobs could start at once."""
        return self._pool.free

    def submit(self, job: Job, time_limit: float | None = None) -> "Future[Report]":
        """Start a leg of a trial."""
        storage = self._storage
        leg = CodeJob(job, self._run_id(job.number), storage.experiment_id, storage.tracking_uri)
        return self._pool.submit(leg, time_limit)

    def wait(
        self, futures: Collection["Future[Report]"], timeout: float
    ) -> Collection["Future[Report]"]:
        """Wait until at least one of the futures is done, for `timeout` seconds at most."""
        return self._pool.wait(futures, timeout)

    def shutdown(self, now: bool = False) -> None:
        """End the workers."""
        self._pool.shutdown(now)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.__exit__(kind, error, trace)

    def _run_id(self, number: int) -> str | None:
        try:
            return self._storage.trial_run_id(number, PATIENCE)
        except StudyError as error:
            if type(error) is StudyError:  # not there yet; others say that nothing can be written
                return None
            raise
