"""The thread that supervises a pool's workers: it starts them, sends jobs, settles the futures."""

import contextlib
import math
import os
import pickle
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from hpo.errors import (
    OUT_OF_MEMORY,
    JobError,
    PoolBroken,
    TimeLimitExceeded,
    WorkerDied,
    tells_no_memory,
    time_limit_exceeded,
)
from hpo.workers.launch import ForkServer, Launch
from hpo.workers.tasks import Task, TaskQueue
from hpo.workers.worker import Exited, Raised, Ready, Signal, Start, Started, raised

_MAX_FAILURES = 3  # failed starts in a row, without any worker up, after which the pool is broken
_BACK_OFF = 0.1  # seconds before the second attempt, doubled for each later one
_MAX_BACK_OFF = 30.0
_GRACE = 1.0  # seconds from SIGTERM to SIGKILL
_ADVICE = {
    "SIGKILL": f"; if nobody killed it, {OUT_OF_MEMORY}",
    "SIGSEGV": "; native code crashed",
    "SIGABRT": "; native code crashed",
    "SIGBUS": "; native code crashed, or a file that it has mapped was cut short",
}


@dataclass
class _Worker:
    """A worker, as the supervisor knows it.

    Attributes:
        serial: the number by which the server knows it.
        connection: to the worker.
        pid: its process id, once known.
        ready: whether it has built `evaluate`.
        task: the job that it is running.
        printed: bytes of the log when it started, or when it got that job.
        raised: the exception raised while building `evaluate`.
        overdue: the error of a job over its time limit.
        kill_at: when SIGKILL is due; infinite unless it is ending or has been asked to end.
        killed: whether SIGKILL was sent.
    """

    serial: int
    connection: Connection
    pid: int = 0
    ready: bool = False
    task: Task | None = None
    printed: int = 0
    raised: Raised | None = None
    overdue: TimeLimitExceeded | None = None
    kill_at: float = math.inf
    killed: bool = False

    @property
    def idle(self) -> bool:
        """Whether it can take a job."""
        return self.ready and self.task is None and not self.ending

    @property
    def ending(self) -> bool:
        """Whether it is ending, or has been asked to end."""
        return self.killed or self.kill_at < math.inf

    @property
    def due(self) -> float:
        """When the supervisor has to act, on `time.monotonic`; infinite for never."""
        if self.ending or self.task is None:
            return self.kill_at
        return self.task.deadline


