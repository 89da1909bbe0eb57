"""Large tables: seconds until the study exists and until its first trials, and the peak of memory.

Each table is a CSV file that is generated from a seed. `tune` runs as a user would start it, with a
fresh store, two trials of 20 rounds, and one worker for each core. Memory is that of all processes,
where a page that several processes share counts once (PSS), as a multiple of the table as a pandas
DataFrame.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from benchmarks.environments import ROOT, cache
from benchmarks.markdown import number, table
from benchmarks.report import machine, write
from hpo.errors import UserError
from pipelines.table.reading import load_table

ROUNDS = 20
TRIALS = 2
SAMPLED = 0.1  # seconds between two samples of the memory
TICKS = os.sysconf("SC_CLK_TCK")
# What a line of `tune` says; the name of the moment.
MOMENTS = {"study": r"study \w{32}:", "trial": r"trial 0/"}


@dataclass(frozen=True)
class Shape:
    """The shape of a table; a sixth of the columns are texts or whole numbers each."""

    name: str
    rows: int
    columns: int

    def frame(self, seed: int = 0) -> pd.DataFrame:
        """The table: numbers, whole numbers, texts of up to 50 levels, and a binary target `y`."""
        rng = np.random.default_rng(seed)
        others = min(self.columns // 6, 6)
        numbers = self.columns - 1 - 2 * others
        columns: dict[str, npt.NDArray[Any]] = {
            f"x{i}": rng.normal(size=self.rows).round(4) for i in range(numbers)
        }
        columns |= {f"n{i}": rng.integers(0, 1000, self.rows) for i in range(others)}
        for i in range(others):
            levels = np.array([f"level {j}" for j in range(10 * (i + 1))], dtype=object)
            columns[f"c{i}"] = rng.choice(levels, self.rows)
        score = columns["x0"] + columns["x1"] * (columns["n0"] > 500) + rng.normal(size=self.rows)
        return pd.DataFrame({**columns, "y": (score > 0).astype(int)})

    def file(self, folder: Path) -> Path:
        """The table as CSV, made when it is missing."""
        path = folder / f"{self.name}-{self.rows}x{self.columns}.csv"
        if not path.exists():
            partial = path.with_suffix(".partial")
            pyarrow.csv.write_csv(pa.Table.from_pandas(self.frame()), partial)
            partial.rename(path)
        return path


SHAPES = (Shape("long", 1_000_000, 35), Shape("wide", 3_000, 5_000))
QUICK = (Shape("long", 20_000, 35), Shape("wide", 300, 500))


@dataclass
class Measured:
    """One run of `tune`.

    Attributes:
        seconds: since the start, by moment: "study", "trial" and "end".
        cpu: seconds of all processes at these moments.
        peak: bytes of all processes.
        table: bytes of the table in memory.
    """

    table: int
    seconds: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    peak: int = 0


def measure(shape: Shape, folder: Path) -> Measured:
    """Run `tune` on a table.

    Raises:
        UserError: when `tune` fails.
    """
    path = shape.file(folder)
    found = Measured(int(load_table(str(path)).memory_usage(deep=True).sum()))
    with tempfile.TemporaryDirectory() as place:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "MLFLOW_TRACKING_URI": f"sqlite:///{place}/mlflow.db",
            "HPO_CACHE_DIR": f"{place}/cache",
        }
        command = [sys.executable, "-m", "pipelines", "tune", f"--data={path}", "--target=y"]
        command += [f"--trials={TRIALS}", f"--max_budget={ROUNDS}", "--warm_start=off"]
        _make_store(environment, place)
        began = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=place,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        sampler = threading.Thread(target=_watch, args=(process, found))
        sampler.start()
        lines = []
        for line in process.stdout or ():
            lines.append(line)
            for moment, pattern in MOMENTS.items():
                if moment not in found.seconds and re.match(pattern, line):
                    found.seconds[moment] = time.monotonic() - began
                    found.cpu[moment] = _cpu(process.pid)
        found.seconds["end"] = time.monotonic() - began
        if process.wait() != 0 or len(found.cpu) < len(MOMENTS):
            raise UserError(f"tune failed on {path}: {''.join(lines[-3:])}")
        sampler.join()
    return found


def _make_store(environment: dict[str, str], place: str) -> None:
    """Create the tables of the store, which takes MLflow a while and is no part of a study."""
    code = "import mlflow; mlflow.search_experiments()"
    subprocess.run(
        [sys.executable, "-c", code], cwd=place, env=environment, check=True, capture_output=True
    )


def _watch(process: subprocess.Popen[str], found: Measured) -> None:
    while process.poll() is None:
        found.peak = max(found.peak, sum(map(_memory, _family(process.pid))))
        time.sleep(SAMPLED)


def _family(root: int) -> Iterator[Path]:
    """The folders in /proc of a process and all that descend from it."""
    parents = {entry: _stat(entry) for entry in Path("/proc").iterdir() if entry.name.isdecimal()}
    children: dict[int, list[Path]] = {}
    for entry, fields in parents.items():
        if fields:
            children.setdefault(int(fields[1]), []).append(entry)
    waiting = [Path(f"/proc/{root}")]
    while waiting:
        entry = waiting.pop()
        yield entry
        waiting += children.get(int(entry.name), [])


def _stat(entry: Path) -> list[str]:
    """The fields after the command of a process; none if it has ended."""
    try:
        return (entry / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _memory(entry: Path) -> int:
    """The proportional set size of a process in bytes."""
    try:
        text = (entry / "smaps_rollup").read_text()
    except OSError:
        return 0
    match = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return 1024 * int(match[1]) if match else 0


def _cpu(root: int) -> float:
    """CPU seconds of a process and of all that descend from it, also of those that have ended."""
    used = (_stat(entry)[11:15] for entry in _family(root))
    return sum(sum(map(int, times)) for times in used) / TICKS


def tables(measured: dict[Shape, list[Measured]]) -> str:
    """Markdown: medians by table."""
    header = ["table", "in memory", "study exists", "first trial", "CPU until then", "end", "peak"]
    rows = []
    for shape, runs in measured.items():
        cells = [f"{shape.rows:,} × {shape.columns:,}", f"{runs[0].table / 1e6:.0f} MB"]
        cells += [
            f"{number(float(np.median(values)))} s"
            for values in (
                [run.seconds["study"] for run in runs],
                [run.seconds["trial"] for run in runs],
                [run.cpu["trial"] for run in runs],
                [run.seconds["end"] for run in runs],
            )
        ]
        peak = float(np.median([run.peak for run in runs]))
        cells.append(f"{peak / 1e6:,.0f} MB, {peak / runs[0].table:.1f} × the table")
        rows.append(cells)
    return table(header, rows)


def main(arguments: Sequence[str]) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks large", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tables", nargs="+", default=["long", "wide"], choices=["long", "wide"])
    parser.add_argument("--quick", action="store_true", help="small tables, once")
    parser.add_argument("--output", type=Path, default=None, help="folder of the results")
    options = parser.parse_args(arguments)
    if not Path("/proc/self/smaps_rollup").exists():
        raise UserError("the memory of processes is read from /proc, which only Linux has")
    shapes = [
        shape for shape in (QUICK if options.quick else SHAPES) if shape.name in options.tables
    ]
    folder = cache() / "large"
    folder.mkdir(parents=True, exist_ok=True)
    repeats = 1 if options.quick else options.repeats
    measured: dict[Shape, list[Measured]] = {shape: [] for shape in shapes}
    for _ in range(repeats):
        for shape in shapes:
            measured[shape].append(measure(shape, folder))
    values = {
        "rounds": ROUNDS,
        "runs": {shape.name: [vars(run) for run in runs] for shape, runs in measured.items()},
        "machine": machine(),
    }
    write(options.output or cache() / "results", "large", tables(measured), values)
