"""Workers in Slurm jobs, by submitit: an array of long-lived jobs that dial back to the driver."""

import contextlib
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import submitit

from hpo.errors import ParameterError, PoolBroken, UserError, closest
from hpo.workers.remote.dial import Line, Switchboard, serve
from hpo.workers.remote.fleet import Event, Lost, Order, Shelf
from hpo.workers.remote.host import HostSetup
from hpo.workers.remote.pool import RemotePool

LOCAL = "local"
CLUSTER = "cluster"  # the one setting that is not Slurm's
SETTINGS = (
    "account",
    "comment",
    "constraint",
    "cpus_per_task",
    "exclude",
    "gpus_per_node",
    "gres",
    "job_name",
    "mem",
    "mem_per_cpu",
    "nodelist",
    "partition",
    "qos",
    "time",
)
_MINUTES = 240  # of a job, after which Slurm starts it again
_FAREWELL = 3.0  # seconds for workers to delete their files
_TAIL = 300  # characters of what a job printed that a message quotes


def check_settings(settings: Mapping[str, Any]) -> None:
    """Check what Slurm is to be asked for.

    Raises:
        ParameterError: for an unknown name, or a value that is neither a number nor one line.
    """
    for name, value in settings.items():
        if name == CLUSTER and value not in ("slurm", LOCAL):
            raise ParameterError(
                f"slurm: cluster={value!r} must be slurm, or local to try the jobs on this machine"
            )
        if name not in (CLUSTER, *SETTINGS):
            raise ParameterError(
                f"slurm: unknown setting {name!r}{closest(str(name), SETTINGS)}; settings: "
                f"{', '.join((*SETTINGS, CLUSTER))}"
            )
        plain = isinstance(value, str | int | float) and not isinstance(value, bool)
        if not plain or not str(value).isprintable() or not str(value).strip():
            raise ParameterError(f"slurm: {name}={value!r} must be a number or one line of text")


@dataclass(frozen=True)
class Dial:
    """What a Slurm job runs: a host that takes jobs from the driver."""

    line: Line
    serial: int
    setup: HostSetup

    def __call__(self) -> None:
        """Serve until the driver hangs up."""
        serve(self.line, self.serial, self.setup)

    def checkpoint(self, *_: Any) -> Any:
        """What Slurm starts again after a preemption or at the end of the job's time."""
        return submitit.helpers.DelayedSubmission(self)


@dataclass
class SlurmCluster:
    """Slurm, with what its jobs are to ask for.

    Attributes:
        settings: by `SETTINGS`.
        folder: on a disk that all nodes see, for the scripts and the output of the jobs.
        shelf: what all workers have.
    """

    settings: Mapping[str, Any]
    folder: Path
    shelf: Shelf = field(default_factory=Shelf)

    @property
    def is_local(self) -> bool:
        """Whether jobs are processes of this machine."""
        return self.settings.get(CLUSTER) == LOCAL

    def check(self) -> None:
        """Check that jobs can be submitted here.

        Raises:
            UserError: when they cannot.
        """
        if not self.is_local and shutil.which("sbatch") is None:
            raise UserError(
                "executor=slurm: there is no sbatch on this machine; run tune on a login node of "
                "the cluster, or try it with slurm={'cluster': 'local'}"
            )
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot write {self.folder} ({error.strerror}), where the jobs of Slurm are "
                "described; set HPO_CACHE_DIR to a folder that all nodes see"
            ) from error

    def open_pool(self, setup: HostSetup, *, workers: int, threads: int) -> "RemotePool[Any, Any]":
        """A pool of Slurm jobs."""
        return RemotePool(
            lambda events: SlurmFleet(self, setup, workers, threads, events), self.shelf
        )


