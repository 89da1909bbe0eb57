"""The lease of a study: a tag with its driver, so that no second driver runs the same study.

A driver renews the tag regularly. It counts as dead when its process has ended (on this machine) or
when it has not renewed the tag for `STALE` seconds (on another machine; clocks must agree better
than that). When two drivers take over the study of a dead one, only one wins: each writes its own
token, waits, and reads the tag again.
"""

import json
import os
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mlflow import MlflowClient

from hpo.errors import StudyError
from pipelines.store import schema

STALE = 60.0  # seconds
SETTLE = 0.3  # seconds between writing a token and reading it again


@dataclass(frozen=True)
class Driver:
    """The process that runs a study.

    Attributes:
        host: its name, for messages.
        machine: identifies the machine (`machine`).
        pid: process id.
        born: when the process started (`birth`).
        token: identifies this driver.
        since: when it took the study, in seconds since 1970.
        seen: when it last renewed the lease, in seconds since 1970.
    """

    host: str
    machine: str
    pid: int
    born: str
    token: str
    since: float
    seen: float

    def to_tag(self) -> str:
        """Encode as the value of the tag."""
        return json.dumps(asdict(self))

    @classmethod
    def from_tag(cls, value: str | None) -> "Driver | None":
        """Decode a value of the tag; None when it is empty or unreadable."""
        try:
            plain = json.loads(value or "null")
            return cls(**plain) if plain else None
        except (ValueError, TypeError):
            return None

    @classmethod
    def myself(cls) -> "Driver":
        """This process, with a new token."""
        now = time.time()
        pid = os.getpid()
        return cls(socket.gethostname(), machine(), pid, birth(pid), uuid.uuid4().hex, now, now)

    def alive(self, now: float) -> bool:
        """Whether this driver still runs, as far as this process can know."""
        if self.machine == machine():
            return self.born != "" and birth(self.pid) == self.born
        return abs(now - self.seen) < STALE

    def is_same_process(self, other: "Driver") -> bool:
        """Whether both are drivers in one process, one after the other."""
        mine, theirs = (self.machine, self.pid, self.born), (other.machine, other.pid, other.born)
        return mine == theirs

    def __str__(self) -> str:
        ago = max(time.time() - self.seen, 0.0)
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host} since {since}, last seen {ago:.0f} s ago"


def machine() -> str:
    """The host, boot and pid namespace: equal for processes that see each other's process ids."""
    parts = [socket.gethostname()]
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if boot.exists():
        parts += [boot.read_text().strip(), os.readlink(namespace)]
    return " ".join(parts)


def birth(pid: int) -> str:
    """When a process started, in the system's notation; empty when there is no such process."""
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        return "running" if _exists(pid) else ""
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    state, start_time = fields[0], fields[19]
    return "" if state == "Z" else start_time


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Lease:
    """The right to write to one study.

    Args:
        client: of the tracking store.
        run_id: of the study.
        write: sets the tag.
        what: the kind of run, for messages.
    """

    def __init__(
        self, client: MlflowClient, run_id: str, write: Callable[[str], None], what: str = "study"
    ) -> None:
        self._what = what
        self._client = client
        self._run_id = run_id
        self._write = write
        self._me = Driver.myself()

    def acquire(self, *, settle: float = SETTLE) -> None:
        """Take the lease. A dead driver is replaced.

        Raises:
            StudyError: when another driver has the lease, or takes it at the same time.
        """
        holder = self._holder()
        if holder is not None and self._is_active(holder):
            raise self._taken(holder)
        self._write(self._me.to_tag())
        if holder is not None:
            time.sleep(settle)
        winner = self._holder()
        if winner is None or winner.token != self._me.token:
            raise self._taken(winner)

    def renew(self) -> None:
        """Store that this driver is alive.

        Raises:
            StudyError: when another driver has taken the lease.
        """
        holder = self._holder()
        if holder is not None and holder.token != self._me.token:
            raise self._taken(holder)
        self._me = replace(self._me, seen=time.time())
        self._write(self._me.to_tag())

    def release(self) -> None:
        """Give the lease up, unless another driver has taken it already."""
        holder = self._holder()
        if holder is not None and holder.token == self._me.token:
            self._write("")

    def _holder(self) -> Driver | None:
        return Driver.from_tag(self._client.get_run(self._run_id).data.tags.get(schema.DRIVER))

    def _is_active(self, holder: Driver) -> bool:
        """Whether the holder still runs the study.

        An earlier driver of this process has ended, because this driver has locked the journal.
        """
        return not self._me.is_same_process(holder) and holder.alive(time.time())

    def _taken(self, holder: Driver | None) -> StudyError:
        message = (
            f"{self._what} {self._run_id} is being run by another driver ({holder or 'unknown'}); "
            "wait until it ends or stop it with Ctrl-C"
        )
        if holder is None:
            return StudyError(
                f"{message}; if it was killed, try again after {STALE:.0f} s without a sign of it"
            )
        if holder.machine == machine():
            return StudyError(message)  # its process is known to run
        left = max(holder.seen + STALE - time.time(), 1.0)
        return StudyError(
            f"{message}; if it was killed, try again in {left:.0f} s: a driver that has not "
            f"renewed its lease for {STALE:.0f} s counts as dead"
        )
