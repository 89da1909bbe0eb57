"""Who runs a study: a tag on its run that the driver renews, so that no second driver starts on it.

A driver is taken for dead when its process is gone (same machine), or when it has not renewed the
tag for `STALE` seconds (another machine; clocks are expected to agree better than that). Two takers
of a dead driver's study cannot both win: each writes its own token, waits, and reads what is there.
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

STALE = 60.0
SETTLE = 0.3


@dataclass(frozen=True)
class Driver:
    """A driving process: where it runs, its token, when it began and when it was last seen (seconds since 1970)."""

    host: str
    machine: str
    pid: int
    born: str
    token: str
    since: float
    seen: float

    def to_tag(self) -> str:
        """The driver as the value of the tag."""
        return json.dumps(asdict(self))

    @classmethod
    def from_tag(cls, value: str | None) -> "Driver | None":
        """The driver that the tag names; None when it names none (an unreadable one is nobody's)."""
        try:
            plain = json.loads(value or "null")
            return cls(**plain) if plain else None
        except (ValueError, TypeError):
            return None

    @classmethod
    def myself(cls) -> "Driver":
        """This process, with a fresh token."""
        now = time.time()
        pid = os.getpid()
        return cls(socket.gethostname(), machine(), pid, birth(pid), uuid.uuid4().hex, now, now)

    def alive(self, now: float) -> bool:
        """Whether this driver still runs, as far as can be known from here."""
        if self.machine == machine():
            return birth(self.pid) == self.born != ""
        return abs(now - self.seen) < STALE

    def __str__(self) -> str:
        ago = max(time.time() - self.seen, 0.0)
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host} since {since}, last seen {ago:.0f} s ago"


def machine() -> str:
    """What two processes share exactly when they can see each other's process ids: host, boot and pid namespace."""
    parts = [socket.gethostname()]
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if boot.exists():
        parts += [boot.read_text().strip(), os.readlink(namespace)]
    return " ".join(parts)


def birth(pid: int) -> str:
    """When process `pid` started, in the system's own words; empty when there is no such process."""
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        return "running" if _exists(pid) else ""
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Lease:
    """The right to write to one study, or `what` else it is, held until it is released or its holder dies."""

    def __init__(
        self, client: MlflowClient, run_id: str, write: Callable[[str], None], what: str = "study"
    ) -> None:
        self._what = what
        self._client = client
        self._run_id = run_id
        self._write = write
        self._me = Driver.myself()

    def _holder(self) -> Driver | None:
        return Driver.from_tag(self._client.get_run(self._run_id).data.tags.get(schema.DRIVER))

    def acquire(self, *, settle: float = SETTLE) -> None:
        """Take it.

        Raises:
            StudyError: when another driver has it, or wins the race for it.
        """
        holder = self._holder()
        if holder is not None and not self._was_me(holder) and holder.alive(time.time()):
            raise self._taken(holder)
        self._write(self._me.to_tag())
        if holder is not None:
            time.sleep(settle)
        winner = self._holder()
        if winner is None or winner.token != self._me.token:
            raise self._taken(winner)

    def _was_me(self, holder: Driver) -> bool:
        """An earlier driver in this very process: it has ended, since the journal is held by this one."""
        return (holder.machine, holder.pid, holder.born) == (
            self._me.machine,
            self._me.pid,
            self._me.born,
        )

    def renew(self) -> None:
        """Say that this driver lives.

        Raises:
            StudyError: when another driver has taken the study meanwhile.
        """
        holder = self._holder()
        if holder is not None and holder.token != self._me.token:
            raise self._taken(holder)
        self._me = replace(self._me, seen=time.time())
        self._write(self._me.to_tag())

    def release(self) -> None:
        """Let the next driver in at once, unless one has taken the study already."""
        holder = self._holder()
        if holder is not None and holder.token == self._me.token:
            self._write("")

    def _taken(self, holder: Driver | None) -> StudyError:
        said = (
            f"{self._what} {self._run_id} is being run by another driver ({holder or 'unknown'}); wait until it ends "
            "or stop it with Ctrl-C"
        )
        if holder is not None and holder.machine == machine():
            return StudyError(said)  # whether its process lives is known here
        left = "" if holder is None else f"in {max(holder.seen + STALE - time.time(), 1.0):.0f} s, "
        return StudyError(
            f"{said}; if it was killed there, try again {left}when nothing was heard of it for {STALE:.0f} s"
        )
