"""Tables that compare methods, and files with the results."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.markdown import interval_text, percent, table
from benchmarks.statistics import interval, mean_rank, mean_rank_intervals, wins
from hpo.arrays import FloatArray

LIBRARIES = ("numpy", "hyperopt", "mlflow", "lightgbm", "xgboost", "torch")


def rank_table(titles: Sequence[str], measured: FloatArray, at: Sequence[int]) -> str:
    """Mean rank and mean regret of each method.

    Args:
        titles: the names of the methods, as printed.
        measured: regrets `(n_methods, n_problems, n_seeds, n_points)`.
        at: the trials or budgets of the points, for the header.
    """
    rows = [[title] for title in titles]
    for point in range(len(at)):
        here = measured[..., point]
        mean, bounds = mean_rank(here), mean_rank_intervals(here)
        for i, row in enumerate(rows):
            rank = interval_text(mean[i], bounds[i, 0], bounds[i, 1], 2)
            row.append(f"{rank} · {here[i].mean():.3f}")
    return table(["method", *(f"at {n}: mean rank · regret" for n in at)], rows)


def duel_table(titles: Sequence[str], measured: FloatArray, at: Sequence[int], mine: int) -> str:
    """How often method number `mine` beats each other method.

    `measured` are regrets as in `rank_table`.
    """
    rows = []
    for i, title in enumerate(titles):
        if i == mine:
            continue
        shares = [wins(measured[mine, ..., p], measured[i, ..., p]) for p in range(len(at))]
        rows.append([title, *(percent(*share) for share in shares)])
    return table(["against", *(f"at {n}" for n in at)], rows)


def problem_table(titles: Sequence[str], problems: Sequence[str], measured: FloatArray) -> str:
    """Median regrets with their intervals, one row per problem.

    `measured` are regrets `(n_methods, n_problems, n_seeds)`. The lowest median is bold.
    """
    rows = []
    for j, name in enumerate(problems):
        here = measured[:, j]
        medians = np.median(here, axis=1)
        cells = []
        for i, median in enumerate(medians):
            text = interval_text(median, *interval(here[i]), 3)
            cells.append(f"**{text}**" if median == medians.min() else text)
        rows.append([name, *cells])
    return table(["problem", *titles], rows)


def machine() -> dict[str, str | int]:
    """The processor and the library versions that the figures were measured with."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count() or 0,
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def write(folder: Path, name: str, text: str, values: Mapping[str, object]) -> None:
    """Print the tables and save them in `folder` as `<name>.md`, the figures as `<name>.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text)
    (folder / f"{name}.json").write_text(json.dumps(values, indent=1))
    print(text)
    print(f"saved in {folder / name}.md and .json")


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
