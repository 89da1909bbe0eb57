"""The protocol of what starts hosts and reaches them, and what it reports."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from hpo.workers.remote.host import Answer


class Up(NamedTuple):
    """A host is ready for jobs; `name` is its machine."""

    serial: int
    name: str


class Answered(NamedTuple):
    """A host has done its job."""

    serial: int
    answer: Answer


class Lost(NamedTuple):
    """A host has ended, or could not start."""

    serial: int
    reason: str


class Woken(NamedTuple):
    """The queue has changed."""


Event = Up | Answered | Lost | Woken


class Order(NamedTuple):
    """A job for a host.

    Attributes:
        job: pickled.
        time_limit: seconds, or None.
        shared: the names of what the host is to have before it starts, with the folders on the
            driver's disk.
    """

    job: bytes
    time_limit: float | None
    shared: Mapping[str, Path]


@dataclass
class Shelf:
    """Folders of the driver whose content all workers of a session have.

    The content of a name does not change.
    """

    folders: dict[str, Path] = field(default_factory=dict)

    def missing(self, there: Collection[str]) -> dict[str, Path]:
        """What somebody who has the names `there` lacks."""
        return {name: path for name, path in dict(self.folders).items() if name not in there}


class Fleet(Protocol):
    """Hosts by number. It is used by one thread, and reports events to the queue it was made with.

    For each `start` there is an `Up` or a `Lost`, and for each `send` an `Answered` or a `Lost`.
    """

    def missing(self, present: int) -> int:
        """How many more hosts to start now, when `present` are up or starting.

        Raises:
            PoolBroken: when the cluster is gone.
        """
        ...

    def start(self, serials: Sequence[int]) -> None:
        """Start hosts with these numbers."""
        ...

    def send(self, serial: int, order: Order) -> None:
        """Send a job to a host."""
        ...

    def stop(self, serial: int) -> None:
        """End a host at once, whatever it is doing."""
        ...

    def end(self, busy: Collection[int]) -> None:
        """End all hosts; those that are `busy` at once."""
        ...

    def waiting_for(self) -> str:
        """What a host that does not come up is waiting for."""
        ...
