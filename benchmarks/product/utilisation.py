"""Share of the workers' wall time spent in training, in a real study of 50 LightGBM trials.

It is compared with a plain Optuna objective that builds its `Dataset` in each trial. This trains
the same configurations for the same numbers of rounds, in the same number of processes with one
thread each, so that both sides grow the same trees. Rates are measured from the start of the first
trial to the end of the last.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environments import cache, started
from benchmarks.markdown import number, table
from benchmarks.methods import Method
from benchmarks.report import machine, write
from benchmarks.statistics import ratio_interval
from pipelines.models.catalog import settings

OWN = Method("tune", "**tune** (this project)", "product.tune_own")
PLAIN = Method(
    "plain",
    "Optuna + LightGBM, Dataset per trial",
    "product.tune_optuna",
    "optuna-mlflow",
    {"watch": False},
)
WATCHED = Method(
    "watched",
    "the same, validation rows scored each round",
    "product.tune_optuna",
    "optuna-mlflow",
    {"watch": True},
)


def measure(
    path: str, target: str, trials: int, rounds: int, workers: int
) -> dict[str, dict[str, Any]]:
    """One study of each kind, one after the other."""
    with tempfile.TemporaryDirectory() as folder, started(OWN, folder) as process:
        job = {"table": path, "target": target, "workers": workers, "folder": folder}
        found = {OWN.name: process.call(call="run", trials=trials, rounds=rounds, **job)}
    configurations = found[OWN.name]["configurations"]
    space = settings("lightgbm").space.to_dict()
    for method in (PLAIN, WATCHED):
        with tempfile.TemporaryDirectory() as folder, started(method, folder) as process:
            job["folder"] = folder
            found[method.name] = process.call(
                call="run", configurations=configurations, space=space, **job
            )
    return found


def summary(runs: Sequence[dict[str, dict[str, Any]]], trials: int, workers: int) -> str:
    """Markdown: share of training and trials per second, with ratios to the plain objective."""
    rows = []
    base = np.array([trials / run[OWN.name]["searching"] for run in runs])
    for method in (OWN, PLAIN, WATCHED):
        of = [run[method.name] for run in runs]
        share = [100 * r["training"] / (workers * r["searching"]) for r in of]
        rate = np.array([trials / r["searching"] for r in of])
        ratio, low, high = ratio_interval(base, rate)
        rows.append(
            [
                method.title,
                f"{np.median(share):.1f} % ({min(share):.1f} to {max(share):.1f})",
                number(float(np.median(rate))),
                "1" if method is OWN else f"{ratio:.2f} [{low:.2f}, {high:.2f}]",
                f"{np.median([r['training'] for r in of]) / trials:.2f} s",
                f"{np.median([r['whole'] for r in of]):.1f} s",
            ]
        )
    header = [
        "",
        "wall time in training",
        "trials / s",
        "we are faster by",
        "training a trial",
        "whole call",
    ]
    rounds = [c["rounds"] for c in runs[0][OWN.name]["configurations"]]
    intro = (
        f"{trials} trials of {np.mean(rounds):.0f} rounds on average, "
        f"{workers} workers with one thread, {len(runs)} runs\n\n"
    )
    return intro + table(header, rows)


def main(arguments: Sequence[str]) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks utilisation", description=__doc__)
    parser.add_argument("--data", required=True, help="a table with two classes, as CSV")
    parser.add_argument("--target", required=True)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="8 trials of 50 rounds, once")
    parser.add_argument("--output", type=Path, default=None, help="folder of the results")
    options = parser.parse_args(arguments)
    if options.quick:
        options.trials, options.rounds, options.repeats = 8, 50, 1
    path = str(Path(options.data).resolve())
    runs = [
        measure(path, options.target, options.trials, options.rounds, options.workers)
        for _ in range(options.repeats)
    ]
    text = summary(runs, options.trials, options.workers)
    write(
        options.output or cache() / "results",
        "utilisation",
        text,
        {"runs": runs, "machine": machine()},
    )
