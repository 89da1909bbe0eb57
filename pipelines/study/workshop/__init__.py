"""The workers of one session, and the exchange between them and the driver."""

import fcntl
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from threadpoolctl import threadpool_limits

from hpo.errors import UserError
from hpo.loop import Stop, StopLevel
from hpo.trial import Report
from hpo.workers import Executor
from hpo.workers.cores import WorkerPlan
from hpo.workers.leftovers import LOCK, sweep_folders
from hpo.workers.pool import WorkerPool
from hpo.workers.remote.host import HostSetup
from pipelines.files.cache import cache_dir, make_private
from pipelines.files.clock import session_began
from pipelines.files.exchange import Exchange
from pipelines.study.workshop.clusters import Cluster
from pipelines.study.workshop.relay import PublishedExchange, Relay, Relayed, collected

PREFIX = "mlflow-warmstart-"
POLL = 0.2  # seconds between looks at the user's requests

_KEPT = 30 * 86400.0  # seconds


class Pool(Executor[Any, Report], AbstractContextManager["Pool"], Protocol):
    """An executor that can be shut down."""

    def shutdown(self, now: bool = False) -> None:
        """End the workers; `now` does not wait for running jobs."""
        ...


@dataclass(frozen=True)
class Worker:
    """What runs in a worker process.

    Attributes:
        make: importable; makes of the worker's exchange what turns a job into a report.
        preload: modules that are imported before the first job.
    """

    make: Callable[[Exchange], Callable[[Any], Report]]
    preload: tuple[str, ...] = ()


@dataclass(frozen=True)
class Workshop:
    """Where the jobs of a session run.

    Attributes:
        pool: the executor of the search.
        exchange: shared with the workers.
        worker_plan: of that executor.
        open_pool: opens a further pool of the same kind of workers.
        cluster: the name of the cluster that runs the workers; empty for this machine.
        shares_disk: whether the workers see the folders of this machine.
        opened: when the session began (`pipelines.files.clock`).
    """

    pool: Pool
    exchange: Exchange
    worker_plan: WorkerPlan
    open_pool: Callable[[WorkerPlan], Pool]
    cluster: str = ""
    shares_disk: bool = True
    opened: float = field(default_factory=session_began)


@contextmanager
def workshop(
    worker: Worker, worker_plan: WorkerPlan, cluster: Cluster | None = None
) -> Iterator[Workshop]:
    """Start workers, which import their libraries while the driver reads its input.

    They are processes of this machine, or run on a cluster.

    The driver's linear algebra has one thread meanwhile: the workers have the cores, and BLAS
    threads that wait for each other on busy cores take many times as long as a single one.

    Raises:
        UserError: when the folders cannot be written.
    """
    sweep()
    with _folder() as folder, threadpool_limits(1, user_api="blas"):
        if cluster is None:
            with _here(worker, worker_plan, folder) as shop:
                yield shop
            return
        with _elsewhere(worker, worker_plan, folder, cluster) as shop:
            yield shop


@contextmanager
def _here(worker: Worker, worker_plan: WorkerPlan, folder: Path) -> Iterator[Workshop]:
    """Workers that are processes of this machine."""
    log, pools = worker_log(), list[WorkerPool[Exchange, Any, Report]]()

    def open_pool(wanted: WorkerPlan) -> Pool:
        pools.append(_workers(worker, wanted, folder))
        return pools[-1]

    named = True
    try:
        with open_pool(worker_plan) as pool:
            yield Workshop(pool, Exchange(str(folder)), worker_plan, open_pool)
        named = any(pool.log_is_named for pool in pools)
    finally:  # a log with content is left where an error or a failed trial names it
        if not named or not (log.exists() and log.stat().st_size):
            log.unlink(missing_ok=True)


@contextmanager
def _elsewhere(
    worker: Worker, worker_plan: WorkerPlan, folder: Path, cluster: Cluster
) -> Iterator[Workshop]:
    """Workers on the machines of a cluster."""

    def open_pool(wanted: WorkerPlan) -> Pool:
        session = secrets.token_hex(8)
        setup = HostSetup(
            session, Relayed(worker.make), wanted.threads, worker.preload, collect=collected
        )
        return Relay(cluster.open_pool(setup, wanted), folder)

    exchange = PublishedExchange(str(folder), shelf=cluster.shelf)
    with open_pool(worker_plan) as pool:
        yield Workshop(pool, exchange, worker_plan, open_pool, cluster.title, cluster.shares_disk)


def wait_for(future: "Future[Report]", stop: Stop) -> bool:
    """Wait for a job; False when the user wants to stop now."""
    while stop.level < StopLevel.NOW:
        if wait([future], timeout=POLL).done:
            return True
    return False


def _workers(
    worker: Worker, worker_plan: WorkerPlan, folder: Path
) -> WorkerPool[Exchange, Any, Report]:
    return WorkerPool(
        worker.make,
        Exchange(str(folder)),
        workers=worker_plan.workers,
        threads=worker_plan.threads,
        preload=list(worker.preload),
        log=worker_log(),
    )


def worker_log() -> Path:
    """Where the workers of this process print to."""
    folder = cache_dir() / "workers"
    try:
        make_private(folder)
    except OSError as error:
        raise UserError(
            f"cannot write {folder} ({error.strerror}); set HPO_CACHE_DIR to a directory that can "
            "be written"
        ) from error
    return folder / f"{os.getpid()}.log"


@contextmanager
def _folder() -> Iterator[Path]:
    """A temporary folder whose lock says, as long as this process lives, that it is in use."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UserError(
            f"cannot write {tempfile.gettempdir()} ({error.strerror}), where the encoded table is "
            "stored; free space, or set TMPDIR to a directory that can be written"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def sweep() -> None:
    """Remove what drivers have left that were killed: encoded tables, and logs.

    A log with content is kept for a while, because a message may name it.
    """
    sweep_folders(PREFIX)
    for log in (cache_dir() / "workers").glob("*.log"):
        with suppress(OSError, ValueError):
            old = time.time() - log.stat().st_mtime > _KEPT or not log.stat().st_size
            if old and not Path(f"/proc/{int(log.stem)}").exists():
                log.unlink()
