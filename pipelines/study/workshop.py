"""The workers of one session and the folder that they share with the driver."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from threadpoolctl import threadpool_limits

from hpo.errors import UserError
from hpo.loop import Job
from hpo.trial import Report
from hpo.workers.cores import WorkerPlan
from hpo.workers.executors import WorkerPool
from pipelines.files.cache import cache_dir
from pipelines.models import ALL, BASELINES, FAMILIES
from pipelines.objectives.table import Baseline, Objective, Part, Rebuild, Refit

Pool = WorkerPool[str, Job | Baseline | Rebuild | Refit | Part, Report]

PREFIX = "mlflow-warmstart-"
_LOCK = "in-use"
_YOUNG = 60.0  # seconds in which a folder may not have its lock yet


@dataclass(frozen=True)
class Workshop:
    """Worker processes and the folder they share with the driver."""

    pool: Pool
    folder: Path


@contextmanager
def workshop(model: str, hands: WorkerPlan) -> Iterator[Workshop]:
    """Workers that import their libraries while the driver reads the table; everything is gone afterwards.

    The driver's linear algebra has one thread meanwhile: the workers have the cores, and BLAS
    threads that wait for each other on busy cores take many times as long as a single one.

    Raises:
        UserError: when the folders cannot be written.
    """
    sweep()
    with _folder() as folder, threadpool_limits(1, user_api="blas"):
        log = worker_log()
        try:
            with workers(model, hands, folder) as pool:
                yield Workshop(pool, folder)
        except BaseException:
            if not (log.exists() and log.stat().st_size):
                log.unlink(missing_ok=True)
            raise  # a log that says something is kept: the errors name it
        log.unlink(missing_ok=True)


def workers(model: str, hands: WorkerPlan, folder: Path) -> Pool:
    """Workers with the libraries of `model`, which take their jobs' data from `folder`."""
    families = [*FAMILIES] if model == ALL else [model]
    places = [{**FAMILIES, **BASELINES}[name].partition(":")[0] for name in (*families, *BASELINES)]
    return WorkerPool(
        Objective,
        str(folder),
        workers=hands.workers,
        threads=hands.threads,
        preload=["pipelines.objectives.table", *dict.fromkeys(places)],
        log=worker_log(),
    )


def worker_log() -> Path:
    """Where the workers of this process print to."""
    folder = cache_dir() / "workers"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot write {folder} ({error.strerror}); set HPO_CACHE_DIR to a directory that can be written"
        ) from error
    return folder / f"{os.getpid()}.log"


@contextmanager
def _folder() -> Iterator[Path]:
    """A temporary folder whose lock says, as long as this process lives, that it is in use."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UserError(
            f"cannot write {tempfile.gettempdir()} ({error.strerror}), where the encoded table goes; free space or set "
            "TMPDIR to a directory that can be written"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def sweep() -> None:
    """Remove the folders of drivers that were killed: they hold encoded tables."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # somebody else's, or gone
            if time.time() - folder.stat().st_mtime > _YOUNG and not _in_use(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _in_use(folder: Path) -> bool:
    """Whether the process that made the folder lives, in whatever container."""
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
