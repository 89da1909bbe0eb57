"""How many cores this process may use, how workers share them, and the environment that tells their libraries so."""

import contextlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hpo.errors import ParameterError

_HIDDEN = "MLFLOW_"  # a worker that sees the run id becomes the parent run; nor does it need tracking secrets
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


@dataclass(frozen=True)
class WorkerPlan:
    """How the cores are shared out; `workers` 0 means in this process."""

    workers: int
    threads: int


def plan_threads(workers: int | None = None, cores: int | None = None) -> WorkerPlan:
    """Share the cores among the workers so that workers × threads never exceeds them.

    Args:
        workers: how many, 0 for none beside this process; None means one per core, which wastes
            least: a trial takes as many CPU seconds with one thread as with two.
        cores: how many there are; None means `available_cores()`.

    Raises:
        ParameterError: `workers` is negative or exceeds the cores.
    """
    cores = available_cores() if cores is None else cores
    workers = cores if workers is None else workers
    if workers < 0:
        raise ParameterError(
            f"workers must be 0 or more, but got {workers}; leave it out for one per core"
        )
    if workers > cores:
        raise ParameterError(
            f"workers={workers} exceeds the {cores} core(s) that this process may use; "
            f"take workers={cores} or fewer, or leave it out for one per core"
        )
    return WorkerPlan(workers, cores // max(workers, 1))


def available_cores() -> int:
    """Cores that this process may use: its CPU affinity and the quota of its control groups, at least 1."""
    affinity = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, int(min([float(affinity), *_cgroup_quotas(Path("/"))])))


def _cgroup_quotas(root: Path) -> list[float]:
    """CPU limits, in cores, of this process's control groups and those above (version 2, then 1)."""
    with contextlib.suppress(OSError):
        lines = (root / "proc/self/cgroup").read_text().splitlines()
        groups = {kind: path for _, kind, path in (line.split(":", 2) for line in lines)}
        v1 = next((path for kinds, path in groups.items() if "cpu" in kinds.split(",")), "/")
        return [
            *_quotas(root / "sys/fs/cgroup", groups.get("", "/"), _quota_v2),
            *_quotas(root / "sys/fs/cgroup/cpu", v1, _quota_v1),
        ]
    return []


def _quotas(mount: Path, group: str, read: Callable[[Path], tuple[str, str]]) -> list[float]:
    found = []
    folder = mount / group.strip("/")
    for place in (folder, *folder.parents):
        if not place.is_relative_to(mount):
            break
        with contextlib.suppress(OSError, ValueError):
            quota, period = map(int, read(place))  # "max" is no number: no limit
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
    """The environment of the workers: `base` without MLflow's variables, with the threads, then `env`.

    OpenMP threads that wait must not spin: on shared cores LightGBM takes 40 times as long
    otherwise. Nor may each process bind its threads to the same first cores.
    """
    kept = {name: value for name, value in base.items() if not name.startswith(_HIDDEN)}
    planned = dict.fromkeys(_THREAD_VARIABLES, str(threads))
    return kept | planned | {"OMP_WAIT_POLICY": "PASSIVE", "OMP_PROC_BIND": "FALSE"} | dict(env)
