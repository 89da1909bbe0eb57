"""Milliseconds per suggestion with 10 to 10,000 observations, on the ten-dimensional conditional space `network`.

One suggestion is one ask and one tell. The methods take turns in one run, each in a process of its own, so that
whatever else the machine does falls on all of them alike.
"""

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.environments import cache, started
from benchmarks.methods import Method, method
from benchmarks.report import machine, number, table, write
from benchmarks.statistics import interval, ratio_interval
from hpo.space import Array

DEFAULT = ("tpe", "random", "hyperopt", "optuna", "optuna-group")
PROBLEM = "network"
WARM_UP = 2


def measure(methods: Sequence[Method], n: int, repeats: int) -> dict[str, Array]:
    """Seconds `(repeats,)` of each method on top of n observations, taken in turns."""
    with ExitStack() as stack:
        processes = [stack.enter_context(started(chosen)) for chosen in methods]
        for process in processes:
            process.call(call="prepare", problem=PROBLEM, n=n, seed=n)
        seconds = [
            [process.call(call="step")["seconds"] for process in processes] for _ in range(repeats + WARM_UP)
        ]
    columns = np.array(seconds[WARM_UP:]).T
    return {chosen.name: column for chosen, column in zip(methods, columns, strict=True)}


def tables(measured: dict[int, dict[str, Array]], methods: Sequence[Method]) -> str:
    """Milliseconds, and how many times as long as the first method."""
    sizes = list(measured)
    rows, ratios = [], []
    for chosen in methods:
        rows.append([chosen.title, *(_milliseconds(measured[n][chosen.name]) for n in sizes)])
        ratios.append(
            [chosen.title, *(_ratio(measured[n][chosen.name], measured[n][methods[0].name]) for n in sizes)]
        )
    header = [f"n = {n:,}" for n in sizes]
    return (
        "Milliseconds per suggestion, median [95 % interval]\n\n"
        + table(["method", *header], rows)
        + f"\nTimes as long as {methods[0].title}\n\n"
        + table(["method", *header], ratios[1:])
    )


def main(arguments: Sequence[str]) -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks suggest", description=__doc__)
    parser.add_argument(
        "--methods", nargs="+", default=list(DEFAULT), help="the others are divided by the first"
    )
    parser.add_argument("--sizes", nargs="+", type=int, default=[10, 100, 1_000, 10_000])
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--quick", action="store_true", help="up to 1,000 observations, 7 repeats")
    parser.add_argument("--output", type=Path, default=None, help="folder of the results")
    options = parser.parse_args(arguments)
    if options.quick:
        options.sizes, options.repeats = [n for n in options.sizes if n <= 1_000], 7
    methods = [method(text) for text in options.methods]
    measured = {n: measure(methods, n, options.repeats) for n in options.sizes}
    values = {
        "milliseconds": {n: {m: (1e3 * s).tolist() for m, s in by.items()} for n, by in measured.items()},
        "machine": machine(),
    }
    write(options.output or cache() / "results", "suggest", tables(measured, methods), values)


def _milliseconds(seconds: Array) -> str:
    low, high = interval(seconds)
    return f"{number(1e3 * float(np.median(seconds)))} [{number(1e3 * low)}, {number(1e3 * high)}]"


def _ratio(above: Array, below: Array) -> str:
    value, low, high = ratio_interval(above, below)
    return f"{number(value)} [{number(low)}, {number(high)}]"
