"""One competitor on one split: a process of its own, all of whose seconds count."""

import hashlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environments import QUIET, ROOT, python, requirements_digest
from benchmarks.methods import Method, method
from benchmarks.peers.race.entry import ANSWER, PREDICTIONS
from benchmarks.race.competitors import RACING
from benchmarks.race.splits import Split
from benchmarks.results import MethodJob

PATIENCE, MORE = 5, 300.0  # a competitor is stopped after so many times its seconds, and these
LOG_LINES = 5


@dataclass(frozen=True)
class Heat(MethodJob):
    """One competitor on one split of a table, for a number of seconds."""

    table: str
    split: int
    seconds: int


def run(chosen: Method, heat: Heat, target: str, split: Split) -> Mapping[str, Any]:
    """The answer of a competitor.

    It has the `error` on the held-out rows, the `wall` seconds until the model was ready, the `cpu`
    seconds of the whole process, and the CPU seconds of a `prediction` for each row; or why the
    competitor `failed`.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        job = {
            "train": str(split.train),
            "test": str(split.test),
            "target": target,
            "task": split.task,
            "metric": split.metric,
            "classes": split.classes,
            "seconds": heat.seconds,
            "seed": heat.split,
            "settings": chosen.settings,
        }
        (folder / "job.json").write_text(json.dumps(job))
        return _timed(chosen, folder, PATIENCE * heat.seconds + MORE, split)


def digest(heat: Heat) -> str:
    """A digest of what an answer depends on."""
    return _code(heat.method)


def _timed(chosen: Method, folder: Path, limit: float, split: Split) -> Mapping[str, Any]:
    command = [python(chosen.environment), "-m", f"benchmarks.peers.race.{chosen.module}"]
    threads = {"OMP_NUM_THREADS": str(len(os.sched_getaffinity(0)))}
    log, began = folder / "log.txt", time.time()
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "job.json"],
            cwd=folder,
            env=os.environ | QUIET | threads | {"PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        cpu = _wait(process, began + limit)
    if process.returncode or not (folder / ANSWER).exists():
        last = " / ".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
        return {"failed": f"exit code {process.returncode}: {last}"}
    answer = json.loads((folder / ANSWER).read_text())
    return {
        "error": split.error(np.load(folder / PREDICTIONS)),
        "wall": round(answer["ready"] - began, 2),
        "cpu": round(cpu, 2),
        "prediction": answer["prediction"],
    }


def _wait(process: "subprocess.Popen[bytes]", until: float) -> float:
    """Wait for a process, and end it when its time is over; the CPU seconds of it and its own."""
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return usage.ru_utime + usage.ru_stime
        if time.time() > until:
            os.killpg(process.pid, signal.SIGKILL)
        time.sleep(0.05)


@cache
def _code(name: str) -> str:
    chosen = method(name, RACING)
    own = ROOT / "benchmarks" / "peers" / "race"
    files = [own / "entry.py", own / f"{chosen.module}.py"]
    if chosen.environment is None:
        parts = ("hpo", "warmstart", "pipelines", "serving")
        files += sorted(
            path
            for part in parts
            for path in (ROOT / part).rglob("*")
            if path.is_file() and path.suffix in {".py", ".yaml"}
        )
    code = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]
    needed = requirements_digest(chosen.environment) if chosen.environment else ""
    return f"{code}/{needed}/{os.sched_getaffinity(0)}"
