"""The cores that this process may use, and how the workers share them."""

import contextlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hpo.errors import ParameterError, counted

_HIDDEN = "MLFLOW_"  # a worker with the run id would act as the parent run
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


@dataclass(frozen=True)
class WorkerPlan:
    """Worker processes, and threads of each; 0 workers means that jobs run in this process.

    Attributes:
        workers: how many, at the start.
        threads: of each.
        fixed: whether there are as many throughout, and not as many as a cluster has room for.
    """

    workers: int
    threads: int
    fixed: bool = True

    def __str__(self) -> str:
        return f"{counted(self.workers, 'worker')} × {counted(self.threads, 'thread')}"


def plan_threads(workers: int | None = None, cores: int | None = None) -> WorkerPlan:
    """Divide the cores among the workers, so that workers × threads never exceeds them.

    Args:
        workers: how many processes; 0 runs jobs in this process; None means one per core, which is
            the most efficient, because two threads take more CPU seconds for a trial than one.
        cores: how many cores there are; None means `available_cores()`.

    Raises:
        ParameterError: when `workers` is negative or exceeds the cores.
    """
    cores = available_cores() if cores is None else cores
    workers = cores if workers is None else workers
    if workers < 0:
        raise ParameterError(
            f"workers must be 0 or more, but got {workers}; leave it out for one per core"
        )
    if workers > cores:
        raise ParameterError(
            f"workers={workers} exceeds the {counted(cores, 'core')} that this process may use; "
            f"take workers={cores} or fewer, or leave it out for one per core"
        )
    return WorkerPlan(workers, cores // max(workers, 1))


def available_cores() -> int:
    """The cores that CPU affinity and control groups allow this process to use, at least 1."""
    affinity = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, int(min([float(affinity), *_cgroup_quotas(Path("/"))])))


def _cgroup_quotas(root: Path) -> list[float]:
    """CPU limits, in cores, of this process's control groups and their ancestors (v2, then v1)."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    v2 = v1 = "/"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            v2 = path
        elif "cpu" in controllers.split(","):
            v1 = path
    return [
        *_quotas(root / "sys/fs/cgroup", v2, _quota_v2),
        *_quotas(root / "sys/fs/cgroup/cpu", v1, _quota_v1),
    ]


def _quotas(mount: Path, group: str, read: Callable[[Path], tuple[str, str]]) -> list[float]:
    """The limits of a control group and of those above it, up to the mount point."""
    found = []
    names = Path(group.strip("/")).parts
    for depth in range(len(names), -1, -1):
        with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
            quota, period = map(int, read(mount.joinpath(*names[:depth])))
            if quota > 0:
                found.append(quota / period)
    return found


def _quota_v2(folder: Path) -> tuple[str, str]:
    quota, period = (folder / "cpu.max").read_text().split()
    return quota, period


def _quota_v1(folder: Path) -> tuple[str, str]:
    return (folder / "cpu.cfs_quota_us").read_text(), (folder / "cpu.cfs_period_us").read_text()


def worker_environment(
    threads: int, env: Mapping[str, str], base: Mapping[str, str]
) -> dict[str, str]:
    """The environment of the workers: `base` without MLflow's variables, thread settings, `env`.

    Waiting OpenMP threads must not spin: with spinning threads on shared cores, LightGBM takes 40
    times as long. Processes must not bind their threads, or all would use the same first cores.
    """
    inherited = {name: value for name, value in base.items() if not name.startswith(_HIDDEN)}
    planned = dict.fromkeys(_THREAD_VARIABLES, str(threads))
    openmp = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_PROC_BIND": "FALSE"}
    return inherited | planned | openmp | dict(env)
