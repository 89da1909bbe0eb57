"""Cost of a whole study in addition to training.

1,000 trials of an objective that does nothing, each a nested run with ten parameters and three
metrics in MLflow's SQLite store. Every variant starts with a fresh, migrated store and runs alone
in a process of its own. Imports and migration do not count; waiting until everything is stored
does. CPU seconds are those of the process and of its workers, with the workers' imports.

With `--projects`, a study of an MLflow project next to plain runs of it
(`benchmarks.product.projects`).
"""

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.environments import cache, started
from benchmarks.markdown import number, table
from benchmarks.methods import Method
from benchmarks.product import projects
from benchmarks.report import machine, write
from benchmarks.statistics import ratio_interval

VARIANTS = (
    Method("tpe", "**tpe** (this project)", "product.mlflow_own", settings={"name": "tpe"}),
    Method("random", "random (this project)", "product.mlflow_own", settings={"name": "random"}),
    Method("function", "`tune(objective=…)`, to its report", "product.mlflow_function"),
    Method(
        "function-16",
        "the same with 16 workers",
        "product.mlflow_function",
        settings={"workers": 16},
    ),
    Method("hyperopt", "hyperopt TPE, fluent nested runs", "product.mlflow_hyperopt"),
    Method("optuna", "Optuna TPE, its MLflow callback", "product.mlflow_optuna", "optuna-mlflow"),
    Method("storage", "Optuna TPE, MLflow's storage", "product.mlflow_storage", "optuna-mlflow"),
    Method(
        "optuna-16",
        "Optuna TPE, its MLflow callback, 16 threads",
        "product.mlflow_optuna",
        "optuna-mlflow",
        settings={"jobs": 16},
    ),
    Method(
        "storage-16",
        "Optuna TPE, MLflow's storage, 16 threads",
        "product.mlflow_storage",
        "optuna-mlflow",
        settings={"jobs": 16},
    ),
    Method("client", "random, three bare client calls", "product.mlflow_client"),
)


def measure(chosen: Method, trials: int, seed: int) -> dict[str, float]:
    """Seconds of one study: `wall`, `cpu`, and `loop`, the wall time until the last result."""
    with tempfile.TemporaryDirectory() as folder, started(chosen) as process:
        uri = f"sqlite:///{folder}/mlflow.db"
        process.call(call="touch", uri=uri)
        found = process.call(call="study", trials=trials, uri=uri, seed=seed)
        rows = process.call(call="count", uri=uri)["runs"]
        shutil.rmtree(Path(folder) / "mlruns", ignore_errors=True)
    return {key: float(found[key]) for key in ("wall", "cpu", "loop")} | {"runs": float(rows)}


def tables(measured: dict[str, list[dict[str, float]]], trials: int) -> str:
    """Markdown: seconds of each variant, and ratios to the first."""
    first = next(iter(measured))
    titles = {chosen.name: chosen.title for chosen in VARIANTS}
    rows = []
    for name, runs in measured.items():
        cells = [titles[name]]
        for key in ("wall", "cpu", "loop"):
            values, base = (np.array([r[key] for r in of]) for of in (runs, measured[first]))
            ratio, low, high = ratio_interval(values, base)
            text = f"{number(float(np.median(values)))} s"
            cells.append(
                text
                if name == first or key == "loop"
                else f"{text} · {ratio:.1f}× [{low:.1f}, {high:.1f}]"
            )
        cells.append(number(1e3 * float(np.median([r["wall"] for r in runs])) / trials))
        rows.append(cells)
    return (
        f"{trials:,} trials, {len(measured[first])} runs each; median, ratio [95 % interval]\n\n"
        + table(["study", "wall", "CPU", "until the last result", "ms a trial"], rows)
    )


def main(arguments: Sequence[str]) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks overhead", description=__doc__)
    names = [chosen.name for chosen in VARIANTS]
    parser.add_argument("--variants", nargs="+", default=names, choices=names)
    parser.add_argument("--projects", action="store_true", help="measure MLflow projects instead")
    parser.add_argument("--trials", type=int, help="1,000; 10 of projects")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="60 trials, once; 2 of projects")
    parser.add_argument("--output", type=Path, default=None, help="folder of the results")
    options = parser.parse_args(arguments)
    usual, quick = (10, 2) if options.projects else (1_000, 60)
    trials = options.trials or usual
    if options.quick:
        trials, options.repeats = quick, 1
    folder = options.output or cache() / "results"
    if options.projects:
        _of_projects(trials, options.repeats, folder)
        return
    chosen = [variant for variant in VARIANTS if variant.name in options.variants]
    measured: dict[str, list[dict[str, float]]] = {variant.name: [] for variant in chosen}
    for seed in range(options.repeats):
        for variant in chosen:
            measured[variant.name].append(measure(variant, trials, seed))
    values = {"trials": trials, "seconds": measured, "machine": machine()}
    write(folder, "overhead", tables(measured, trials), values)


def _of_projects(trials: int, repeats: int, folder: Path) -> None:
    runs = [projects.measure(trials) for _ in range(repeats)]
    seconds = [{way: asdict(found) for way, found in run.items()} for run in runs]
    values = {"seconds": seconds, "machine": machine()}
    write(folder, "overhead-projects", projects.tables(runs), values)
