"""Pools for tests, and what became of their processes."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from hpo.workers.pool import WorkerPool
from tests.jobs import PATIENCE, Evaluate, Job

Pool = WorkerPool[str, Job, Any]

ROOT = Path(__file__).parents[3]
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def start(
    make: Callable[[str], Callable[[Job], Any]] = Evaluate, workers: int = 2, **options: Any
) -> Pool:
    return WorkerPool(
        make, "spec", workers=workers, threads=1, **{"preload": ["tests.jobs"], **options}
    )


def outcome(future: "Future[Any]") -> Any:
    return future.exception(timeout=PATIENCE) or future.result()


def eventually(condition: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:  # it ended since, or there is no /proc
        return not Path("/proc/self").exists()


def run(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
