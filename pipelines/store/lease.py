"""The lease of a study: a tag with its driver, so that no second driver runs the same study.

A driver renews the tag regularly, on a thread of its own. It counts as dead when its process has
ended (on this machine), or when its tag is old and does not change for `WATCH` seconds (on another
machine, whose clock may be wrong). When two drivers take over the study of a dead one, each writes
its own token, waits, and reads the tag again.

The token is also a fence. A driver may be frozen for an hour, or its server may answer after a
minute, so that another driver takes its study. Therefore the tag is read again before data is
written, and a driver that does not find its own token there writes nothing and ends.
"""

import json
import logging
import math
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hpo.errors import TakenError

logger = logging.getLogger(__name__)

STALE = 60.0  # seconds
WATCH = 20.0  # seconds, more than between two heartbeats
SETTLE = 0.3  # seconds between writing a token and reading it again
FROZEN = 5.0  # seconds without a tick of a thread that ticks every second
FRESH = 1.0  # seconds for which a token that was read counts as that of the study


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

    @property
    def is_here(self) -> bool:
        """Whether it is a process that this process can see."""
        return self.machine == machine()

    def alive(self, now: float) -> bool:
        """Whether this driver still runs, as far as this process can know."""
        if self.is_here:
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


def seconds_with_sleep() -> float:
    """A clock that, unlike the monotonic one, counts the time in which the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """The right to write to one study.

    Args:
        run_id: of the study.
        read: the value of the tag now; None if there is none.
        write: sets the tag.
        what: the kind of run, for messages.
        clock: seconds since some moment.
    """

    def __init__(
        self,
        run_id: str,
        read: Callable[[], str | None],
        write: Callable[[str], None],
        what: str = "study",
        clock: Callable[[], float] = seconds_with_sleep,
    ) -> None:
        self._what = what
        self._run_id = run_id
        self._read = read
        self._write = write
        self._clock = clock
        self._me = Driver.myself()
        self._held_at = -math.inf
        self._took_over = False

    def acquire(self, *, settle: float = SETTLE, watch: float | None = None) -> None:
        """Take the lease. A dead driver is replaced.

        Raises:
            TakenError: when another driver has the lease, or takes it at the same time.
        """
        holder = self._holder()
        watch = WATCH if watch is None else watch
        if holder is not None and self._is_active(holder, watch):
            raise self._taken(holder)
        self._took_over = holder is not None
        self._write(self._me.to_tag())
        if holder is not None:
            time.sleep(settle)
        winner = self._holder()
        if winner is None or winner.token != self._me.token:
            raise self._taken(winner)

    @property
    def took_over(self) -> bool:
        """Whether the driver before this one did not give the lease up."""
        return self._took_over

    @property
    def token(self) -> str:
        """Identifies this driver."""
        return self._me.token

    def renew(self) -> None:
        """Store that this driver is alive.

        Raises:
            TakenError: when another driver has taken the lease.
        """
        self._read_and_check()
        self._me = replace(self._me, seen=time.time())
        self._write(self._me.to_tag())

    def verify(self) -> None:
        """Read the tag, unless that was done in the last second.

        Raises:
            TakenError: when another driver has taken the lease.
        """
        if self._clock() - self._held_at >= FRESH:
            self._held_at = self._read_and_check()

    def _read_and_check(self) -> float:
        """Check the tag, and return when it began to be read.

        A driver that is frozen while it reads has an old answer when it goes on, and reads again.
        """
        while True:
            began = self._clock()
            self.check(self._read())
            if self._clock() - began < STALE / 2:
                return began

    def check(self, value: str | None) -> None:
        """Check that a value of the tag is that of this driver.

        An empty one means that another driver has taken the study and finished.

        Raises:
            TakenError: when it is not.
        """
        holder = Driver.from_tag(value)
        if holder is None or holder.token != self._me.token:
            other = f"driver ({holder})" if holder else "driver, which has ended"
            raise TakenError(
                f"{self._what} {self._run_id} was taken over by another {other}, so this one stops "
                "and writes nothing more"
            )

    def release(self) -> None:
        """Give the lease up, unless another driver has taken it already."""
        holder = self._holder()
        if holder is not None and holder.token == self._me.token:
            self._write("")

    def _holder(self) -> Driver | None:
        return Driver.from_tag(self._read())

    def _is_active(self, holder: Driver, watch: float) -> bool:
        """Whether the holder still runs the study.

        An earlier driver of this process has ended, because this driver has locked the journal.
        """
        if self._me.is_same_process(holder):
            return False
        return holder.alive(time.time()) or (not holder.is_here and self._moves(holder, watch))

    def _moves(self, holder: Driver, watch: float) -> bool:
        """Whether the tag changes while it is watched."""
        end = time.monotonic() + watch
        while time.monotonic() < end:
            time.sleep(min(watch / 10, 1.0))
            if self._holder() != holder:
                return True
        return False

    def _taken(self, holder: Driver | None) -> TakenError:
        message = (
            f"{self._what} {self._run_id} is being run by another driver ({holder or 'unknown'}); "
            "wait until it ends or stop it with Ctrl-C"
        )
        if holder is None:
            return TakenError(
                f"{message}; if it was killed, try again after {STALE:.0f} s without a sign of it"
            )
        if holder.is_here:
            return TakenError(message)  # its process is known to run
        left = max(holder.seen + STALE - time.time(), 1.0)
        return TakenError(
            f"{message}; if it was killed, try again in {left:.0f} s: a driver that has not "
            f"renewed its lease for {STALE:.0f} s counts as dead"
        )


class Heart:
    """A thread that renews a lease, whatever the driver and its writer wait for.

    Args:
        renew: renews the lease.
        lost: called once with the error if the lease is lost for good.
        pause: seconds between two beats.
        clock: seconds since some moment.
    """

    def __init__(
        self,
        renew: Callable[[], None],
        lost: Callable[[BaseException], None],
        pause: float,
        clock: Callable[[], float] = seconds_with_sleep,
    ) -> None:
        self._renew = renew
        self._lost = lost
        self._pause = pause
        self._clock = clock
        self._ticked: float | None = clock()  # None during a beat
        self._was_frozen = False
        self._stopped = threading.Event()
        threading.Thread(target=self._run, name="mlflow-heartbeat", daemon=True).start()

    @property
    def was_frozen(self) -> bool:
        """Whether the process did not run for a while, and has not renewed its lease since."""
        ticked = self._ticked
        return self._was_frozen or (ticked is not None and self._clock() - ticked > FROZEN)

    def stop(self) -> None:
        """Beat no more. A beat that waits for the store is not waited for."""
        self._stopped.set()

    def _wait(self) -> bool:
        """Wait for the next beat, or until the process was frozen; False when it is stopped."""
        end = self._clock() + self._pause
        while (now := self._clock()) < end:
            self._ticked = now
            if self._stopped.wait(min(end - now, 1.0)):
                return False
            if self.was_frozen:
                self._was_frozen = True
                break
        return True

    def _run(self) -> None:
        while self._wait():
            self._ticked = None
            try:
                self._renew()
                self._was_frozen = False
            except TakenError as error:
                self._lost(error)
                return
            except Exception as error:  # noqa: BLE001  (the store may answer the next beat)
                logger.debug("the lease was not renewed: %s", error)
