"""Where jobs run: in this process, or in supervised worker processes that stay warm.

`WorkerPool` is our own because the libraries do not keep what a study needs. Measured (Python 3.11, 2 cores):

- `concurrent.futures` and loky 3.7: one worker that gets SIGKILL breaks the executor, other jobs fail with it.
- pebble 5.2 confines kills, exits and time limits to their job, but an exception that does not unpickle breaks the
  whole pool; a result that does not pickle ends the worker and what it holds; children of a killed worker live on;
  busy workers and the fork server outlive a killed driver for as long as their job takes.
- `multiprocessing`'s fork server, which both use, is one per process with the environment of its first start, hides
  preloads that fail, and in Python 3.11 does not pass on the driver's `sys.path` to them; and each worker imports the
  driver's `__main__`.

How it works: one thread supervises. It owns the fork server (`hpo.worker`) and a socket to each worker, hands a queued
job to an idle worker, and settles the job's future once: with the result, with what the job raised, or with why its
worker ended. A worker that ends is replaced.
"""

import contextlib
import math
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future
from concurrent.futures import wait as futures_wait
from dataclasses import dataclass, field
from multiprocessing import spawn
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from hpo.errors import ParameterError, UserError
from hpo.worker import Exited, Raised, Ready, Setup, Signal, Start, Started, command, raised

SpecT = TypeVar("SpecT")
JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")

_HIDDEN = "MLFLOW_"  # a worker that sees the run id becomes the parent run; nor does it need tracking secrets
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_ATTEMPTS = 3  # starts without one worker that comes up, then the pool is broken
_BACK_OFF = 0.1  # seconds before the second attempt, doubled for each later one
_MAX_BACK_OFF = 30.0
_GRACE = 1.0  # seconds from SIGTERM to SIGKILL
_END = 5.0  # seconds for the fork server to end after its workers


class JobError(Exception):
    """A job raised; says what, as text.

    Args:
        kind: name of the exception's type.
        message: its text.
        traceback: where it was raised, in the worker.
    """

    def __init__(self, kind: str, message: str, traceback: str = "") -> None:
        super().__init__(f"{kind}: {message}" if message else kind)
        self.kind = kind
        self.message = message
        self.traceback = traceback


class WorkerDied(Exception):  # noqa: N818
    """The process that ran the job ended before the job did."""


class TimeLimitExceeded(Exception):  # noqa: N818
    """A job ran for longer than it may."""


class PoolBroken(UserError):  # noqa: N818
    """No worker can be started; every job that waits gets this, and so does every later `submit`."""


@dataclass(frozen=True)
class WorkerPlan:
    """How the cores are shared out; `workers` 0 means in this process."""

    workers: int
    threads: int


def plan_threads(workers: int | None = None, cores: int | None = None) -> WorkerPlan:
    """Share the cores among the workers so that workers × threads never exceeds them.

    Args:
        workers: how many, 0 for none beside this process; None means one per core, which wastes least: a trial takes
            as many CPU seconds with one thread as with two.
        cores: how many there are; None means `available_cores()`.

    Raises:
        ParameterError: `workers` is negative or exceeds the cores.
    """
    cores = available_cores() if cores is None else cores
    workers = cores if workers is None else workers
    if workers < 0:
        raise ParameterError(f"workers must be 0 or more, but got {workers}; leave it out for one per core")
    if workers > cores:
        raise ParameterError(
            f"workers={workers} exceeds the {cores} core(s) that this process may use; "
            f"take workers={cores} or fewer, or leave it out for one per core"
        )
    return WorkerPlan(workers, cores // max(workers, 1))


def available_cores() -> int:
    """Cores that this process may use: its CPU affinity and the quota of its control groups, at least 1."""
    affinity = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, int(min([float(affinity), *_cgroup_quotas(Path("/"))])))


