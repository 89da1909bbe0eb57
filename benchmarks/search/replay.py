"""Multi-fidelity search against its peers, on learning curves in simulated time.

The tables show regret, mean rank and the time to a target. Time is counted in full trainings:
worker seconds (idle workers included) over the seconds of the median configuration at the largest
budget. A race ends after 100 of them.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.environments import cache as cache_folder
from benchmarks.markdown import interval_text, number, table
from benchmarks.methods import RACERS, Method, method
from benchmarks.report import duel_table, machine, problem_table, rank_table, write
from benchmarks.results import Results, work_off
from benchmarks.search.races import AT, BATCH, Measured, Race, Setup, call, measured, stored
from benchmarks.statistics import interval, mean_rank, median_times, speed_up
from benchmarks.tabulated.curves import load_curves, synthetic_curves, tabulated_curves
from hpo.arrays import FloatArray

REFERENCES = ("random", "tpe")  # methods whose final result is a target for the others
OWN = "bohb"
SLOW = tuple(name for name, racer in RACERS.items() if racer.slow)


def report(data: Measured, setup: Setup) -> tuple[str, dict[str, object]]:
    """Markdown and plain values of the races of one setup."""
    names = [chosen.name for chosen in data.methods]
    titles = [chosen.title for chosen in data.methods]
    at = [n for n in AT if n <= setup.trainings]
    regrets = data.regrets(at)
    workers = f"{setup.workers} worker{'s' if setup.workers > 1 else ''}"
    parts = [
        f"### {workers}, {setup.seeds} seeds, {len(titles)} methods\n",
        f"{len(data.curves)} surfaces, no configuration given first. Mean rank [95 % interval over "
        "seeds] · mean regret, after so many full trainings.\n",
        rank_table(titles, regrets, at),
    ]
    if OWN in names and len(names) > 1:
        mine = names.index(OWN)
        parts.append(f"\nRaces in which {titles[mine]} is ahead, ties half\n")
        parts.append(duel_table(titles, regrets, at, mine))
    times = {name: data.times_to(names.index(name)) for name in REFERENCES if name in names}
    for reference, to in times.items():
        parts += _time_section(titles, to, names.index(reference), data.curves, setup.trainings)
    parts += [
        "\nCPU time of a decision, and utilisation of the workers\n",
        cost_table(titles, data),
    ]
    for i, n in enumerate(at):
        parts.append(f"\nMedian normalised regret after {n} full trainings [95 % interval]\n")
        parts.append(problem_table(titles, data.curves, regrets[..., i]))
    values: dict[str, object] = {
        "methods": names,
        "curves": list(data.curves),
        "seeds": setup.seeds,
        "mean_rank": {n: mean_rank(regrets[..., i]).tolist() for i, n in enumerate(at)},
        "regret": {n: regrets[..., i].tolist() for i, n in enumerate(at)},
        "times_to": {name: to.tolist() for name, to in times.items()},
    }
    return "\n".join(parts), values


def _time_section(
    titles: Sequence[str],
    times: FloatArray,
    reference: int,
    curves: Sequence[str],
    trainings: int,
) -> Iterator[str]:
    """Times to the target of one method, without that method itself.

    Its own seeds reach the target, their median, in half of the cases by definition.
    """
    yield (
        f"\nFull trainings until a method reaches the median loss of {titles[reference]} after "
        f"{trainings}, and how many times sooner that is; medians over seeds and over surfaces "
        "[95 % interval]\n"
    )
    others = [*titles[:reference], *titles[reference + 1 :]]
    yield time_table(others, np.delete(times, reference, axis=0), curves, trainings)


def time_table(
    titles: Sequence[str], times: FloatArray, curves: Sequence[str], trainings: int
) -> str:
    """Median times to a target, and how many times sooner than `trainings` they are.

    `times` are `(n_methods, n_curves, n_seeds)`, infinite if the target was not reached.
    """
    rows = []
    for title, mine in zip(titles, times, strict=True):
        medians = map(float, median_times(mine))
        cells = ["never" if np.isinf(median) else number(median) for median in medians]
        value, low, high = speed_up(mine, trainings)
        rows.append([title, interval_text(value, low, high, 1), *cells])
    return table(["method", "times sooner", *curves], rows)


def cost_table(titles: Sequence[str], data: Measured) -> str:
    """CPU milliseconds per leg, legs per race, and the share of the workers' time in legs."""
    rows = []
    for i, title in enumerate(titles):
        milliseconds = (1e3 * data.cpu[i] / np.maximum(data.legs[i], 1)).ravel()
        cost = interval_text(float(np.median(milliseconds)), *interval(milliseconds), 2)
        legs, busy = np.median(data.legs[i]), 100 * data.busy[i].mean()
        rows.append([title, cost, f"{legs:.0f}", f"{busy:.0f} %"])
    return table(["method", "CPU ms a decision", "decisions a race", "workers busy"], rows)


