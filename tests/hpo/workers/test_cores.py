"""Plans of workers and threads, and the cores that a process may use."""

import os
from pathlib import Path

import pytest

from hpo.errors import ParameterError
from hpo.workers.cores import WorkerPlan, available_cores, plan_threads
from hpo.workers.cores import _cgroup_quotas as cgroup_quotas


@pytest.mark.parametrize(
    ("workers", "cores", "plan"),
    [
        (None, 8, WorkerPlan(8, 1)),
        (None, 1, WorkerPlan(1, 1)),
        (3, 8, WorkerPlan(3, 2)),
        (8, 8, WorkerPlan(8, 1)),
        (1, 8, WorkerPlan(1, 8)),
        (0, 8, WorkerPlan(0, 8)),
    ],
)
def test_plans(workers: int | None, cores: int, plan: WorkerPlan) -> None:
    assert plan_threads(workers, cores) == plan


@pytest.mark.parametrize(
    ("workers", "message"),
    [
        (-1, "workers must be 0 or more, but got -1"),
        (9, r"workers=9 exceeds the 8 cores .*; take workers=8"),
    ],
)
def test_impossible_plans(workers: int, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        plan_threads(workers, 8)


def test_cores_are_at_least_one_and_not_more_than_there_are() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


def test_quotas_of_control_groups(tmp_path: Path) -> None:
    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    assert cgroup_quotas(tmp_path) == []
    write("proc/self/cgroup", "4:cpu,cpuacct:/job\n0::/slice/unit\n")
    assert cgroup_quotas(tmp_path) == []
    write("sys/fs/cgroup/slice/unit/cpu.max", "max 100000\n")
    write("sys/fs/cgroup/slice/cpu.max", "250000 100000\n")
    write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    write("sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "150000\n")
    write("sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000\n")
    assert cgroup_quotas(tmp_path) == [2.5, 1.5]
