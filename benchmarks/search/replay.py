"""Multi-fidelity search against its peers, on learning curves in simulated time: regret, mean rank, time to a target.

Time is told in full trainings: worker seconds (workers that wait count as well) over what the
median configuration takes at the largest budget. A race is over after 100 of them.
"""

import argparse
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environments import ROOT, Process, requirements_digest
from benchmarks.environments import cache as cache_folder
from benchmarks.methods import RACERS, Method, method
from benchmarks.report import (
    duel_table,
    interval_text,
    machine,
    number,
    problem_table,
    rank_table,
    table,
    write,
)
from benchmarks.results import MethodJob, Results, work_off
from benchmarks.statistics import first_times, interval, mean_rank, median_times, speed_up
from benchmarks.tabulated.curves import Curves, load_curves, synthetic_curves, tabulated_curves
from hpo.arrays import FloatArray

AT = (10, 25, 50, 100)
REFERENCES = ("random", "tpe")  # whose last result is the target that others race to
OWN = "bohb"
SLOW = tuple(
    name for name, racer in RACERS.items() if racer.slow
)  # up to a minute of CPU time for a race
BATCH = 10
SCALE_SEED = 20_250_101


@dataclass(frozen=True)
class Race(MethodJob):
    """One search over simulated workers; its horizon is `trainings` full trainings."""

    curves: str
    seed: int
    workers: int
    trainings: int


@cache
def full_training(name: str) -> float:
    """Seconds of the median configuration at the largest budget, over 1001 random ones."""
    curves = load_curves(name)
    units = curves.space.sample_unit(np.random.default_rng(SCALE_SEED), 1001)
    return float(np.median([curves.seconds(curves.space.decode(row))[-1] for row in units]))


def kept(folder: Path) -> Results[Race]:
    """The races in a folder that belong to the curves and methods of today."""
    return Results(folder, Race, digest)


def digest(race: Race) -> str | None:
    """Changes with the curves and with the code or version of the method; None for curves that are no more."""
    if race.curves not in (*synthetic_curves(), *tabulated_curves()):
        return None
    return f"{_curves_digest(race.curves)}/{_code(race.method)}"


def call(process: Process, race: Race) -> dict[str, Any]:
    """Run a race in a process of its method."""
    return process.call(
        call="race",
        curves=race.curves,
        seed=race.seed,
        workers=race.workers,
        seconds=race.trainings * full_training(race.curves) / race.workers,
        noisy=race.curves in synthetic_curves(),
    )


@dataclass(frozen=True)
class Track:
    """The incumbents of a race: losses `(n,)`, falling, from `times` `(n,)` on, in full trainings."""

    times: FloatArray
    losses: FloatArray

    def at(self, trainings: float) -> float:
        """The incumbent's loss then; the first one's before there is any."""
        return float(
            self.losses[max(int(np.searchsorted(self.times, trainings, side="right")) - 1, 0)]
        )


def track(race: Race, answer: Any) -> Track:
    """What a race came to, in full trainings."""
    rows = np.array(answer["incumbents"], dtype=float).reshape(-1, 2)
    if not len(rows):
        return Track(np.array([np.inf]), np.array([np.inf]))
    return Track(rows[:, 0] * race.workers / full_training(race.curves), rows[:, 1])


def regret(curves: Curves, loss: float) -> float:
    """0 at the least loss found on the curves, 1 at that of the median configuration."""
    return max(loss - curves.optimum, 0.0) / (curves.scale - curves.optimum)


@dataclass(frozen=True)
class Measured:
    """All that the tables are made of; the races are methods x curves x seeds.

    `tracks` are by method, curves and seed; `cpu` are CPU seconds and `legs` numbers of legs,
    `busy` shares of the workers' time, each `(n_methods, n_curves, n_seeds)`.
    """

    methods: Sequence[Method]
    curves: Sequence[str]
    tracks: Sequence[Sequence[Sequence[Track]]]
    cpu: FloatArray
    legs: FloatArray
    busy: FloatArray

    def regrets(self, at: Sequence[float]) -> FloatArray:
        """`(n_methods, n_curves, n_seeds, n_at)` normalised regrets."""
        return np.array(
            [
                [
                    [[regret(load_curves(name), race.at(n)) for n in at] for race in seeds]
                    for name, seeds in zip(self.curves, of_method, strict=True)
                ]
                for of_method in self.tracks
            ]
        )

    def times_to(self, reference: int) -> FloatArray:
        """`(n_methods, n_curves, n_seeds)` full trainings until the reference's median last loss is reached."""
        return np.array(
            [
                [
                    [
                        first_times(race.times, race.losses, self.target(reference, j))
                        for race in seeds
                    ]
                    for j, seeds in enumerate(of_method)
                ]
                for of_method in self.tracks
            ]
        )

    def target(self, reference: int, curves: int) -> float:
        """The median over seeds of the last loss of a method on one of the curves."""
        return float(np.median([race.losses[-1] for race in self.tracks[reference][curves]]))


