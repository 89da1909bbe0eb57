"""Where jobs run: in this process, or in supervised worker processes that stay warm.

`WorkerPool` is our own because the libraries do not keep what a study needs. Measured (Python 3.11,
2 cores):

- `concurrent.futures` and loky 3.7: one worker that gets SIGKILL breaks the executor, other jobs
  fail with it.
- pebble 5.2 confines kills, exits and time limits to their job, but an exception that does not
  unpickle breaks the whole pool; a result that does not pickle ends the worker and what it holds;
  children of a killed worker live on; busy workers and the fork server outlive a killed driver for
  as long as their job takes.
- `multiprocessing`'s fork server, which both use, is one per process with the environment of its
  first start, hides preloads that fail, and in Python 3.11 does not pass on the driver's `sys.path`
  to them; and each worker imports the driver's `__main__`.

How it works: one thread supervises (`hpo.workers.supervisor`). It owns the fork server
(`hpo.workers.worker`) and a socket to each worker, hands a queued job to an idle worker, and
settles the job's future once: with the result, with what the job raised, or with why its worker
ended. A worker that ends is replaced.
"""

import contextlib
import os
import pickle
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as futures_wait
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

from hpo.errors import JobError, ParameterError, too_slow
from hpo.workers.cores import worker_environment
from hpo.workers.launch import Launch, main_module
from hpo.workers.supervisor import Shared, Supervisor, Task
from hpo.workers.worker import Setup, raised

SpecT = TypeVar("SpecT")
JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")


class InlineExecutor(Generic[SpecT, JobT, ResultT]):
    """Runs each job inside `submit`, in this process; for tests and for debuggers.

    A job that takes longer than its limit cannot be interrupted here: its result is refused
    afterwards.
    """

    def __init__(
        self, make_evaluate: Callable[[SpecT], Callable[[JobT], ResultT]], spec: SpecT
    ) -> None:
        self._make = make_evaluate
        self._spec = spec
        self._evaluate: Callable[[JobT], ResultT] | None = None

    @property
    def free(self) -> int:
        """How many jobs would start at once."""
        return 1

    def submit(self, job: JobT, time_limit: float | None = None) -> "Future[ResultT]":
        """Run `job`; the future is done when this returns."""
        self._evaluate = self._evaluate or self._make(self._spec)
        future: Future[ResultT] = Future()
        start = time.monotonic()
        try:
            result = self._evaluate(job)
        except Exception as error:  # as in a worker: what a job raises is a value
            future.set_exception(JobError(*raised(error)))
        else:
            if time_limit is not None and time.monotonic() - start > time_limit:
                future.set_exception(too_slow(time_limit))
            else:
                future.set_result(result)
        return future

    def wait(
        self, futures: Collection["Future[ResultT]"], timeout: float
    ) -> set["Future[ResultT]"]:
        """All of them: they are done."""
        return set(futures)

    def shutdown(self, now: bool = False) -> None:
        """Nothing to end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()


class WorkerPool(Generic[SpecT, JobT, ResultT]):
    """Supervised processes that each build `evaluate = make_evaluate(spec)` once and then evaluate jobs.

    The constructor returns at once; jobs wait until a worker is up. A job that raises, hangs beyond
    its limit, exits or is killed settles its own future only, and a fresh worker takes the place.
    All processes end with the pool, and within a second of the driver's death.

    Attributes:
        size: how many processes there are.

    Args:
        make_evaluate: importable function or class; gets `spec`, returns the callable that gets the
            jobs.
        spec: picklable; sent once.
        workers: how many processes, at least 1.
        threads: for OpenMP and BLAS in each worker (`plan_threads`).
        preload: modules that are imported once, before workers are forked; a failing import breaks
            the pool.
        env: further environment variables of the workers.
        log: file that gets what workers print, appended; None leaves them the driver's stdout and
            stderr.

    Raises:
        ParameterError: `workers` or `threads` below 1.
        pickle.PicklingError, AttributeError, TypeError: `make_evaluate` or `spec` cannot be
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
        self._shared = Shared()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        setup = Setup(tuple(preload), pickle.dumps((make_evaluate, spec)), main_module())
        environment = worker_environment(threads, env or {}, os.environ)
        supervisor = Supervisor(
            workers, self._shared, self._wake_read, Launch(setup, environment, log)
        )
        self._thread = threading.Thread(target=supervisor.run, name="worker-pool", daemon=True)
        self._thread.start()

    @property
    def free(self) -> int:
        """How many jobs would start at once (or as soon as a worker is up)."""
        with self._shared.lock:
            return max(self.size - self._shared.unsettled, 0)

    def submit(self, job: JobT, time_limit: float | None = None) -> "Future[ResultT]":
        """Queue `job`; its future raises `JobError`, `WorkerDied`, `TimeLimitExceeded` or `PoolBroken`.

        Args:
            job: picklable.
            time_limit: seconds, counted from when a worker gets the job; it is over when the future
                says so.

        Raises:
            PoolBroken: no worker can be started.
            RuntimeError: the pool has been shut down.
        """
        future: Future[ResultT] = Future()
        try:
            task = Task(future, pickle.dumps(job, pickle.HIGHEST_PROTOCOL), time_limit)
        except Exception as error:  # pickling runs the job's own code; it costs this job only
            future.set_exception(JobError(*raised(error)))
            return future
        with self._shared.lock:
            if self._shared.broken:
                raise self._shared.broken
            if self._shared.closing:
                raise RuntimeError("cannot submit a job: the pool has been shut down")
            self._shared.queue.append(task)
            self._shared.unsettled += 1
        self._wake()
        return future

    def wait(
        self, futures: Collection["Future[ResultT]"], timeout: float
    ) -> set["Future[ResultT]"]:
        """Those that are done, as soon as there is one; none when `timeout` seconds were not enough."""
        return futures_wait(futures, timeout, FIRST_COMPLETED).done

    def shutdown(self, now: bool = False) -> None:
        """End the workers and wait for that.

        Args:
            now: kill them; jobs that run get `CancelledError`, jobs that wait are cancelled.
                Otherwise finish all.
        """
        with self._shared.lock:
            self._shared.closing = True
            self._shared.stopping = self._shared.stopping or now
        self._wake()
        self._thread.join()
        self._wake_write.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shutdown(now=kind is not None)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake; closed: it has ended
            self._wake_write.send(b".")