class Supervisor:
    """The pool's thread, the only one that uses the fork server and the workers."""

    def __init__(self, size: int, tasks: TaskQueue, wake: socket.socket, launch: Launch) -> None:
        self.size = size
        self.tasks = tasks
        self.wake = wake
        self.launch = launch
        self.server: ForkServer | None = None
        self.workers: dict[int, _Worker] = {}
        self.serial = 0
        self.failures = 0  # starts in a row that gave no worker
        self.start_at = 0.0
        self.log_is_named = False  # in a message

    def run(self) -> None:
        """Supervise until the pool is shut down or broken, then end all processes."""
        reason: PoolBroken | None = None
        try:
            while not self.tasks.finished:
                self.step()
        except PoolBroken as error:
            reason = error
        except BaseException as error:  # after a bug here, no caller may wait for ever
            reason = PoolBroken(f"the supervisor of the workers failed: {error!r}")
            raise
        finally:
            try:
                self.end()
            finally:
                self.give_up(reason)

    def step(self) -> None:
        """Start processes and send jobs, then wait for one event and handle it."""
        self.start()
        self.dispatch()
        readable = wait([*self.sources()], self.patience())
        if self.wake in readable:
            with contextlib.suppress(BlockingIOError):
                self.wake.recv(4096)
        for worker in list(self.workers.values()):
            if worker.connection in readable:
                self.receive(worker)
        if self.server is not None and self.server.connection in readable:
            self.listen(self.server)
        self.enforce()

    def sources(self) -> Iterator[Any]:
        """Everything that may have something to read."""
        yield self.wake
        if self.server is not None:
            yield self.server.connection
        for worker in self.workers.values():
            if not worker.connection.closed:
                yield worker.connection

    def patience(self) -> float | None:
        """Seconds until something is due; None for no limit."""
        starting = self.server is None or (self.preloaded and len(self.workers) < self.size)
        due = [worker.due for worker in self.workers.values()]
        soonest = min([*due, self.start_at if starting else math.inf])
        return None if soonest == math.inf else max(soonest - time.monotonic(), 0.0)

    # Starting
    # ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start missing processes, unless it is too early after a failure."""
        if time.monotonic() < self.start_at:
            return
        try:
            self.start_processes()
        except OSError as error:  # no descriptors or processes left, or no such log folder
            self.failed(str(error))

    def start_processes(self) -> None:
        """Start the server, and the missing workers once it has preloaded."""
        if self.server is None:
            self.server = self.launch()
        while self.server.preloaded and len(self.workers) < self.size:
            self.serial += 1
            ours, theirs = socket.socketpair()
            connection, printed = Connection(ours.detach()), self.launch.printed
            self.workers[self.serial] = _Worker(self.serial, connection, printed=printed)
            with theirs:
                self.server.send(Start(self.serial), theirs.fileno())

    def failed(self, reason: str) -> None:
        """Count a start that gave no worker, and delay the next one.

        Raises:
            PoolBroken: after too many in a row, if no other worker is up.
        """
        self.failures += 1
        if self.failures >= _MAX_FAILURES and not any(w.ready for w in self.workers.values()):
            raise PoolBroken(
                f"no worker came up in {self.failures} attempts: {reason}{self.hint()}"
            )
        delay = _BACK_OFF * 2.0 ** (self.failures - 1)
        self.start_at = time.monotonic() + min(delay, _MAX_BACK_OFF)

    # Messages from the server
    # ------------------------------------------------------------------------------------------

    def listen(self, server: ForkServer) -> None:
        """Receive and handle a message of the server.

        Raises:
            PoolBroken: when the server cannot import the preloads.
        """
        try:
            message = server.connection.recv()
        except (EOFError, OSError):
            self.lost_server()
            return
        match message:
            case Ready(error=""):
                server.preloaded = True
            case Ready(error=error):
                names = ", ".join(self.launch.setup.preload)
                raise PoolBroken(f"the workers cannot import all of {names}:\n{error}")
            case Started(serial=serial, pid=pid):
                self.workers[serial].pid = pid
            case Exited(serial=serial, code=code):
                self.exited(self.workers[serial], _reason(code))

    def lost_server(self) -> None:
        """Kill the workers of a server that has died, with their children."""
        self.end_server()
        for worker in list(self.workers.values()):
            if worker.pid:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(worker.pid, signal.SIGKILL)
            self.exited(worker, "lost its fork server", counts=False)
        self.failed("the fork server died")

    # Messages to and from workers
    # ------------------------------------------------------------------------------------------

    def dispatch(self) -> None:
        """Send queued jobs to idle workers."""
        for worker in self.workers.values():
            if not worker.idle:
                continue
            worker.task = self.tasks.take()
            if worker.task is None:
                return
            worker.task.start()
            worker.printed = self.launch.printed
            with contextlib.suppress(OSError):  # it has just died: `exited` settles the job
                worker.connection.send_bytes(worker.task.job)

    def receive(self, worker: _Worker) -> None:
        """Receive an answer of a worker.

        A closed connection settles nothing: the server reports when the worker has ended.
        """
        try:
            answer = worker.connection.recv_bytes()
        except (EOFError, OSError):
            worker.connection.close()
            if not worker.ending:
                worker.kill_at = time.monotonic() + _GRACE
            return
        if worker.overdue:
            return
        good, value = _unpickle(answer)
        if worker.task:
            task, worker.task = worker.task, None
            self.tasks.settle(task, value if good else JobError(*value), good)
        elif good:
            worker.ready = True
            self.failures = 0
        else:
            worker.raised = value

    def exited(self, worker: _Worker, reason: str, counts: bool = True) -> None:
        """Forget a worker that has ended, and settle its job."""
        while not worker.connection.closed and worker.connection.poll():
            self.receive(worker)  # what it sent before it ended
        worker.connection.close()
        del self.workers[worker.serial]
        if OUT_OF_MEMORY not in reason and tells_no_memory(self.launch.said(worker.printed)):
            reason += f"; {OUT_OF_MEMORY}"
        if worker.task:
            error = worker.overdue or WorkerDied(f"the worker {reason}{self.hint()}")
            self.tasks.settle(worker.task, error, False)
        if not worker.ready and counts:
            self.failed(worker.raised.traceback if worker.raised else f"the worker {reason}")

    def enforce(self) -> None:
        """Send signals to the workers that are due."""
        now = time.monotonic()
        for worker in self.workers.values():
            if now < worker.due:
                continue
            if worker.ending:
                worker.kill_at, worker.killed = math.inf, True
                self.signal(worker, signal.SIGKILL)
            elif worker.task and worker.task.time_limit is not None:
                worker.overdue = time_limit_exceeded(worker.task.time_limit)
                worker.kill_at = now + _GRACE
                self.signal(worker, signal.SIGTERM)

    def signal(self, worker: _Worker, number: int) -> None:
        """Let the server send a signal to a worker and its children."""
        if self.server is not None:
            self.server.send(Signal(worker.serial, number))

    # Ending
    # ------------------------------------------------------------------------------------------

    def give_up(self, error: PoolBroken | None) -> None:
        """Accept no more jobs; settle all jobs with `error`, or as cancelled."""
        self.tasks.give_up(error)
        for worker in self.workers.values():
            if worker.task:
                self.tasks.settle(worker.task, error or CancelledError(), False)

    def end(self) -> None:
        """End the server, and close everything that this thread has opened."""
        self.end_server()
        for worker in self.workers.values():
            worker.connection.close()
        self.wake.close()

    def end_server(self) -> None:
        """End the server, and with it all workers."""
        if self.server is not None:
            self.server.end()
        self.server = None

    @property
    def preloaded(self) -> bool:
        """Whether the server can start workers."""
        return self.server is not None and self.server.preloaded

    def hint(self) -> str:
        """The end of a message, which names the log file if there is one."""
        self.log_is_named = self.launch.log is not None
        return f"; what it printed is in {self.launch.log}" if self.launch.log else ""


def _unpickle(answer: bytes) -> tuple[bool, Any]:
    try:
        good, value = pickle.loads(answer)
    except Exception as error:  # unpickling runs code of the result, and fails this job only
        return False, raised(error)
    return good, value


def _reason(code: int) -> str:
    """Why a worker with this exit code has ended."""
    if code >= 0:
        return f"ended itself with exit code {code}; a job must return or raise"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal
        name = "unnamed"
    return f"was killed by signal {-code} ({name}){_ADVICE.get(name, '')}"
