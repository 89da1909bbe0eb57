"""The thread that supervises a pool's workers: it sends them jobs and settles the futures."""

import contextlib
import math
import pickle
import signal
import socket
import time
from concurrent.futures import CancelledError
from multiprocessing.connection import wait
from typing import Any

from hpo.errors import (
    OUT_OF_MEMORY,
    JobError,
    PoolBroken,
    WorkerDied,
    tells_no_memory,
    time_limit_exceeded,
)
from hpo.workers.crew import Crew, Worker
from hpo.workers.launch import ForkServer
from hpo.workers.tasks import TaskQueue
from hpo.workers.worker import Exited, Ready, Started, raised

_GRACE = 1.0  # seconds from SIGTERM to SIGKILL
_ADVICE = {
    "SIGKILL": f"; if nobody killed it, {OUT_OF_MEMORY}",
    "SIGSEGV": "; native code crashed",
    "SIGABRT": "; native code crashed",
    "SIGBUS": "; native code crashed, or a file that it has mapped was cut short",
}


class Supervisor:
    """The pool's thread, the only one that uses the fork server and the workers."""

    def __init__(self, crew: Crew, tasks: TaskQueue, wake: socket.socket) -> None:
        self.crew = crew
        self.tasks = tasks
        self.wake = wake
        self.log_is_named = False  # in a message

    def run(self) -> None:
        """Supervise until the pool is shut down or broken, then end all processes."""
        self.tasks.serve("the supervisor", step=self.step, end=self.end, give_up=self.give_up)

    def step(self) -> None:
        """Start processes and send jobs, then wait for one event and handle it."""
        self.start()
        self.dispatch()
        readable = wait([self.wake, *self.crew.connections()], self.crew.patience())
        if self.wake in readable:
            with contextlib.suppress(BlockingIOError):
                self.wake.recv(4096)
        for worker in self.crew.workers:
            if worker.connection in readable:
                self.receive(worker)
        server = self.crew.server
        if server is not None and server.connection in readable:
            self.listen(server)
        self.enforce()

    def start(self) -> None:
        """Start missing processes, unless it is too early after a failure.

        Raises:
            PoolBroken: after too many failures in a row, if no other worker is up.
        """
        try:
            self.crew.start()
        except OSError as error:  # no descriptors or processes left, or no such log folder
            self.failed(str(error))

    def failed(self, reason: str) -> None:
        """Note a start that gave no worker.

        Raises:
            PoolBroken: after too many in a row, if no other worker is up.
        """
        self.crew.failed()
        if self.crew.is_hopeless:
            raise PoolBroken(
                f"no worker came up in {self.crew.failures} attempts: {reason}{self.hint()}"
            )

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
                names = ", ".join(self.crew.launch.setup.preload)
                raise PoolBroken(f"the workers cannot import all of {names}:\n{error}")
            case Started(serial=serial, pid=pid):
                self.crew[serial].pid = pid
            case Exited(serial=serial, code=code):
                self.exited(self.crew[serial], _reason(code))

    def lost_server(self) -> None:
        """Kill the workers of a server that has died, with their children.

        One of several jobs may have killed it. They are run again, one at a time, so that only that
        one fails.
        """
        self.crew.end_server()
        busy = [worker for worker in self.crew.workers if worker.task]
        for worker in self.crew.workers:
            worker.kill()
            self.drain(worker)
            if worker.task and len(busy) > 1:
                task, worker.task = worker.task, None
                task.losses += 1
                self.tasks.put_back(task)
            self.exited(worker, "lost its fork server", counts=False)
        self.failed("the fork server died")

    # Messages to and from workers
    # ------------------------------------------------------------------------------------------

    def dispatch(self) -> None:
        """Send queued jobs to idle workers."""
        for worker in self.crew.workers:
            if not worker.idle:
                continue
            running = [each.task for each in self.crew.workers if each.task]
            if running and (self.tasks.again or any(task.losses for task in running)):
                return  # a job that may have killed the server runs alone
            worker.task = self.tasks.take()
            if worker.task is None:
                return
            worker.task.start()
            worker.printed = self.crew.launch.printed
            with contextlib.suppress(OSError):  # it has just died: `exited` settles the job
                worker.connection.send_bytes(worker.task.job)

    def receive(self, worker: Worker) -> None:
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
            if not good and OUT_OF_MEMORY in value.message:  # a new worker has no leaks
                worker.kill_at = time.monotonic()
        elif good:
            self.crew.came_up(worker)
        else:
            worker.raised = value

    def drain(self, worker: Worker) -> None:
        """Receive what a worker sent before it ended."""
        while not worker.connection.closed and worker.connection.poll():
            self.receive(worker)

    def exited(self, worker: Worker, reason: str, counts: bool = True) -> None:
        """Forget a worker that has ended, and settle its job."""
        self.drain(worker)
        self.crew.remove(worker)
        if OUT_OF_MEMORY not in reason and tells_no_memory(self.crew.launch.said(worker.printed)):
            reason += f"; {OUT_OF_MEMORY}"
        if worker.task:
            hint = self.hint() if self.crew.launch.printed > worker.printed else ""
            error = worker.overdue or WorkerDied(f"the worker {reason}{hint}")
            self.tasks.settle(worker.task, error, False)
        if not worker.ready and counts:
            self.failed(worker.raised.traceback if worker.raised else f"the worker {reason}")

    def enforce(self) -> None:
        """Send signals to the workers that are due."""
        now = time.monotonic()
        for worker in self.crew.workers:
            if now < worker.due:
                continue
            if worker.ending:
                worker.kill_at, worker.killed = math.inf, True
                self.crew.signal(worker, signal.SIGKILL)
            elif worker.task and worker.task.time_limit is not None:
                worker.overdue = time_limit_exceeded(worker.task.time_limit)
                worker.kill_at = now + _GRACE
                self.crew.signal(worker, signal.SIGTERM)

    # Ending
    # ------------------------------------------------------------------------------------------

    def give_up(self, error: PoolBroken | None) -> None:
        """Accept no more jobs; settle all jobs with `error`, or as cancelled."""
        self.tasks.give_up(error)
        for worker in self.crew.workers:
            if worker.task:
                self.tasks.settle(worker.task, error or CancelledError(), False)

    def end(self) -> None:
        """End the server, and close everything that this thread has opened."""
        self.crew.end()
        self.wake.close()

    def hint(self) -> str:
        """The end of a message, which names the log file if there is one."""
        log = self.crew.launch.log
        self.log_is_named = log is not None
        return f"; what it printed is in {log}" if log else ""


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
