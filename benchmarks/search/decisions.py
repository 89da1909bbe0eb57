"""CPU time of a decision with 100 to 10,000 trials, and memory per trial.

A decision is one ask, for a new configuration or a promotion, and one tell. The trials come from a
race over five rungs with random configurations; in rows marked accordingly, all have reached every
rung. The methods take turns in one run, each in a process of its own.
"""

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.environments import cache, started
from benchmarks.markdown import number, table
from benchmarks.methods import RACERS, Method, method
from benchmarks.report import machine, write
from benchmarks.statistics import interval
from hpo.arrays import FloatArray

WARM_UP = 2
COMPLETE = "all at five rungs"


@dataclass(frozen=True)
class Cost:
    """CPU seconds `(n,)` of decisions, 1 for new configurations `(n,)`, and bytes of all trials."""

    seconds: FloatArray
    new: FloatArray
    bytes: int


def variants(methods: Sequence[Method]) -> list[Method]:
    """The methods, and ours once more with trials that have reached every rung."""
    out = []
    for chosen in methods:
        own = chosen.module == "replay.own"
        out.append(replace(chosen, settings=chosen.settings | ({"complete": False} if own else {})))
        if own:
            settings = chosen.settings | {"complete": True}
            out.append(replace(chosen, title=f"{chosen.title}, {COMPLETE}", settings=settings))
    return out


def measure(methods: Sequence[Method], curves: str, trials: int, repeats: int) -> list[Cost]:
    """The cost of `repeats` decisions of each method, taken in turns."""
    with ExitStack() as stack:
        processes = [stack.enter_context(started(chosen)) for chosen in methods]
        memory = [
            process.call(call="decide", curves=curves, seed=trials, trials=trials)["bytes"]
            for process in processes
        ]
        rounds = [
            [process.call(call="step") for process in processes] for _ in range(repeats + WARM_UP)
        ]
    steps = np.array([[(step["cpu"], step["new"]) for step in turn] for turn in rounds[WARM_UP:]])
    return [Cost(steps[:, i, 0], steps[:, i, 1], memory[i]) for i in range(len(methods))]


def tables(measured: dict[int, list[Cost]], methods: Sequence[Method]) -> str:
    """Markdown: milliseconds for each number of trials, and bytes per trial."""
    new, promoted = (
        [
            [
                chosen.title,
                *(
                    _milliseconds(costs[i].seconds[costs[i].new == kind])
                    for costs in measured.values()
                ),
            ]
            for i, chosen in enumerate(methods)
        ]
        for kind in (1, 0)
    )
    memory = [
        [chosen.title, *(f"{costs[i].bytes / n:,.0f}" for n, costs in measured.items())]
        for i, chosen in enumerate(methods)
    ]
    header = ["method", *(f"{n:,} trials" for n in measured)]
    return "\n".join(
        (
            "Milliseconds of CPU time for a new configuration and its result, "
            "mean [95 % interval]\n",
            table(header, new),
            "\nMilliseconds of CPU time for a promotion and its result\n",
            table(header, promoted),
            "\nBytes a trial\n",
            table(header, memory),
        )
    )


def main(arguments: Sequence[str]) -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks decisions", description=__doc__)
    parser.add_argument(
        "--methods", nargs="+", default=["bohb", "hpbandster"], help=f"of {', '.join(RACERS)}"
    )
    parser.add_argument("--curves", default="ones4+4", help="whose space is searched")
    parser.add_argument("--sizes", nargs="+", type=int, default=[100, 1_000, 2_000, 10_000])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="up to 1,000 trials, 40 repeats")
    parser.add_argument("--output", type=Path, default=None, help="folder of the results")
    options = parser.parse_args(arguments)
    if options.quick:
        options.sizes, options.repeats = [n for n in options.sizes if n <= 1_000], 40
    methods = variants([method(text, RACERS) for text in options.methods])
    measured = {n: measure(methods, options.curves, n, options.repeats) for n in options.sizes}
    values = {
        n: {
            chosen.title: {"cpu": c.seconds.tolist(), "new": c.new.tolist(), "bytes": c.bytes}
            for chosen, c in zip(methods, costs, strict=True)
        }
        for n, costs in measured.items()
    }
    write(
        options.output or cache() / "results",
        "decisions",
        tables(measured, methods),
        {"decisions": values, "curves": options.curves, "machine": machine()},
    )


def _milliseconds(seconds: FloatArray) -> str:
    if not len(seconds):
        return "none"
    low, high = interval(seconds, np.mean)
    return f"{number(1e3 * float(seconds.mean()))} [{number(1e3 * low)}, {number(1e3 * high)}]"
