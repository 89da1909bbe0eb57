"""Workers on a Ray cluster: one actor for each, by Ray's core alone.

The actors belong to the driver's Ray job, so Ray ends them when the driver dies. Shared content is
in Ray's object store: it travels to a node once, and is a folder there that its workers map.
Nothing is stored on the head node, and no folder of Ray's is set.
"""

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hpo.errors import ParameterError, PoolBroken, UserError
from hpo.workers.remote.fleet import Answered, Event, Lost, Order, Shelf, Up
from hpo.workers.remote.folder import read_files
from hpo.workers.remote.host import Answer, Host, HostSetup
from hpo.workers.remote.pool import RemotePool

AUTO = "auto"
_CLIENT = "ray://"
_ANSWER = 5.0  # seconds for the cluster's port to answer
_CHECK = 120.0  # seconds for a check on every node, which starts a process there
_FETCH = 600.0  # seconds for shared content to reach a node
_QUIET = {"configure_logging": False, "logging_level": logging.ERROR}
_FAREWELL = 3.0  # seconds for idle workers to delete their files
_UNKNOWN = ("AuthenticationError", "InvalidAuthToken", "UNAUTHENTICATED")  # in Ray's errors


@dataclass(frozen=True)
class Share:
    """What a worker takes of its node."""

    cpus: int
    gpus: float = 0.0


@dataclass
class RayCluster:
    """A Ray cluster that this process is connected to.

    Attributes:
        shelf: what all workers have.
        refs: the same in the object store, by name.
    """

    shelf: Shelf = field(default_factory=Shelf)
    refs: dict[str, Any] = field(default_factory=dict)

    @property
    def nodes(self) -> list[dict[str, Any]]:
        """The nodes that are alive and have CPUs for work."""
        alive: list[dict[str, Any]] = [node for node in ray.nodes() if node["Alive"]]
        return [node for node in alive if node["Resources"].get("CPU", 0) >= 1]

    def places(self, share: Share) -> int:
        """How many workers the nodes have room for, if nothing else runs."""
        return sum(_fits(node["Resources"], share) for node in self.nodes)

    def free_places(self, share: Share) -> int:
        """How many workers the free resources are enough for."""
        return _fits(ray.available_resources(), share)

    def on_every_node(self, function: Callable[..., str], *arguments: Any) -> dict[str, str]:
        """Call an importable function on every node, and return the answers by machine.

        Raises:
            UserError: when a node does not answer, or cannot import what it needs.
        """
        called = {}
        for node in self.nodes:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            task = ray.remote(num_cpus=0, max_retries=0)(function)
            called[node["NodeID"]] = task.options(scheduling_strategy=there).remote(*arguments)
        names = {node["NodeID"]: node["NodeManagerHostname"] for node in self.nodes}
        answers = {}
        deadline = time.monotonic() + _CHECK
        for node_id, ref in called.items():
            name = f"{names.get(node_id, 'a node that has left')} ({node_id[:8]})"
            try:
                answers[name] = ray.get(ref, timeout=max(deadline - time.monotonic(), 0.1))
            except (RayError, TimeoutError) as error:
                if node_id not in {node["NodeID"] for node in self.nodes}:
                    continue  # it has left since
                raise UserError(
                    f"the node {name} of the Ray cluster cannot run a worker: {_line(error)}; "
                    "install the same versions of Python, Ray and mlflow-warmstart on every node"
                ) from error
        return answers

    def open_pool(
        self, setup: HostSetup, *, workers: int | None, share: Share
    ) -> "RemotePool[Any, Any]":
        """A pool of actors.

        Args:
            setup: of each worker.
            workers: how many; None for as many as the cluster has room for at any moment.
            share: what each takes.
        """
        return RemotePool(lambda events: RayFleet(self, setup, workers, share, events), self.shelf)

    def parcel(self, name: str, folder: Path) -> Any:
        """The shared content of a name, in the object store.

        In a list, because Ray would pass on the object in place of a bare reference.
        """
        if name not in self.refs:
            self.refs[name] = ray.put(read_files(folder))
        return [self.refs[name]]


@contextmanager
def connected(address: str | None) -> Iterator[RayCluster]:
    """Connect to a cluster, unless this process is connected already, and disconnect at the end.

    Args:
        address: `host:port`, `ray://host:port` of a client server, or None for `auto`: the one that
            `RAY_ADDRESS` names, or to which this machine belongs.

    Raises:
        UserError: when there is none, or it does not answer.
    """
    if ray.is_initialized():
        yield RayCluster()
        return
    address = address or AUTO
    found = _found(address)
    if found is not None:
        _check_answer(found)
    try:
        ray.init(address=address, log_to_driver=False, **_QUIET)
    except ImportError as error:
        raise UserError(f'{_line(error)}; run pip install "mlflow-warmstart[ray]"') from error
    except (ConnectionError, ValueError, RuntimeError, RayError) as error:
        if _asks_for_token(error):
            raise UserError(
                f"ray_address={address!r}: the Ray cluster asks for a token; set "
                "RAY_AUTH_MODE=token, with its token in ~/.ray/auth_token or RAY_AUTH_TOKEN"
            ) from error
        raise UserError(
            f"ray_address={address!r}: there is no Ray cluster to connect to ({_line(error)}); "
            "start one with `ray start --head`, or give its address"
        ) from error
    try:
        yield RayCluster()
    finally:
        ray.shutdown()


def check_address(address: str) -> None:
    """Check the form of an address.

    Raises:
        ParameterError: when it is none.
    """
    if address == AUTO:
        return
    host, colon, port = address.removeprefix(_CLIENT).rpartition(":")
    if not (host and colon and port.isdigit() and int(port) < 65536) or "/" in host:
        raise ParameterError(
            f"ray_address={address!r} must be auto, host:port, or ray://host:port of a Ray client "
            "server"
        )


