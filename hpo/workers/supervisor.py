"""The thread that supervises the workers of a pool: it starts them, hands them jobs and settles the futures."""

import contextlib
import math
import os
import pickle
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from hpo.errors import JobError, PoolBroken, TimeLimitExceeded, WorkerDied, time_limit_exceeded
from hpo.workers.launch import Launch
from hpo.workers.worker import Exited, Raised, Ready, Signal, Start, Started, raised

_ATTEMPTS = 3  # starts without one worker that comes up, then the pool is broken
_BACK_OFF = 0.1  # seconds before the second attempt, doubled for each later one
_MAX_BACK_OFF = 30.0
_GRACE = 1.0  # seconds from SIGTERM to SIGKILL
_END = 5.0  # seconds for the fork server to end after its workers


@dataclass
class Task:
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
    task: Task | None = None
    raised: Raised | None = None  # while building `evaluate`
    overdue: TimeLimitExceeded | None = None
    kill_at: float | None = None  # it ends, or has been asked to; SIGKILL is due then


@dataclass
class Shared:
    """What the supervisor and the callers share, under `lock`."""

    # Taken again by the callbacks of a future that ask the pool.
    lock: "threading.RLock" = field(default_factory=threading.RLock)
    queue: deque[Task] = field(default_factory=deque)
    unsettled: int = 0
    closing: bool = False
    stopping: bool = False
    broken: PoolBroken | None = None


class Supervisor:
    """The pool's thread: the only one that knows the fork server and the workers."""

    def __init__(self, size: int, shared: Shared, wake: socket.socket, launch: Launch) -> None:
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
        """Supervise until the pool is shut down or broken, then end all processes and settle what is left."""
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
        """Whether the pool is to stop now, or is closed and has nothing left to do."""
        with self.shared.lock:
            return self.shared.stopping or (self.shared.closing and self.shared.unsettled == 0)

    def step(self) -> None:
        """Start and hand out what is possible, then wait for one thing to happen and see to it."""
        self.start()
        self.dispatch()
        connections = [
            worker.connection for worker in self.workers.values() if not worker.connection.closed
        ]
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

    # Starting
    # ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start what is missing, server first, unless it is too early after a failure."""
        if time.monotonic() < self.start_at:
            return
        try:
            self.start_processes()
        except OSError as error:  # no descriptors or processes left, or no such log folder
            self.failed(str(error))

    def start_processes(self) -> None:
        """Start the server, and the missing workers once it has preloaded."""
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
            raise PoolBroken(
                f"no worker came up in {self.failures} attempts: {reason}{self.hint()}"
            )
        self.start_at = time.monotonic() + min(
            _BACK_OFF * 2.0 ** (self.failures - 1), _MAX_BACK_OFF
        )

    # Talking to the server
    # -----------------------------------------------------------------------------------------

    def tell(self, message: Start | Signal, descriptor: int | None = None) -> None:
        """Send the server a message, and a file descriptor with it."""
        if self.server is None:
            return
        with contextlib.suppress(OSError):  # the server is gone: `listen` sees it
            self.server.send(message)
            if descriptor is not None:
                with socket.socket(fileno=os.dup(self.server.fileno())) as channel:
                    socket.send_fds(channel, [b"."], [descriptor])

    def listen(self, server: Connection) -> None:
        """Take a message of the server; raises `PoolBroken` when it cannot import the preloads."""
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

    # Talking to workers
    # --------------------------------------------------------------------------------------------

    def dispatch(self) -> None:
        """Hand queued jobs to idle workers."""
        for worker in self.workers.values():
            if (
                worker.ready
                and worker.task is None
                and worker.kill_at is None
                and (task := self.next_task())
            ):
                worker.task = task
                if task.time_limit is not None:
                    task.deadline = time.monotonic() + task.time_limit
                with contextlib.suppress(OSError):  # it just died: `exited` settles the job
                    worker.connection.send_bytes(task.job)

    def next_task(self) -> Task | None:
        """The next queued job that nobody has cancelled, now marked as running."""
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
        """Forget a worker that is gone, and settle its job."""
        while not worker.connection.closed and worker.connection.poll():
            self.receive(worker)  # what it sent before it ended
        worker.connection.close()
        del self.workers[worker.serial]
        if worker.task:
            self.settle(
                worker.task,
                worker.overdue or WorkerDied(f"the worker {reason}{self.hint()}"),
                False,
            )
        if not worker.ready and counts:
            self.failed(worker.raised.traceback if worker.raised else f"the worker {reason}")

    def enforce(self) -> None:
        """Signal the workers whose time is over."""
        now = time.monotonic()
        for worker in self.workers.values():
            task = worker.task
            if (
                task
                and task.time_limit is not None
                and worker.kill_at is None
                and now >= task.deadline
            ):
                worker.overdue = time_limit_exceeded(task.time_limit)
                worker.kill_at = now + _GRACE
                self.tell(Signal(worker.serial, signal.SIGTERM))
            elif worker.kill_at is not None and now >= worker.kill_at:
                worker.kill_at = math.inf
                self.tell(Signal(worker.serial, signal.SIGKILL))

    def patience(self) -> float | None:
        """Seconds until something is due."""
        due = [
            worker.kill_at or (worker.task and worker.task.deadline)
            for worker in self.workers.values()
        ]
        if self.server is None or (self.preloaded and len(self.workers) < self.size):
            due.append(self.start_at)
        soonest = min((moment for moment in due if moment), default=math.inf)
        return None if soonest == math.inf else max(soonest - time.monotonic(), 0.0)

    # Ending
    # --------------------------------------------------------------------------------------------------------

    def settle(self, task: Task, outcome: Any, good: bool) -> None:
        """Give a future its result, or the error `outcome` when it is not `good`."""
        # Under one lock: whoever sees the worker free sees that the future is done, and the other
        # way round.
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
        """End the server, and close everything that this thread holds."""
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
        """The end of a message that says where the output is, if it is kept."""
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