def _cgroup_quotas(root: Path) -> list[float]:
    """CPU limits, in cores, of this process's control groups and those above (version 2, then 1)."""
    with contextlib.suppress(OSError):
        lines = (root / "proc/self/cgroup").read_text().splitlines()
        groups = {kind: path for _, kind, path in (line.split(":", 2) for line in lines)}
        v1 = next((path for kinds, path in groups.items() if "cpu" in kinds.split(",")), "/")
        return [
            *_quotas(root / "sys/fs/cgroup", groups.get("", "/"), _quota_v2),
            *_quotas(root / "sys/fs/cgroup/cpu", v1, _quota_v1),
        ]
    return []


def _quotas(mount: Path, group: str, read: Callable[[Path], tuple[str, str]]) -> list[float]:
    found = []
    folder = mount / group.strip("/")
    for place in (folder, *folder.parents):
        if not place.is_relative_to(mount):
            break
        with contextlib.suppress(OSError, ValueError):
            quota, period = map(int, read(place))  # "max" is no number: no limit
            if quota > 0:
                found.append(quota / period)
    return found


def _quota_v2(folder: Path) -> tuple[str, str]:
    quota, period = (folder / "cpu.max").read_text().split()
    return quota, period


def _quota_v1(folder: Path) -> tuple[str, str]:
    return (folder / "cpu.cfs_quota_us").read_text(), (folder / "cpu.cfs_period_us").read_text()


def worker_environment(threads: int, env: Mapping[str, str], base: Mapping[str, str]) -> dict[str, str]:
    """The environment of the workers: `base` without MLflow's variables, with the threads, then `env`.

    OpenMP threads that wait must not spin: on shared cores LightGBM takes 40 times as long otherwise. Nor may each
    process bind its threads to the same first cores.
    """
    kept = {name: value for name, value in base.items() if not name.startswith(_HIDDEN)}
    planned = dict.fromkeys(_THREAD_VARIABLES, str(threads))
    return kept | planned | {"OMP_WAIT_POLICY": "PASSIVE", "OMP_PROC_BIND": "FALSE"} | dict(env)


class InlineExecutor(Generic[SpecT, JobT, ResultT]):
    """Runs each job inside `submit`, in this process; for tests and for debuggers.

    A job that takes longer than its limit cannot be interrupted here: its result is refused afterwards.
    """

    def __init__(self, make_evaluate: Callable[[SpecT], Callable[[JobT], ResultT]], spec: SpecT) -> None:
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
                future.set_exception(_too_slow(time_limit))
            else:
                future.set_result(result)
        return future

    def wait(self, futures: Collection["Future[ResultT]"], timeout: float) -> set["Future[ResultT]"]:
        """All of them: they are done."""
        return set(futures)

    def shutdown(self, now: bool = False) -> None:
        """Nothing to end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()


@dataclass
class _Task:
    """A submitted job; `deadline` is set when it starts, on the clock of `time.monotonic`."""

    future: "Future[Any]"
    job: bytes
    time_limit: float | None
    deadline: float = math.inf


@dataclass
class _Worker:
    """A worker as the supervisor sees it."""

    serial: int
    connection: Connection
    pid: int = 0
    ready: bool = False
    task: _Task | None = None
    raised: Raised | None = None  # while building `evaluate`
    overdue: TimeLimitExceeded | None = None
    kill_at: float | None = None  # it ends, or has been asked to; SIGKILL is due then


@dataclass
class _Shared:
    """What the supervisor and the callers share, under `lock`."""

    # Taken again by the callbacks of a future that ask the pool.
    lock: "threading.RLock" = field(default_factory=threading.RLock)
    queue: deque[_Task] = field(default_factory=deque)
    unsettled: int = 0
    closing: bool = False
    stopping: bool = False
    broken: PoolBroken | None = None


class WorkerPool(Generic[SpecT, JobT, ResultT]):
    """Supervised processes that each build `evaluate = make_evaluate(spec)` once and then evaluate jobs.

    The constructor returns at once; jobs wait until a worker is up. A job that raises, hangs beyond its limit, exits or
    is killed settles its own future only, and a fresh worker takes the place. All processes end with the pool, and
    within a second of the driver's death.

    Attributes:
        size: how many processes there are.

    Args:
        make_evaluate: importable function or class; gets `spec`, returns the callable that gets the jobs.
        spec: picklable; sent once.
        workers: how many processes, at least 1.
        threads: for OpenMP and BLAS in each worker (`plan_threads`).
        preload: modules that are imported once, before workers are forked; a failing import breaks the pool.
        env: further environment variables of the workers.
        log: file that gets what workers print, appended; None leaves them the driver's stdout and stderr.

    Raises:
        ParameterError: `workers` or `threads` below 1.
        pickle.PicklingError, AttributeError, TypeError: `make_evaluate` or `spec` cannot be pickled.
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
            raise ParameterError(f"workers and threads must be at least 1, but got {workers} and {threads}")
        self.size = workers
        self._shared = _Shared()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        setup = Setup(tuple(preload), pickle.dumps((make_evaluate, spec)), _main_module())
        environment = worker_environment(threads, env or {}, os.environ)
        supervisor = _Supervisor(workers, self._shared, self._wake_read, _Launch(setup, environment, log))
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
            time_limit: seconds, counted from when a worker gets the job; it is over when the future says so.

        Raises:
            PoolBroken: no worker can be started.
            RuntimeError: the pool has been shut down.
        """
        future: Future[ResultT] = Future()
        try:
            task = _Task(future, pickle.dumps(job, pickle.HIGHEST_PROTOCOL), time_limit)
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

    def wait(self, futures: Collection["Future[ResultT]"], timeout: float) -> set["Future[ResultT]"]:
        """Those that are done, as soon as there is one; none when `timeout` seconds were not enough."""
        return futures_wait(futures, timeout, FIRST_COMPLETED).done

    def shutdown(self, now: bool = False) -> None:
        """End the workers and wait for that.

        Args:
            now: kill them; jobs that run get `CancelledError`, jobs that wait are cancelled. Otherwise finish all.
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
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown(now=kind is not None)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake; closed: it has ended
            self._wake_write.send(b".")


