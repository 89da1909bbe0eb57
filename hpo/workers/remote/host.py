"""The host: a process on a machine of the cluster that supervises one worker process there."""

import os
import pickle
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from hpo.errors import JobError, PoolBroken, TimeLimitExceeded, WorkerDied
from hpo.workers.pool import WorkerPool
from hpo.workers.remote.folder import Files, NodeFolder
from hpo.workers.worker import raised

_LOG_BYTES = 1 << 20  # the log of a worker is emptied between two jobs when it is longer
_TAIL = 500  # characters of the log that a message quotes


class Place(NamedTuple):
    """Where a worker runs.

    Attributes:
        shared: the folder with what `RemotePool.share` has sent to all workers.
        own: a folder of this worker alone.
    """

    shared: Path
    own: Path


@dataclass(frozen=True)
class HostSetup:
    """What a host is started with.

    Attributes:
        session: names the folder that hosts on one machine share.
        make_evaluate: importable; called with the worker's `Place` in its process, returns the
            callable that evaluates the jobs.
        threads: of the worker.
        preload: modules that are imported before the first job.
        env: additional environment variables of the worker.
        check: is called before anything else; returns why the machine cannot be used, or "".
        collect: is called with the worker's `Place` after each job, whatever became of it, in the
            process that supervises the worker; what it returns travels with the answer.
    """

    session: str
    make_evaluate: Callable[[Place], Callable[[Any], Any]]
    threads: int
    preload: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[], str] | None = None
    collect: Callable[[Place], Any] | None = None


class Answer(NamedTuple):
    """What became of a job, as plain values: not every exception survives pickling.

    Attributes:
        error: the name of its exception; "" for a result.
        value: the pickled result, or the arguments of the exception.
        collected: what `HostSetup.collect` has returned.
    """

    error: str
    value: Any
    collected: Any = None

    @classmethod
    def of(cls, error: JobError | TimeLimitExceeded) -> "Answer":
        """The answer for an exception."""
        if isinstance(error, JobError):
            return cls("JobError", (error.kind, error.message, error.traceback))
        return cls(type(error).__name__, (str(error),))

    def outcome(self) -> tuple[bool, Any]:
        """Whether it is a result; the result, or the exception."""
        if self.error:
            return False, _ERRORS[self.error](*self.value)
        try:
            return True, pickle.loads(self.value)
        except Exception as error:  # unpickling runs code of the result, and fails this job only
            return False, JobError(*raised(error))


_ERRORS: dict[str, Callable[..., Exception]] = {
    "JobError": JobError,
    "TimeLimitExceeded": TimeLimitExceeded,
    "WorkerDied": WorkerDied,
    "PoolBroken": PoolBroken,
}


class UnfitError(Exception):
    """A machine that cannot run workers."""


class Host:
    """Runs one job at a time, in a worker process that it replaces when it ends.

    Raises:
        UnfitError: when the machine cannot be used.
    """

    def __init__(self, setup: HostSetup) -> None:
        if setup.check is not None and (why := setup.check()):
            raise UnfitError(f"{socket.gethostname()}: {why}")
        self.folder = NodeFolder(setup.session)
        self._place = Place(self.folder.shared, self.folder.own)
        self._collect = setup.collect
        self._log = self.folder.own / "log"
        self._hint = f"; what it printed is in {self._log}"
        self._pool: WorkerPool[Place, Any, Any] = WorkerPool(
            setup.make_evaluate,
            self._place,
            workers=1,
            threads=setup.threads,
            preload=setup.preload,
            env=setup.env,
            log=self._log,
        )

    @property
    def name(self) -> str:
        """The machine, for messages."""
        return socket.gethostname()

    def receive(self, name: str, files: Files) -> None:
        """Store shared content, unless it is on this machine already."""
        self.folder.receive(name, files)

    def run(self, job: bytes, time_limit: float | None) -> Answer:
        """Run a pickled job, wait for it, and collect what it has left."""
        self._shorten_log()
        answer = self._answer(job, time_limit)
        if self._collect is None:
            return answer
        try:
            return answer._replace(collected=self._collect(self._place))
        except Exception as error:  # such as a full disk
            return Answer("JobError", tuple(raised(error)))

    def _answer(self, job: bytes, time_limit: float | None) -> Answer:
        try:
            loaded = pickle.loads(job)
        except Exception as error:  # unpickling runs code of the job, and fails this job only
            return Answer("JobError", tuple(raised(error)))
        try:
            result = self._pool.submit(loaded, time_limit).result()
        except (WorkerDied, PoolBroken) as error:
            return Answer(type(error).__name__, (self._told(str(error)),))
        except (JobError, TimeLimitExceeded) as error:
            return Answer.of(error)
        try:
            return Answer("", pickle.dumps(result, pickle.HIGHEST_PROTOCOL))
        except Exception as error:
            return Answer("JobError", tuple(raised(error)))

    def close(self) -> None:
        """End the worker, and delete its files."""
        self._pool.shutdown(now=True)
        self.folder.close()

    def _told(self, message: str) -> str:
        """The message with the machine and the end of the log, instead of a path there."""
        try:
            printed = self._log.read_text(errors="replace")[-_TAIL:].strip()
        except OSError:
            printed = ""
        said = f"; it printed last: {printed}" if printed else ""
        return f"{message.replace(self._hint, '')} (on {self.name}{said})"

    def _shorten_log(self) -> None:
        """Jobs that print for days fill no disk."""
        try:
            if self._log.stat().st_size > _LOG_BYTES:
                os.truncate(self._log, 0)
        except OSError:
            return
