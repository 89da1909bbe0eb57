"""The processes of a pool: a fork server, its workers, and the attempts to start them."""

import contextlib
import math
import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

from hpo.errors import TimeLimitExceeded
from hpo.workers.launch import ForkServer, Launch
from hpo.workers.tasks import Task
from hpo.workers.worker import Raised, Signal, Start

_MAX_FAILURES = 3  # failed starts in a row, without any worker up, after which there is no hope
_BACK_OFF = 0.1  # seconds before the second attempt, doubled for each later one
_MAX_BACK_OFF = 30.0


@dataclass
class Worker:
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

    def kill(self) -> None:
        """Kill it and its children, without the fork server."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

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


class Crew:
    """A fork server and its workers, used by one thread.

    Args:
        size: the number of workers.
        launch: how to start the server.
    """

    def __init__(self, size: int, launch: Launch) -> None:
        self.size = size
        self.launch = launch
        self.server: ForkServer | None = None
        self.failures = 0  # starts in a row that gave no worker
        self._start_at = 0.0
        self._serial = 0
        self._workers: dict[int, Worker] = {}

    def __getitem__(self, serial: int) -> Worker:
        """The worker with this number."""
        return self._workers[serial]

    @property
    def workers(self) -> list[Worker]:
        """All workers, the oldest first."""
        return list(self._workers.values())

    def connections(self) -> Iterator[Connection]:
        """The open connections, to wait for messages."""
        if self.server is not None:
            yield self.server.connection
        for worker in self._workers.values():
            if not worker.connection.closed:
                yield worker.connection

    def patience(self) -> float | None:
        """Seconds until something is due; None for no limit."""
        due = [worker.due for worker in self._workers.values()]
        soonest = min([*due, self._start_at if self._can_start else math.inf])
        return None if soonest == math.inf else max(soonest - time.monotonic(), 0.0)

    @property
    def _can_start(self) -> bool:
        """Whether the server, or a worker, is missing and can be started."""
        return self.server is None or (self.server.preloaded and len(self._workers) < self.size)

    def start(self) -> None:
        """Start the server, and the missing workers once it has preloaded.

        It does nothing if it is too early after a failure.

        Raises:
            OSError: when the system has no more descriptors or processes.
        """
        if time.monotonic() < self._start_at:
            return
        if self.server is None:
            self.server = self.launch()
        while self.server.preloaded and len(self._workers) < self.size:
            self._serial += 1
            ours, theirs = socket.socketpair()
            connection, printed = Connection(ours.detach()), self.launch.printed
            self._workers[self._serial] = Worker(self._serial, connection, printed=printed)
            with theirs:
                self.server.send(Start(self._serial), theirs.fileno())

    def failed(self) -> None:
        """Count a start that gave no worker, and delay the next one."""
        self.failures += 1
        delay = _BACK_OFF * 2.0 ** (self.failures - 1)
        self._start_at = time.monotonic() + min(delay, _MAX_BACK_OFF)

    @property
    def is_hopeless(self) -> bool:
        """Whether too many starts in a row have failed, and no worker is up."""
        ready = any(worker.ready for worker in self._workers.values())
        return self.failures >= _MAX_FAILURES and not ready

    def came_up(self, worker: Worker) -> None:
        """Note that a worker is ready for jobs."""
        worker.ready = True
        self.failures = 0

    def signal(self, worker: Worker, number: int) -> None:
        """Let the server send a signal to a worker and its children."""
        if self.server is not None:
            self.server.send(Signal(worker.serial, number))

    def remove(self, worker: Worker) -> None:
        """Forget a worker that has ended."""
        worker.connection.close()
        del self._workers[worker.serial]

    def end_server(self) -> None:
        """End the server, and with it all workers."""
        if self.server is not None:
            self.server.end()
        self.server = None

    def end(self) -> None:
        """End the server and close all connections."""
        self.end_server()
        for worker in self._workers.values():
            worker.connection.close()