def _main_module() -> dict[str, str]:
    """How a worker can import this process's `__main__`, should a job need something from it."""
    data = spawn.get_preparation_data("worker")
    return {name: data[name] for name in ("init_main_from_name", "init_main_from_path") if data.get(name)}


def _too_slow(time_limit: float) -> TimeLimitExceeded:
    return TimeLimitExceeded(f"the job ran for longer than its limit of {time_limit:g} s; raise the limit")


@dataclass(frozen=True)
class _Launch:
    """How to start a fork server."""

    setup: Setup
    environment: Mapping[str, str]
    log: Path | None

    def __call__(self) -> tuple["subprocess.Popen[bytes]", Connection]:
        ours, theirs = socket.socketpair()
        with theirs, self.output() as output:
            process = subprocess.Popen(
                command(theirs.fileno()),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # the terminal's Ctrl-C and hang-up are for the driver
            )
        connection = Connection(ours.detach())
        with contextlib.suppress(OSError):  # it died at once: `listen` sees it
            connection.send_bytes(pickle.dumps(self.setup))
        return process, connection

    def output(self) -> contextlib.AbstractContextManager[Any]:
        return self.log.open("ab") if self.log else contextlib.nullcontext()


class _Supervisor:
    """The pool's thread: the only one that knows the fork server and the workers."""

    def __init__(self, size: int, shared: _Shared, wake: socket.socket, launch: _Launch) -> None:
        self.size = size
        self.shared = shared
        self.wake = wake
        self.launch = launch
        self.process: subprocess.Popen[bytes] | None = None
        self.server: Connection | None = None
        self.preloaded = False
        self.workers: dict[int, _Worker] = {}
        self.serial = 0
        self.failures = 0  # starts in a row that gave no worker
        self.start_at = 0.0

    def run(self) -> None:
        reason: PoolBroken | None = None
        try:
            while not self.finished():
                self.step()
        except PoolBroken as error:
            reason = error
        except BaseException as error:  # a defect here must not leave anyone waiting for ever
            reason = PoolBroken(f"the supervisor of the workers failed: {error!r}")
            raise
        finally:
            try:
                self.end()
            finally:
                self.give_up(reason)

    def finished(self) -> bool:
        with self.shared.lock:
            return self.shared.stopping or (self.shared.closing and self.shared.unsettled == 0)

    def step(self) -> None:
        self.start()
        self.dispatch()
        connections = [worker.connection for worker in self.workers.values() if not worker.connection.closed]
        sources: list[Any] = [self.wake, *connections]
        readable = wait([*sources, self.server] if self.server else sources, self.patience())
        if self.wake in readable:
            with contextlib.suppress(BlockingIOError):
                self.wake.recv(4096)
        for worker in list(self.workers.values()):
            if worker.connection in readable:
                self.receive(worker)
        if self.server in readable:
            self.listen(self.server)
        self.enforce()

    # Starting ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start what is missing, server first, unless it is too early after a failure."""
        if time.monotonic() < self.start_at:
            return
        try:
            self.start_processes()
        except OSError as error:  # no descriptors or processes left, or no such log folder
            self.failed(str(error))

    def start_processes(self) -> None:
        if self.server is None:
            self.process, self.server = self.launch()
        while self.preloaded and len(self.workers) < self.size:
            self.serial += 1
            ours, theirs = socket.socketpair()
            self.workers[self.serial] = _Worker(self.serial, Connection(ours.detach()))
            with theirs:
                self.tell(Start(self.serial), theirs.fileno())

    def failed(self, reason: str) -> None:
        """Count a start that gave no worker; wait before the next one.

        Raises:
            PoolBroken: there have been too many in a row, and no other worker is up.
        """
        self.failures += 1
        if self.failures >= _ATTEMPTS and not any(worker.ready for worker in self.workers.values()):
            raise PoolBroken(f"no worker came up in {self.failures} attempts: {reason}{self.hint()}")
        self.start_at = time.monotonic() + min(_BACK_OFF * 2.0 ** (self.failures - 1), _MAX_BACK_OFF)

    # Talking to the server -----------------------------------------------------------------------------------------

    def tell(self, message: Start | Signal, descriptor: int | None = None) -> None:
        if self.server is None:
            return
        with contextlib.suppress(OSError):  # the server is gone: `listen` sees it
            self.server.send(message)
            if descriptor is not None:
                with socket.socket(fileno=os.dup(self.server.fileno())) as channel:
                    socket.send_fds(channel, [b"."], [descriptor])

    def listen(self, server: Connection) -> None:
        try:
            message = server.recv()
        except (EOFError, OSError):
            self.lost_server()
            return
        match message:
            case Ready(error=""):
                self.preloaded = True
            case Ready(error=error):
                names = ", ".join(self.launch.setup.preload)
                raise PoolBroken(f"the workers cannot import all of {names}:\n{error}")
            case Started(serial=serial, pid=pid):
                self.workers[serial].pid = pid
            case Exited(serial=serial, code=code):
                self.exited(self.workers[serial], _reason(code))

    def lost_server(self) -> None:
        """The fork server died; its workers must go with it, and their children."""
        self.end_server()
        for worker in list(self.workers.values()):
            if worker.pid:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(worker.pid, signal.SIGKILL)
            self.exited(worker, "lost its fork server", counts=False)
        self.failed("the fork server died")

    # Talking to workers --------------------------------------------------------------------------------------------

    def dispatch(self) -> None:
        for worker in self.workers.values():
            if worker.ready and worker.task is None and worker.kill_at is None and (task := self.next_task()):
                worker.task = task
                if task.time_limit is not None:
                    task.deadline = time.monotonic() + task.time_limit
                with contextlib.suppress(OSError):  # it just died: `exited` settles the job
                    worker.connection.send_bytes(task.job)

    def next_task(self) -> _Task | None:
        with self.shared.lock:
            while self.shared.queue:
                task = self.shared.queue.popleft()
                if task.future.set_running_or_notify_cancel():
                    return task
                self.shared.unsettled -= 1
        return None

    def receive(self, worker: _Worker) -> None:
        """Take an answer. The end of the connection settles nothing: the server says when the worker is gone."""
        try:
            answer = worker.connection.recv_bytes()
        except (EOFError, OSError):
            worker.connection.close()
            worker.kill_at = worker.kill_at or time.monotonic() + _GRACE
            return
        if worker.overdue:
            return
        good, value = _unpickle(answer)
        if worker.task:
            task, worker.task = worker.task, None
            self.settle(task, value if good else JobError(*value), good)
        elif good:
            worker.ready = True
            self.failures = 0
        else:
            worker.raised = value

    def exited(self, worker: _Worker, reason: str, counts: bool = True) -> None:
        while not worker.connection.closed and worker.connection.poll():
            self.receive(worker)  # what it sent before it ended
        worker.connection.close()
        del self.workers[worker.serial]
        if worker.task:
            self.settle(worker.task, worker.overdue or WorkerDied(f"the worker {reason}{self.hint()}"), False)
        if not worker.ready and counts:
            self.failed(worker.raised.traceback if worker.raised else f"the worker {reason}")

    def enforce(self) -> None:
        """Signal the workers whose time is over."""
        now = time.monotonic()
        for worker in self.workers.values():
            task = worker.task
            if task and task.time_limit is not None and worker.kill_at is None and now >= task.deadline:
                worker.overdue = _too_slow(task.time_limit)
                worker.kill_at = now + _GRACE
                self.tell(Signal(worker.serial, signal.SIGTERM))
            elif worker.kill_at is not None and now >= worker.kill_at:
                worker.kill_at = math.inf
                self.tell(Signal(worker.serial, signal.SIGKILL))

    def patience(self) -> float | None:
        """Seconds until something is due."""
        due = [worker.kill_at or (worker.task and worker.task.deadline) for worker in self.workers.values()]
        if self.server is None or (self.preloaded and len(self.workers) < self.size):
            due.append(self.start_at)
        soonest = min((moment for moment in due if moment), default=math.inf)
        return None if soonest == math.inf else max(soonest - time.monotonic(), 0.0)

    # Ending --------------------------------------------------------------------------------------------------------

    def settle(self, task: _Task, outcome: Any, good: bool) -> None:
        # Under one lock: whoever sees the worker free sees that the future is done, and the other way round.
        with self.shared.lock:
            self.shared.unsettled -= 1
            if good:
                task.future.set_result(outcome)
            else:
                task.future.set_exception(outcome)

    def give_up(self, error: PoolBroken | None) -> None:
        """Take no more jobs and settle those there are, with `error` or as cancelled."""
        with self.shared.lock:
            self.shared.closing = True
            self.shared.broken = error
            waiting = list(self.shared.queue)
            self.shared.queue.clear()
            self.shared.unsettled -= len(waiting)
        for task in waiting:
            if error is None:
                task.future.cancel()
            if task.future.set_running_or_notify_cancel():
                task.future.set_exception(error)
        for worker in self.workers.values():
            if worker.task:
                self.settle(worker.task, error or CancelledError(), False)

    def end(self) -> None:
        self.end_server()
        for worker in self.workers.values():
            worker.connection.close()
        self.wake.close()

    def end_server(self) -> None:
        """The server kills all workers and ends when its connection closes."""
        if self.server is not None and self.process is not None:
            self.server.close()
            if not self.preloaded:  # it has no workers yet, and is deaf while it imports
                self.process.kill()
            try:
                self.process.wait(_END)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = self.server = None
        self.preloaded = False

    def hint(self) -> str:
        return f"; what it printed is in {self.launch.log}" if self.launch.log else ""


def _unpickle(answer: bytes) -> tuple[bool, Any]:
    try:
        good, value = pickle.loads(answer)
    except Exception as error:  # unpickling runs the result's own code; it costs its own job only
        return False, raised(error)
    return good, value


def _reason(code: int) -> str:
    if code >= 0:
        return f"ended itself with exit code {code}; a job must return or raise"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal
        name = "unnamed"
    advice = {
        "SIGKILL": "; if nobody killed it, the memory ran out: use fewer workers or smaller models",
        "SIGSEGV": "; native code crashed",
        "SIGABRT": "; native code crashed",
        "SIGBUS": "; native code crashed, or a file that it has mapped was cut short",
    }
    return f"was killed by signal {-code} ({name}){advice.get(name, '')}"
