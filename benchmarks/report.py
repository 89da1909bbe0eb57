"""Tables in Markdown, results as JSON, and a word on the machine."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.statistics import interval, mean_rank, mean_rank_intervals, wins
from hpo.arrays import FloatArray


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [list(header), ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def number(value: float, digits: int = 3) -> str:
    """A value with `digits` significant digits, without exponent for what tables hold."""
    if value == 0:
        return "0"
    text = f"{value:.{digits}g}"
    return f"{value:,.0f}" if "e" in text and abs(value) >= 1 else text


def interval_text(value: float, low: float, high: float, decimals: int) -> str:
    """`value [low, high]`."""
    return f"{value:.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}]"


def percent(share: float, low: float, high: float) -> str:
    """A share and its interval, in percent."""
    return f"{100 * share:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"


def rank_table(titles: Sequence[str], measured: FloatArray, at: Sequence[int]) -> str:
    """Mean rank and mean regret of each method.

    Args:
        titles: of the methods.
        measured: regrets `(n_methods, n_problems, n_seeds, n_points)`.
        at: what stands above the points.
    """
    rows = [[title] for title in titles]
    for point in range(len(at)):
        here = measured[..., point]
        mean, bounds = mean_rank(here), mean_rank_intervals(here)
        for i, row in enumerate(rows):
            row.append(
                f"{interval_text(mean[i], bounds[i, 0], bounds[i, 1], 2)} · {here[i].mean():.3f}"
            )
    return table(["method", *(f"at {n}: mean rank · regret" for n in at)], rows)


def duel_table(titles: Sequence[str], measured: FloatArray, at: Sequence[int], mine: int) -> str:
    """How often one method is ahead of each other one; regrets as in `rank_table`."""
    rows = [
        [
            title,
            *(percent(*wins(measured[mine, ..., p], measured[i, ..., p])) for p in range(len(at))),
        ]
        for i, title in enumerate(titles)
        if i != mine
    ]
    return table(["against", *(f"at {n}" for n in at)], rows)


def problem_table(titles: Sequence[str], problems: Sequence[str], measured: FloatArray) -> str:
    """Median of the regrets `(n_methods, n_problems, n_seeds)` with its interval, a problem a row."""
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
    """What the figures were measured on."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count() or 0,
        "python": platform.python_version(),
        **{
            name: version(name)
            for name in ("numpy", "hyperopt", "mlflow", "lightgbm", "xgboost", "torch")
        },
    }


def write(folder: Path, name: str, text: str, values: Mapping[str, object]) -> None:
    """Print the tables, and keep them with the figures in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text)
    (folder / f"{name}.json").write_text(json.dumps(values, indent=1))
    print(text)
    print(f"kept in {folder / name}.md and .json")


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