def _parser() -> argparse.ArgumentParser:
    known = (*tabulated_curves(), *synthetic_curves())
    parser = argparse.ArgumentParser(prog="python -m benchmarks replay", description=__doc__)
    parser.add_argument(
        "--methods", nargs="+", default=list(RACERS), help=f"of {', '.join(RACERS)}"
    )
    parser.add_argument(
        "--surfaces", nargs="+", default=list(tabulated_curves()), help=f"of {', '.join(known)}"
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--slow-seeds", type=int, default=5, help=f"for {', '.join(SLOW)}")
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--trainings", type=int, default=100, help="the length of a race")
    parser.add_argument("--fresh", nargs="*", default=[], help="methods that are run again")
    parser.add_argument(
        "--quick", action="store_true", help="our methods, three seeds, 25 full trainings"
    )
    parser.add_argument("--name", default="replay", help="of the files with the tables")
    parser.add_argument("--output", type=Path, default=None, help="folder of the results")
    return parser


def main(arguments: Sequence[str]) -> None:
    """Run the races that are missing and print the tables."""
    options = _parser().parse_args(arguments)
    if options.quick:
        options.methods = ["random", "tpe", "hyperband", "bohb"]
        options.seeds, options.trainings = 3, 25
        options.surfaces = options.surfaces[:3] or list(synthetic_curves())
    folder = options.output or cache_folder() / "results"
    methods = [method(text, RACERS) for text in options.methods]
    for name in options.fresh:
        (folder / "replay" / f"{method(name, RACERS).name}.jsonl").unlink(missing_ok=True)
    results = stored(folder / "replay")
    slow_seeds = min(options.seeds, options.slow_seeds)
    jobs = [
        Race(chosen.name, load_curves(name).name, seed, workers, options.trainings)
        for workers in options.workers
        for chosen in methods
        for seed in range(slow_seeds if chosen.slow else options.seeds)
        for name in options.surfaces
    ]
    work_off(jobs, methods, results, options.processes, call, BATCH)
    texts, values = _reports(results, methods, options, slow_seeds)
    write(folder, options.name, "\n".join(texts), {**values, "machine": machine()})


def _reports(
    results: Results[Race], methods: Sequence[Method], options: argparse.Namespace, slow_seeds: int
) -> tuple[list[str], dict[str, object]]:
    """One report per number of workers, and with slow methods another one on fewer seeds."""
    fast = [chosen for chosen in methods if not chosen.slow]
    groups = [(fast, options.seeds), (methods, slow_seeds)]
    if not fast:
        groups = groups[1:]
    elif len(fast) == len(methods):
        groups = groups[:1]
    texts, values = [], dict[str, object]()
    for workers in options.workers:
        for group, seeds in groups:
            setup = Setup(seeds, workers, options.trainings)
            data = measured(results, group, options.surfaces, setup)
            text, values[f"{workers} workers, {seeds} seeds"] = report(data, setup)
            texts.append(text)
    return texts, values
