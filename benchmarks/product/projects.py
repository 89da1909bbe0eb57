"""Cost of a study of an MLflow project in addition to the plain runs of its trials.

`examples/project` is run with the same parameters in three ways that take turns: by the command
`mlflow run`, once for each trial; by `mlflow.projects.run` in one process; and by a study with one
worker, from its start to its report. Each way is also run with a single trial, so that the cost of
a further trial is known without that of the start. All processes count, with their imports.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.environments import QUIET, ROOT
from benchmarks.markdown import number, table
from benchmarks.statistics import interval, ratio_interval

PROJECT = ROOT / "examples" / "project"
COMMAND, LOOP, STUDY = "command", "loop", "study"
TITLES = {
    COMMAND: "`mlflow run`, once a trial",
    LOOP: "`mlflow.projects.run` in one process",
    STUDY: "**tune** (this project), to its report",
}
_CLOCKS = ("CPU", "wall")
_LOOPED = """
import sys
import mlflow

for rate in sys.argv[2:]:
    mlflow.projects.run(sys.argv[1], parameters={"rate": rate}, env_manager="local")
"""
_SPACE = "space.json"


@dataclass(frozen=True)
class Seconds:
    """Seconds of one way.

    Attributes:
        one: by clock, of a single trial.
        many: of `trials` trials.
        trials: more than one.
    """

    one: Mapping[str, float]
    many: Mapping[str, float]
    trials: int

    def each(self, clock: str) -> float:
        """A trial's share of the whole."""
        return self.many[clock] / self.trials

    def further(self, clock: str) -> float:
        """What one more trial costs."""
        return (self.many[clock] - self.one[clock]) / (self.trials - 1)


def measure(trials: int) -> dict[str, Seconds]:
    """All ways in turns, in a store of their own."""
    rates = [f"{rate:.4f}" for rate in np.geomspace(0.001, 1.0, trials)]
    with tempfile.TemporaryDirectory() as folder:
        place = f"sqlite:///{folder}/mlflow.db"
        environment = os.environ | QUIET | {"MLFLOW_TRACKING_URI": place, "PYTHONPATH": str(ROOT)}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        _timed([["mlflow", "experiments", "create", "-n", "migrated"]], folder, environment)
        found = {}
        for way in TITLES:
            one, many = (_run(way, some, folder, environment) for some in (rates[:1], rates))
            found[way] = Seconds(one, many, trials)
    return found


def tables(runs: Sequence[Mapping[str, Seconds]]) -> str:
    """Markdown: seconds a trial, and what the study adds to the plain runs."""
    rows = []
    for way, title in TITLES.items():
        cells = [title]
        for clock in _CLOCKS:
            each = np.array([run[way].each(clock) for run in runs])
            base = np.array([run[COMMAND].each(clock) for run in runs])
            ratio = ratio_interval(each, base)
            more = "" if way == COMMAND else f" · {_more(*ratio)}"
            cells.append(f"{number(float(np.median(each)))} s{more}")
        for clock in _CLOCKS:
            further = np.array([run[way].further(clock) for run in runs])
            low, high = interval(further)
            cells.append(f"{number(float(np.median(further)))} s [{low:.2f}, {high:.2f}]")
        rows.append(cells)
    header = ["way", *(f"{clock} a trial, start included" for clock in _CLOCKS)]
    trials = runs[0][COMMAND].trials
    return (
        f"{trials} trials, {len(runs)} runs each; median, difference from `mlflow run` "
        "[95 % interval]\n\n"
        + table([*header, *(f"{clock} of a further trial" for clock in _CLOCKS)], rows)
    )


def _more(ratio: float, low: float, high: float) -> str:
    return f"{100 * (ratio - 1):+.0f} % [{100 * (low - 1):+.0f}, {100 * (high - 1):+.0f}]"


def _run(
    way: str, rates: Sequence[str], folder: str, environment: Mapping[str, str]
) -> dict[str, float]:
    Path(folder, _SPACE).write_text(json.dumps({"rate": [float(rate) for rate in rates]}))
    return _timed(_commands(way, rates), folder, environment)


def _commands(way: str, rates: Sequence[str]) -> list[list[str]]:
    """The commands of one way, which run after each other."""
    project = str(PROJECT)
    if way == COMMAND:
        local = ["mlflow", "run", project, "--env-manager", "local"]
        return [[*local, "-P", f"rate={rate}"] for rate in rates]
    if way == LOOP:
        return [[sys.executable, "-c", _LOOPED, project, *rates]]
    return [
        [
            *(sys.executable, "-m", "pipelines", "tune"),
            f"--objective=project:{project}#main?env=local",
            *(f"--space={_SPACE}", "--algorithm=grid", f"--trials={len(rates)}"),
            *("--metric=-err", "--workers=1", "--warm-start=off"),
        ]
    ]


def _timed(
    commands: Sequence[Sequence[str]], folder: str, environment: Mapping[str, str]
) -> dict[str, float]:
    """Wall seconds of commands, and CPU seconds of them and of all their processes."""
    wall, cpu = time.perf_counter(), _cpu_of_children()
    for command in commands:
        subprocess.run(
            command,
            cwd=folder,
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    wall = time.perf_counter() - wall
    return {"wall": wall, "CPU": _cpu_of_children() - cpu}


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