def measured(
    results: Results[Race],
    methods: Sequence[Method],
    curves: Sequence[str],
    seeds: int,
    workers: int,
    trainings: int,
) -> Measured:
    """What has been raced: the curves on which every method has every seed."""

    def race(chosen: Method, name: str, seed: int) -> Race:
        return Race(chosen.name, name, seed, workers, trainings)

    used = [
        name
        for name in curves
        if all(
            race(chosen, name, seed) in results.answers
            for chosen in methods
            for seed in range(seeds)
        )
    ]
    races = [
        [[race(chosen, name, seed) for seed in range(seeds)] for name in used] for chosen in methods
    ]
    answers = [[[results.answers[one] for one in row] for row in rows] for rows in races]

    def column(key: str) -> FloatArray:
        values = [[[answer[key] for answer in row] for row in rows] for rows in answers]
        return np.array(values, dtype=float).reshape(len(methods), len(used), seeds)

    horizons = np.array([trainings * full_training(name) for name in used])[:, None]
    return Measured(
        methods=methods,
        curves=used,
        tracks=[
            [[track(one, results.answers[one]) for one in row] for row in rows] for rows in races
        ],
        cpu=column("cpu_seconds"),
        legs=column("legs"),
        busy=column("spent") / horizons,
    )


def report(
    data: Measured, workers: int, seeds: int, trainings: int
) -> tuple[str, dict[str, object]]:
    """Markdown and plain values of the races with so many workers."""
    titles = [chosen.title for chosen in data.methods]
    at = [n for n in AT if n <= trainings]
    regrets = data.regrets(at)
    parts = [
        f"### {workers} worker{'s' if workers > 1 else ''}, {seeds} seeds, {len(titles)} methods\n",
        f"{len(data.curves)} surfaces, no configuration given first. Mean rank [95 % interval over "
        "seeds] · mean regret, after so many full trainings.\n",
        rank_table(titles, regrets, at),
    ]
    names = [chosen.name for chosen in data.methods]
    if OWN in names and len(names) > 1:
        mine = names.index(OWN)
        parts += [
            f"\nRaces in which {titles[mine]} is ahead, ties half\n",
            duel_table(titles, regrets, at, mine),
        ]
    times: dict[str, object] = {}
    for reference in (name for name in REFERENCES if name in names):
        to = data.times_to(names.index(reference))
        title = titles[names.index(reference)]
        parts += [
            f"\nFull trainings until the loss is there that {title} has after {trainings} (its median), and how many "
            "times sooner that is; medians over seeds and over surfaces [95 % interval]\n",
            time_table(*_others(titles, to, names.index(reference)), data.curves, trainings),
        ]
        times[reference] = to.tolist()
    parts += ["\nWhat a decision costs, and how busy the workers are\n", cost_table(titles, data)]
    for i, n in enumerate(at):
        parts += [f"\nMedian normalised regret after {n} full trainings [95 % interval]\n"]
        parts += [problem_table(titles, data.curves, regrets[..., i])]
    values: dict[str, object] = {
        "methods": names,
        "curves": list(data.curves),
        "seeds": seeds,
        "mean_rank": {n: mean_rank(regrets[..., i]).tolist() for i, n in enumerate(at)},
        "regret": {n: regrets[..., i].tolist() for i, n in enumerate(at)},
        "times_to": times,
    }
    return "\n".join(parts), values


def time_table(
    titles: Sequence[str], times: FloatArray, curves: Sequence[str], trainings: int
) -> str:
    """How many times sooner than after `trainings`, and median times, of times `(n_methods, n_curves, n_seeds)`."""
    rows = []
    for title, mine in zip(titles, times, strict=True):
        cells = [
            "never" if np.isinf(median) else number(float(median)) for median in median_times(mine)
        ]
        value, low, high = speed_up(mine, trainings)
        rows.append([title, interval_text(value, low, high, 1), *cells])
    return table(["method", "times sooner", *curves], rows)


