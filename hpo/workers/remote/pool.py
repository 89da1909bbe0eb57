"""An executor of workers on other machines."""

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from hpo.workers import JobT, ResultT
from hpo.workers.queued import QueuedExecutor
from hpo.workers.remote.dispatcher import Dispatcher
from hpo.workers.remote.fleet import Event, Fleet, Shelf
from hpo.workers.tasks import TaskQueue


class RemotePool(QueuedExecutor[JobT, ResultT]):
    """Runs jobs on the hosts of a fleet, as many as there are at the moment.

    A job that raises, exceeds its time limit, exits or is killed settles its own future only. A
    host that is lost with its machine costs its job the time so far: another host runs it again.

    Args:
        fleet: makes the fleet from the queue of its events.
        shelf: what all workers have before their first job, and what is added to it, before their
            next one.
    """

    def __init__(self, fleet: Callable[["SimpleQueue[Event]"], Fleet], shelf: Shelf) -> None:
        events: SimpleQueue[Event] = SimpleQueue()
        tasks = TaskQueue()
        self._dispatcher = Dispatcher(tasks, fleet(events), shelf, events)
        super().__init__("remote-pool", tasks, self._dispatcher.run, self._dispatcher.wake)

    @property
    def size(self) -> int:
        """How many workers are up; it changes with the cluster."""
        return self._dispatcher.size

    @property
    def free(self) -> int:
        """How many more jobs could start at once; 1 for a broken pool, whose `submit` says why."""
        with self._tasks.lock:
            return 1 if self._tasks.broken else max(self.size - self._tasks.unsettled, 0)

    def collected(self, future: "Future[ResultT]") -> Any:
        """What a host has collected after the job of a done future; None when it was lost."""
        return self._dispatcher.collected.get(future)
