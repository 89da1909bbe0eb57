"""The executor of a study of the user's code: each job names the run that it logs to.

When a job has ended, in whatever way, what it printed is stored with its trial.
"""

from collections.abc import Collection
from concurrent.futures import Future
from dataclasses import dataclass

from hpo.errors import (
    OUT_OF_MEMORY,
    JobError,
    StudyError,
    TimeLimitExceeded,
    WorkerDied,
    tells_no_memory,
)
from hpo.loop import Job
from hpo.trial import Report
from pipelines.files.excerpt import taken
from pipelines.files.exchange import Exchange
from pipelines.objectives.code import printed
from pipelines.objectives.code.evaluation import CodeJob, Evaluated
from pipelines.objectives.code.trial_run import PATIENCE, Place
from pipelines.store.storage import MlflowStorage
from pipelines.study.workshop import Pool
from pipelines.study.workshop.around import PoolAround


@dataclass(frozen=True)
class _Leg:
    """A running leg: its job, and the future that its study waits for."""

    job: Job
    future: "Future[Report]"


class InRuns(PoolAround[Pool]):
    """A pool for the user's code.

    A job of a function begins before MLflow has the run of its trial, until one has made MLflow
    calls of its own. From then on, and for all other code, runs are written first, which is faster
    than looking for them in the worker.

    Args:
        pool: that runs the jobs.
        storage: of the study.
        exchange: shared with the workers.
        races: whether a trial may have several legs.
        needs_runs: whether the code needs the runs from the first trial on.
    """

    def __init__(
        self,
        pool: Pool,
        storage: MlflowStorage,
        exchange: Exchange,
        *,
        races: bool,
        needs_runs: bool,
    ) -> None:
        super().__init__(pool)
        self._storage = storage
        self._exchange = exchange
        self._races = races
        self._uses_runs = needs_runs
        self._running: dict[Future[Report], _Leg] = {}

    @property
    def free(self) -> int:
        """How many more jobs could start at once."""
        self._settle()
        return self._pool.free

    def submit(self, job: Job, time_limit: float | None = None) -> "Future[Report]":
        """Start a leg of a trial."""
        storage, future = self._storage, Future[Report]()
        run_id = self._run_id(job.number) if self._uses_runs else None
        place = Place(
            storage.tracking_uri, storage.experiment_id, storage.run_id, job.number, run_id
        )
        running = self._pool.submit(CodeJob(job, place), time_limit)
        self._running[running] = _Leg(job, future)
        return future

    def wait(
        self, futures: Collection["Future[Report]"], timeout: float
    ) -> Collection["Future[Report]"]:
        """Wait until at least one of the futures is done, for `timeout` seconds at most."""
        if not any(map(Future.done, futures)):
            self._pool.wait(self._running, timeout)
            self._settle()
        return [future for future in futures if future.done()]

    def _settle(self) -> None:
        """Store what the ended legs have printed, and pass their outcomes on."""
        for running in [each for each in self._running if each.done()]:
            leg = self._running.pop(running)
            name = f"log-{leg.job.to:g}.txt" if self._races else "log.txt"
            text = taken(self._exchange.printed / printed.name(leg.job.number, leg.job.to))
            if text:
                self._storage.notes.annotate(texts={name: text}, trial=leg.job.number)
            error = running.exception()
            if error is not None:
                leg.future.set_exception(_told(error, text, name))
                continue
            report = running.result()
            self._uses_runs |= isinstance(report, Evaluated) and report.used_run
            leg.future.set_result(report)

    def _run_id(self, number: int) -> str | None:
        try:
            return self._storage.trial_run_id(number, PATIENCE)
        except StudyError as error:
            if type(error) is StudyError:  # not there yet; others say that nothing can be written
                return None
            raise


def _told(error: BaseException, text: str, name: str) -> BaseException:
    """The error with where its output is; its first line is the reason, and stays short."""
    if not text:
        return error
    where = f"\nits output is in the artifact {name}"
    match error:
        case JobError():
            return JobError(error.kind, error.message + where, error.traceback)
        case WorkerDied() if tells_no_memory(text) and OUT_OF_MEMORY not in str(error):
            return WorkerDied(f"{error}; {OUT_OF_MEMORY}{where}")
        case WorkerDied() | TimeLimitExceeded():
            return type(error)(f"{error}{where}")
    return error
