"""An executor of supervised worker processes, which stay warm between jobs.

`WorkerPool` is our own because existing libraries lack what a study needs. Measured (Python 3.11, 2
cores):

- `concurrent.futures` and loky 3.7: one worker that is killed breaks the executor, and other jobs
  fail with it.
- pebble 5.2 confines kills, exits and time limits to their job. But an exception that does not
  unpickle breaks the whole pool; a result that does not pickle ends the worker and all that it has
  loaded; children of a killed worker survive; and when the driver is killed, busy workers and the
  fork server survive it for as long as their job takes.
- `multiprocessing`'s fork server, which both use, exists once per process, with the environment of
  its first start. It hides failing preloads and, in Python 3.11, does not pass the driver's
  `sys.path` on to them; and each worker imports the driver's `__main__`.

One thread supervises the pool (`hpo.workers.supervisor`). It owns the fork server
(`hpo.workers.worker`) and a socket to each worker, sends a queued job to an idle worker, and
settles the job's future once: with the result, with the exception of the job, or with the reason
why its worker ended. A worker that ends is replaced.
"""

import contextlib
import os
import pickle
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from hpo.errors import ParameterError
from hpo.workers import JobT, ResultT
from hpo.workers.cores import worker_environment
from hpo.workers.crew import Crew
from hpo.workers.launch import Launch, main_module
from hpo.workers.queued import QueuedExecutor
from hpo.workers.supervisor import Supervisor
from hpo.workers.tasks import TaskQueue
from hpo.workers.worker import Setup

SpecT = TypeVar("SpecT")


class WorkerPool(QueuedExecutor[JobT, ResultT], Generic[SpecT, JobT, ResultT]):
    """Supervised processes that build `evaluate = make_evaluate(spec)` once and then evaluate jobs.

    The constructor returns at once; jobs wait until a worker is up. A job that raises, exceeds its
    time limit, exits or is killed settles its own future only, and a new worker takes the place.
    All processes end with the pool, or within a second of the driver's death.

    Attributes:
        size: the number of processes.

    Args:
        make_evaluate: importable function or class, called with `spec` in each worker; returns the
            callable that evaluates the jobs.
        spec: what all jobs share; pickled once.
        workers: how many processes, at least 1.
        threads: threads of OpenMP and BLAS in each worker (`plan_threads`).
        preload: modules to import once, before workers are forked; a failing import breaks the
            pool.
        env: additional environment variables of the workers.
        log: file to which the workers' output is appended; by default it goes to the driver's
            stdout and stderr.

    Raises:
        ParameterError: when `workers` or `threads` is below 1.
        pickle.PicklingError, AttributeError, TypeError: when `make_evaluate` or `spec` cannot be
            pickled.
    """

    def __init__(
        self,
        make_evaluate: Callable[[SpecT], Callable[[JobT], ResultT]],
        spec: SpecT,
        *,
        workers: int,
        threads: int,
        preload: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        if min(workers, threads) < 1:
            raise ParameterError(
                f"workers and threads must be at least 1, but got {workers} and {threads}"
            )
        self.size = workers
        tasks = TaskQueue()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        setup = Setup(tuple(preload), pickle.dumps((make_evaluate, spec)), main_module())
        environment = worker_environment(threads, env or {}, os.environ)
        crew = Crew(workers, Launch(setup, environment, log))
        self._supervisor = Supervisor(crew, tasks, self._wake_read)
        super().__init__("worker-pool", tasks, self._supervisor.run, self._wake_up)

    @property
    def log_is_named(self) -> bool:
        """Whether the error of a job names the log file."""
        return self._supervisor.log_is_named

    @property
    def free(self) -> int:
        """How many more jobs could start at once, or as soon as a worker is up."""
        with self._tasks.lock:
            return max(self.size - self._tasks.unsettled, 0)

    def shutdown(self, now: bool = False) -> None:
        """End the workers and wait until they have ended; see `QueuedExecutor.shutdown`."""
        super().shutdown(now)
        self._wake_write.close()

    def _wake_up(self) -> None:
        with contextlib.suppress(
            OSError
        ):  # a full buffer: it is awake; a closed socket: it has ended
            self._wake_write.send(b".")
