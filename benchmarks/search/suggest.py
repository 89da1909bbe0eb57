"""Milliseconds per suggestion with 10 to 10,000 observations, on the problem `network`.

One suggestion is one ask and one tell. The methods take turns in one run, each in a process of its
own. On a busy machine, wall time favours shorter calls, which fit between two interruptions, so CPU
time comes first.
"""

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.environments import cache, started
from benchmarks.markdown import number, table
from benchmarks.methods import Method, method
from benchmarks.report import machine, write
from benchmarks.statistics import interval, ratio_interval
from hpo.arrays import FloatArray

DEFAULT = ("tpe", "random", "hyperopt", "optuna", "optuna-group")
PROBLEM = "network"
WARM_UP = 2


def measure(methods: Sequence[Method], n: int, repeats: int) -> dict[str, FloatArray]:
    """CPU and wall seconds `(2, repeats)` of each method with n observations, taken in turns."""
    with ExitStack() as stack:
        processes = [stack.enter_context(started(chosen)) for chosen in methods]
        for process in processes:
            process.call(call="prepare", problem=PROBLEM, n=n, seed=n)
        rounds = [
            [process.call(call="step") for process in processes] for _ in range(repeats + WARM_UP)
        ]
    seconds = np.array(
        [[[step["cpu"], step["wall"]] for step in turn] for turn in rounds[WARM_UP:]]
    )
    return {chosen.name: seconds[:, i].T for i, chosen in enumerate(methods)}


def tables(measured: dict[int, dict[str, FloatArray]], methods: Sequence[Method]) -> str:
    """Markdown: milliseconds, and ratios to the first method."""
    header, parts = ["method", *(f"n = {n:,}" for n in measured)], []
    for i, clock in enumerate(("CPU", "wall")):
        rows, ratios = [], []
        for chosen in methods:
            columns = [(by[chosen.name][i], by[methods[0].name][i]) for by in measured.values()]
            rows.append([chosen.title, *(_milliseconds(mine) for mine, _ in columns)])
            ratios.append([chosen.title, *(_ratio(mine, first) for mine, first in columns)])
        parts += [
            f"Milliseconds of {clock} time per suggestion, median [95 % interval]\n",
            table(header, rows),
        ]
        parts += [
            f"\nTimes as long as {methods[0].title}, {clock} time\n",
            table(header, ratios[1:]) + "\n",
        ]
    return "\n".join(parts)


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
        "milliseconds": {
            n: {m: (1e3 * s).tolist() for m, s in by.items()} for n, by in measured.items()
        },
        "machine": machine(),
    }
    write(options.output or cache() / "results", "suggest", tables(measured, methods), values)


def _milliseconds(seconds: FloatArray) -> str:
    low, high = interval(seconds)
    return f"{number(1e3 * float(np.median(seconds)))} [{number(1e3 * low)}, {number(1e3 * high)}]"


def _ratio(above: FloatArray, below: FloatArray) -> str:
    value, low, high = ratio_interval(above, below)
    return f"{number(value)} [{number(low)}, {number(high)}]"
