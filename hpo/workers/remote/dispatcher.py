"""The driver's thread that sends jobs to the hosts of a fleet and settles the futures."""

import logging
import math
import time
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any
from weakref import WeakKeyDictionary

from hpo.errors import PoolBroken, WorkerDied, time_limit_exceeded
from hpo.workers.remote.fleet import Answered, Event, Fleet, Lost, Order, Shelf, Up, Woken
from hpo.workers.tasks import Task, TaskQueue

logger = logging.getLogger(__name__)

_LOOK = 1.0  # seconds between looks at how many hosts there could be
_MAX_FAILURES = 3  # failed starts in a row, while no host has done a job, end all hope
_BACK_OFF, _MAX_BACK_OFF = 0.5, 30.0  # seconds before the next start after a failed one
_MAX_LOSSES = 3  # a job that has lost so many hosts is at fault itself
_SILENCE = 30.0  # seconds over a time limit, after which the host itself hangs
_IMPATIENT = 30.0  # seconds without any host, after which the user is told


@dataclass
class RemoteHost:
    """A host, as the dispatcher knows it.

    Attributes:
        ready: whether it has reported.
        name: its machine.
        proved: whether it has done a job.
        task: the job that it is running.
        has: the names of the shared content that it has.
    """

    ready: bool = False
    name: str = ""
    proved: bool = False
    task: Task | None = None
    has: set[str] = field(default_factory=set)


class Dispatcher:
    """The only user of a fleet."""

    def __init__(
        self, tasks: TaskQueue, fleet: Fleet, shelf: Shelf, events: "SimpleQueue[Event]"
    ) -> None:
        self.tasks = tasks
        self.fleet = fleet
        self.shelf = shelf
        self.events = events
        self.hosts: dict[int, RemoteHost] = {}
        self.collected: WeakKeyDictionary[Future[Any], Any] = WeakKeyDictionary()
        self.failures = 0
        self.serial = 0
        self.start_at = 0.0
        self.impatient_at = time.monotonic() + _IMPATIENT

    @property
    def size(self) -> int:
        """How many hosts are up."""
        return sum(host.ready for host in list(self.hosts.values()))

    def run(self) -> None:
        """Dispatch until the pool is shut down or broken, then end all hosts."""
        self.tasks.serve("the dispatcher", step=self.step, end=self.end, give_up=self.give_up)

    def end(self) -> None:
        """End all hosts, those with a job at once."""
        self.fleet.end({serial for serial, host in self.hosts.items() if host.task})

    def step(self) -> None:
        """Start hosts and send jobs, then wait for an event and handle all that are there."""
        self.grow()
        self.dispatch()
        try:
            self.handle(self.events.get(timeout=self.patience()))
            while True:
                self.handle(self.events.get_nowait())
        except Empty:
            pass
        self.enforce()

    def patience(self) -> float:
        """Seconds until something is due."""
        due = [host.task.deadline + _SILENCE for host in self.hosts.values() if host.task]
        return max(min([_LOOK, *(each - time.monotonic() for each in due)]), 0.0)

    def grow(self) -> None:
        """Start the hosts that are missing."""
        now = time.monotonic()
        if now < self.start_at:
            return
        self.start_at = now + _LOOK
        serials = [self.serial + i + 1 for i in range(self.fleet.missing(len(self.hosts)))]
        if serials:
            self.serial = serials[-1]
            self.hosts.update({serial: RemoteHost() for serial in serials})
            self.fleet.start(serials)
        if self.size:
            self.impatient_at = now + _IMPATIENT
        elif now > self.impatient_at:
            self.impatient_at = math.inf
            logger.warning("no worker is up; waiting for %s", self.fleet.waiting_for())

    def dispatch(self) -> None:
        """Send queued jobs to idle hosts."""
        for serial, host in self.hosts.items():
            if not host.ready or host.task is not None:
                continue
            host.task = self.tasks.take()
            if host.task is None:
                return
            host.task.start()
            lacking = self.shelf.missing(host.has)
            host.has.update(lacking)
            self.fleet.send(serial, Order(host.task.job, host.task.time_limit, lacking))

    def handle(self, event: Event) -> None:
        """Handle what a host reports.

        Raises:
            PoolBroken: when no host can be started.
        """
        match event:
            case Up(serial, name):  # again, when a cluster has started a lost host again
                self.hosts[serial] = RemoteHost(ready=True, name=name)
                logger.debug("worker %d is up on %s", serial, name)
            case Answered(serial, answer) if (host := self.hosts.get(serial)) and host.task:
                good, value = answer.outcome()
                if isinstance(value, PoolBroken):
                    self.fleet.stop(serial)
                    self.failures += _MAX_FAILURES - 1  # it has tried several times itself
                    self.lost(serial, str(value), started=False)
                    return
                task, host.task = host.task, None
                host.proved, self.failures = True, 0
                self.collected[task.future] = answer.collected
                self.tasks.settle(task, value, good)
            case Lost(serial, reason) if serial in self.hosts:
                self.lost(serial, reason, started=self.hosts[serial].ready)
            case _:
                pass  # woken, or from a host that was given up

    def lost(self, serial: int, reason: str, *, started: bool) -> None:
        """Forget a host; another one runs its job.

        Raises:
            PoolBroken: when too many in a row could not start.
        """
        host = self.hosts.pop(serial)
        if host.task is not None:
            host.task.losses += started
            if host.task.losses < _MAX_LOSSES:
                self.tasks.put_back(host.task)
            else:
                error = WorkerDied(
                    f"{host.task.losses} workers were lost while they ran it, the last: {reason}"
                )
                self.tasks.settle(host.task, error, False)
        if started:
            logger.warning(
                "a worker on %s was lost (%s)%s",
                host.name,
                reason,
                "; its training goes on elsewhere" if host.task else "",
            )
            return
        self.failures += 1
        delay = min(_BACK_OFF * 2.0 ** (self.failures - 1), _MAX_BACK_OFF)
        self.start_at = time.monotonic() + delay
        proved = any(host.proved for host in self.hosts.values())
        if self.failures >= _MAX_FAILURES and not proved:
            raise PoolBroken(f"no worker of the cluster came up: {reason}")

    def enforce(self) -> None:
        """Give up hosts whose jobs are far over their limits: they cannot end them themselves."""
        now = time.monotonic()
        for serial, host in list(self.hosts.items()):
            if host.task and host.task.time_limit is not None:
                if now < host.task.deadline + _SILENCE:
                    continue
                del self.hosts[serial]
                self.fleet.stop(serial)
                self.tasks.settle(host.task, time_limit_exceeded(host.task.time_limit), False)

    def give_up(self, error: PoolBroken | None) -> None:
        """Accept no more jobs; settle all jobs with `error`, or as cancelled."""
        self.tasks.give_up(error)
        for host in self.hosts.values():
            if host.task:
                self.tasks.settle(host.task, error or CancelledError(), False)
        self.hosts.clear()

    def wake(self) -> None:
        """Let the thread look at the queue; called by other threads."""
        self.events.put(Woken())