def cost_table(titles: Sequence[str], data: Measured) -> str:
    """CPU milliseconds for each leg, legs in a race, and the share of the workers' time spent on legs."""
    rows = []
    for i, title in enumerate(titles):
        milliseconds = (1e3 * data.cpu[i] / np.maximum(data.legs[i], 1)).ravel()
        cost = interval_text(float(np.median(milliseconds)), *interval(milliseconds), 2)
        rows.append(
            [title, cost, f"{np.median(data.legs[i]):.0f}", f"{100 * data.busy[i].mean():.0f} %"]
        )
    return table(["method", "CPU ms a decision", "decisions a race", "workers busy"], rows)


def main(arguments: Sequence[str]) -> None:
    """Run what is missing and print the tables."""
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
    parser.add_argument("--trainings", type=int, default=100, help="the horizon")
    parser.add_argument(
        "--fresh", nargs="*", default=[], help="methods whose kept results are not used"
    )
    parser.add_argument(
        "--quick", action="store_true", help="our methods, three seeds, 25 full trainings"
    )
    parser.add_argument("--name", default="replay", help="of the files with the tables")
    parser.add_argument("--output", type=Path, default=None, help="folder of the results")
    options = parser.parse_args(arguments)
    if options.quick:
        options.methods, options.seeds, options.trainings = (
            ["random", "tpe", "hyperband", "bohb"],
            3,
            25,
        )
        options.surfaces = options.surfaces[:3] or list(synthetic_curves())
    folder = options.output or cache_folder() / "results"
    methods = [method(text, RACERS) for text in options.methods]
    for name in options.fresh:
        (folder / "replay" / f"{method(name, RACERS).name}.jsonl").unlink(missing_ok=True)
    results = kept(folder / "replay")
    slow_seeds = min(options.seeds, options.slow_seeds)
    most = slow_seeds if all(chosen.slow for chosen in methods) else options.seeds
    jobs = [
        Race(chosen.name, load_curves(name).name, seed, workers, options.trainings)
        for workers in options.workers
        for chosen in methods
        for seed in range(slow_seeds if chosen.slow else options.seeds)
        for name in options.surfaces
    ]
    work_off(jobs, methods, results, options.processes, call, BATCH)
    fast = [chosen for chosen in methods if not chosen.slow]
    tables = (
        [(fast, options.seeds), (methods, slow_seeds)]
        if 0 < len(fast) < len(methods)
        else [(methods, most)]
    )
    texts, values = [], {}
    for workers in options.workers:
        for of, seeds in tables:
            data = measured(results, of, options.surfaces, seeds, workers, options.trainings)
            text, values[f"{workers} workers, {seeds} seeds"] = report(
                data, workers, seeds, options.trainings
            )
            texts.append(text)
    write(folder, options.name, "\n".join(texts), {**values, "machine": machine()})


def _others(
    titles: Sequence[str], times: FloatArray, reference: int
) -> tuple[list[str], FloatArray]:
    """All but the reference, whose own seeds come to the target in half of the cases, whatever it is."""
    return [*titles[:reference], *titles[reference + 1 :]], np.delete(times, reference, axis=0)


@cache
def _curves_digest(name: str) -> str:
    curves = load_curves(name)
    losses, seconds = curves.losses(curves.default), curves.seconds(curves.default)
    return f"{curves.optimum:.6g}/{curves.scale:.6g}/{losses.sum():.6g}/{seconds.sum():.6g}"


@cache
def _code(name: str) -> str:
    chosen = method(name, RACERS)
    if chosen.environment:
        return requirements_digest(chosen.environment)
    if chosen.module != "replay.own":
        return f"hyperopt {version('hyperopt')}"
    code = hashlib.sha256()
    for pattern in ("*.py", "samplers/*.py", "schedulers/*.py"):
        for path in sorted((ROOT / "hpo").glob(pattern)):
            code.update(path.read_bytes() if path.stem not in _APART else b"")
    return code.hexdigest()[:12]


# files of `hpo` that no race depends on
_APART = (
    "executors",
    "supervisor",
    "launch",
    "cores",
    "worker",
    "hyperopt_space",
    "hyperopt",
    "space_yaml",
    "errors",
    "grid",
)