def _found(address: str) -> str | None:
    """`host:port` of an address; None when Ray itself finds that out."""
    if address == AUTO:
        address = os.environ.get("RAY_ADDRESS") or AUTO
    if address == AUTO:  # the file that `ray start` leaves; Ray tries it for minutes
        left = Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray" / "ray_current_cluster"
        address = left.read_text().strip() if left.exists() else AUTO
    found = address.removeprefix(_CLIENT)
    return found if ":" in found else None


def _check_answer(address: str) -> None:
    """Check that something listens: Ray itself tries for minutes, and then ends the process."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"the Ray cluster at {address} does not answer ({error}); start one with `ray start "
            "--head`, or give its address as ray_address"
        ) from error


def _asks_for_token(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is that the cluster does not know this process."""
    while error is not None:
        told = f"{type(error).__name__}: {error}"
        if any(word in told for word in _UNKNOWN):
            return True
        error = error.__cause__ or error.__context__
    return False


class _Actor:
    """A host as an actor."""

    def __init__(self, setup: HostSetup) -> None:
        self.host = Host(setup)

    def ready(self) -> str:
        return self.host.name

    def run(self, job: bytes, limit: float | None, parcels: Mapping[str, list[Any]]) -> Answer:
        for name, (ref,) in parcels.items():
            if not self.host.folder.has(name):
                self.host.receive(name, ray.get(ref, timeout=_FETCH))
        return self.host.run(job, limit)

    def close(self) -> None:
        self.host.close()


class RayFleet:
    """Actors of one pool.

    Args:
        cluster: where they run.
        setup: of each.
        workers: how many; None for as many as there is room for.
        share: what each takes of its node.
        events: what they report.
    """

    def __init__(
        self,
        cluster: RayCluster,
        setup: HostSetup,
        workers: int | None,
        share: Share,
        events: "SimpleQueue[Event]",
    ) -> None:
        self._cluster = cluster
        self._workers = workers
        self._share = share
        self._events = events
        self._setup = setup
        self._actors: dict[int, Any] = {}
        self._starting: set[int] = set()
        self._make = ray.remote(
            num_cpus=share.cpus, num_gpus=share.gpus, max_restarts=0, max_task_retries=0
        )(_Actor)

    def missing(self, present: int) -> int:
        """All of a fixed number, or what the free CPUs are enough for."""
        if self._workers is not None:
            return max(self._workers - present, 0)
        try:
            free = self._cluster.free_places(self._share)
        except Exception as error:  # the client, the core and gRPC have errors of their own
            raise PoolBroken(f"the Ray cluster does not answer: {_line(error)}") from error
        # One that finds no place lets a cluster with an autoscaler add a node.
        return max(free - len(self._starting), 0) or int(present == 0)

    def start(self, serials: Sequence[int]) -> None:
        """Start actors."""
        for serial in serials:
            self._actors[serial] = self._make.remote(self._setup)
            self._starting.add(serial)
            self._watch(serial, self._actors[serial].ready.remote(), Up)

    def send(self, serial: int, order: Order) -> None:
        """Call an actor with a job."""
        try:
            parcels = {
                name: self._cluster.parcel(name, folder) for name, folder in order.shared.items()
            }
            ref = self._actors[serial].run.remote(order.job, order.time_limit, parcels)
        except RayError as error:
            self._events.put(Lost(serial, _line(error)))
            return
        self._watch(serial, ref, Answered)

    def stop(self, serial: int) -> None:
        """Kill an actor; its worker process ends within half a second."""
        self._starting.discard(serial)
        if actor := self._actors.pop(serial, None):
            with contextlib.suppress(Exception):  # it is dead, or the cluster is
                ray.kill(actor)

    def end(self, busy: Collection[int]) -> None:
        """Let idle actors delete their files, and kill all."""
        idle = [serial for serial in self._actors if serial not in {*busy, *self._starting}]
        with contextlib.suppress(Exception):  # what is dead, or the cluster is
            closing = [self._actors[serial].close.remote() for serial in idle]
            ray.wait(closing, num_returns=len(closing), timeout=_FAREWELL)
        for serial in list(self._actors):
            self.stop(serial)

    def waiting_for(self) -> str:
        """What an actor needs."""
        gpus = f" and {self._share.gpus:g} GPU(s)" if self._share.gpus else ""
        return f"a node of the Ray cluster with {self._share.cpus} free CPU(s){gpus}"

    def _watch(self, serial: int, ref: Any, event: Callable[[int, Any], Event]) -> None:
        """Report when a call has ended; Ray runs the callback in a thread of its own."""

        def report(done: Any) -> None:
            self._starting.discard(serial)
            error = done.exception()
            if error is None:
                self._events.put(event(serial, done.result()))
                return
            if not isinstance(error, RayActorError):  # shared content was lost, for example
                self._cluster.refs.clear()
                with contextlib.suppress(Exception):
                    ray.kill(self._actors[serial])
            self._events.put(Lost(serial, _line(error)))

        ref.future().add_done_callback(report)


def _fits(resources: Mapping[str, float], share: Share) -> int:
    """How many workers some resources are enough for."""
    by_cpu = int(resources.get("CPU", 0.0) // share.cpus)
    if not share.gpus:
        return by_cpu
    return min(by_cpu, int((resources.get("GPU", 0.0) + 1e-6) // share.gpus))


def _line(error: BaseException) -> str:
    """The first line of an error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (
        lines[-1 if isinstance(error, ray.exceptions.RayTaskError) else 0][:300]
        if lines
        else (type(error).__name__)
    )