class SlurmFleet:
    """Jobs of one pool.

    A job that Slurm ends and starts again dials again under its number; only one that has ended for
    good is replaced.

    Args:
        cluster: where they run.
        setup: of each.
        workers: how many.
        threads: of each.
        events: what they report.
    """

    def __init__(
        self,
        cluster: SlurmCluster,
        setup: HostSetup,
        workers: int,
        threads: int,
        events: "SimpleQueue[Event]",
    ) -> None:
        self._setup = setup
        self._workers = workers
        self._events = events
        self._jobs: dict[int, Any] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="jobs-", dir=cluster.folder))  # the user's own
        self._board = Switchboard(events, "127.0.0.1" if cluster.is_local else "")
        key = self._folder / "key"
        with open(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(self._board.key)
        addresses = ("127.0.0.1",) if cluster.is_local else _addresses()
        self._line = Line(addresses, self._board.port, key)
        self._executor = submitit.AutoExecutor(
            self._folder, cluster=LOCAL if cluster.is_local else "slurm"
        )
        self._executor.update_parameters(**_parameters(cluster, threads))

    def missing(self, present: int) -> int:
        """Those whose jobs have ended for good."""
        for serial, job in list(self._jobs.items()):
            if job.done() and not self._board.connected(serial):
                del self._jobs[serial]
                self._events.put(Lost(serial, _last_words(job)))
        return max(self._workers - len(self._jobs), 0)

    def start(self, serials: Sequence[int]) -> None:
        """Submit jobs, as one array.

        Raises:
            PoolBroken: when Slurm refuses them.
        """
        try:
            with _shielded(), self._executor.batch():
                submitted = [
                    self._executor.submit(Dial(self._line, serial, self._setup))
                    for serial in serials
                ]
        except (submitit.core.utils.FailedJobError, OSError) as error:
            raise PoolBroken(f"Slurm refuses the jobs: {str(error).strip()[-_TAIL:]}") from error
        self._jobs.update(zip(serials, submitted, strict=True))

    def send(self, serial: int, order: Order) -> None:
        """Send a job of the study to a Slurm job."""
        self._board.send(serial, order)

    def stop(self, serial: int) -> None:
        """Cancel a Slurm job."""
        self._board.hang_up(serial)
        if job := self._jobs.pop(serial, None):
            _cancel(job)

    def end(self, busy: Collection[int]) -> None:
        """Let the hosts end, and cancel those that do not."""
        self._board.close()
        end = time.monotonic() + _FAREWELL
        while time.monotonic() < end and not all(_over(job) for job in self._jobs.values()):
            time.sleep(0.05)
        for serial in list(self._jobs):
            self.stop(serial)
        shutil.rmtree(self._folder, ignore_errors=True)

    def waiting_for(self) -> str:
        """What the jobs need."""
        return "Slurm to start one of its jobs (see squeue)"


@contextlib.contextmanager
def _shielded() -> Iterator[None]:
    """Processes that this thread starts meanwhile never see Ctrl-C, which is for the driver.

    Without it, a Ctrl-C in the terminal also ends `sbatch`, and the jobs of submitit's local
    executor, which print a traceback.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # children inherit it
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _parameters(cluster: SlurmCluster, threads: int) -> dict[str, Any]:
    """The settings in submitit's words."""
    given = {name: value for name, value in cluster.settings.items() if name != CLUSTER}
    if cluster.is_local:
        return {"timeout_min": int(given.get("time", _MINUTES))}
    plain = {"cpus_per_task": threads, "time": _MINUTES, "job_name": "mlflow-warmstart"} | given
    return {f"slurm_{name}": value for name, value in plain.items()}


def _addresses() -> tuple[str, ...]:
    """Names and addresses by which other machines may reach this one, the likeliest first."""
    found = [socket.getfqdn(), socket.gethostname()]
    with contextlib.suppress(OSError):
        found += [str(each[4][0]) for each in socket.getaddrinfo(found[1], None, socket.AF_INET)]
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # nothing is sent; the system only chooses an address
        found.append(str(probe.getsockname()[0]))
    return tuple(dict.fromkeys(each for each in found if not each.startswith("127.")))


def _over(job: Any) -> bool:
    with contextlib.suppress(Exception):  # sacct may not answer
        return bool(job.done())
    return False


def _cancel(job: Any) -> None:
    with contextlib.suppress(Exception):  # it has ended
        job.cancel(check=False)


def _last_words(job: Any) -> str:
    """Why a Slurm job has ended, in one line."""
    with contextlib.suppress(Exception):
        lines = [line for line in (job.stderr() or "").splitlines() if line.strip()]
        return f"Slurm job {job.job_id} has ended ({job.state}): {lines[-1][:_TAIL]}"
    return f"Slurm job {job.job_id} has ended"
