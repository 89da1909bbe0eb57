"""Several goals: the hypervolume that searches reach, over problems and seeds.

The problems are ZDT1 to ZDT3 and DTLZ2 (Zitzler et al., 2000; Deb et al., 2002), and validation
loss against training seconds of real models (`benchmarks.tabulated.curves`).
"""

import argparse
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environments import ROOT, Process, requirements_digest
from benchmarks.environments import cache as cache_folder
from benchmarks.methods import SEVERAL, method
from benchmarks.report import machine, problem_table, rank_table, write
from benchmarks.results import MethodJob, Results, work_off
from benchmarks.statistics import mean_rank
from benchmarks.tabulated.curves import load_curves, tabulated_curves
from hpo.arrays import FloatArray
from hpo.goals import Goal, Goals, hypervolume
from hpo.goals.leaders import Leaders
from hpo.space import Float, Params, SearchSpace
from hpo.trial import Report, Trial

AT = (25, 50, 100, 200)
_BOX = SearchSpace(tuple(Float(f"x{i}", 0.0, 1.0) for i in range(6)))
_SAMPLE, _WORST = 2000, 0.9  # random configurations, and the quantile that bounds the box


@dataclass(frozen=True)
class Problem:
    """Goals that are minimised.

    Attributes:
        space: of the configurations.
        losses: of a configuration, one for each goal.
        low: the best value of each goal `(k,)` in a random sample.
        high: a bad value of each.
    """

    space: SearchSpace
    losses: Callable[[Params], tuple[float, ...]]
    low: FloatArray
    high: FloatArray

    @property
    def goals(self) -> Goals:
        """The goals, named by their position."""
        return Goals(tuple(Goal(f"f{i}") for i in range(len(self.low))))


def names() -> tuple[str, ...]:
    """All problems."""
    return (*_COMPUTED, *(f"{name}, seconds" for name in tabulated_curves()))


@cache
def problem(name: str) -> Problem:
    """The problem of that name."""
    if name in _COMPUTED:
        space, losses = _BOX, _COMPUTED[name]
    else:
        curves = load_curves(name.removesuffix(", seconds"))
        space = curves.space

        def losses(params: Params) -> tuple[float, ...]:
            return float(curves.losses(params)[-1]), float(curves.seconds(params)[-1])

    units = space.codes.sample(np.random.default_rng(0), _SAMPLE)
    drawn = np.array([losses(space.decode(row)) for row in units])
    return Problem(space, losses, drawn.min(axis=0), np.quantile(drawn, _WORST, axis=0))


def _values(params: Params) -> list[float]:
    return [float(params[name]) for name in _BOX.names]


def _zdt(shape: Callable[[float, float], float]) -> Callable[[Params], tuple[float, ...]]:
    def losses(params: Params) -> tuple[float, ...]:
        first, *rest = _values(params)
        g = 1 + 9 * sum(rest) / len(rest)
        return first, g * shape(first, g)

    return losses


def dtlz2(params: Params) -> tuple[float, ...]:
    """Three goals, whose front is an eighth of a sphere."""
    a, b, *rest = _values(params)
    radius = 1 + sum((x - 0.5) ** 2 for x in rest)
    one, other = a * math.pi / 2, b * math.pi / 2
    return (
        radius * math.cos(one) * math.cos(other),
        radius * math.cos(one) * math.sin(other),
        radius * math.sin(one),
    )


_COMPUTED: dict[str, Callable[[Params], tuple[float, ...]]] = {
    "zdt1": _zdt(lambda f, g: 1 - math.sqrt(f / g)),
    "zdt2": _zdt(lambda f, g: 1 - (f / g) ** 2),
    "zdt3": _zdt(lambda f, g: 1 - math.sqrt(f / g) - f / g * math.sin(10 * math.pi * f)),
    "dtlz2": dtlz2,
}


@dataclass(frozen=True)
class Job(MethodJob):
    """One search: a method on a problem from a seed."""

    problem: str
    seed: int
    trials: int


def digest(job: Job) -> str | None:
    """Changes with the version of a peer, or with our own code."""
    chosen = method(job.method, SEVERAL)
    return requirements_digest(chosen.environment) if chosen.environment else _own_code()


@cache
def _own_code() -> str:
    code = hashlib.sha256()
    for path in sorted((ROOT / "hpo").rglob("*.py")):
        code.update(path.read_bytes())
    return code.hexdigest()[:12]


def missed(on: Problem, losses: Sequence[Sequence[float]], at: Sequence[int]) -> list[float]:
    """The share of the box that the first trials do not dominate, after so many of them."""
    found, leaders = [], Leaders(on.goals)
    for number, values in enumerate(losses):
        metrics = dict(zip(on.goals.names, values, strict=True))
        leaders.update(Trial(number, {}, 1.0, reports=(Report(1.0, values[0], metrics),)))
        if number + 1 in at:
            front = np.array([row[1:] for row in leaders.values])
            found.append(1 - hypervolume(front, on.low, on.high))
    return found


def main(arguments: Sequence[str]) -> None:
    """Run the searches and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks goals", description=__doc__)
    parser.add_argument("--methods", nargs="+", default=list(SEVERAL))
    parser.add_argument("--problems", nargs="+", default=list(names()))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one problem, two seeds, 25 trials")
    parser.add_argument("--output", type=Path, default=None, help="folder of the results")
    options = parser.parse_args(arguments)
    if options.quick:
        options.problems, options.seeds, options.trials = ["zdt1"], 2, 25
    folder = options.output or cache_folder() / "results"
    methods = [method(text, SEVERAL) for text in options.methods]
    results: Results[Job] = Results(folder / "goals", Job, digest)
    jobs = [
        Job(chosen.name, name, seed, options.trials)
        for seed in range(options.seeds)
        for name in options.problems
        for chosen in methods
    ]
    answers: dict[Job, list[list[float]]] = {}

    def search(process: Process, job: Job) -> dict[str, Any]:
        answer: dict[str, Any] = process.call(
            call="front", problem=job.problem, seed=job.seed, trials=job.trials
        )
        answers[job] = answer["losses"]
        return answer

    work_off(jobs, methods, results, options.processes, search)
    answers |= {job: found["losses"] for job, found in results.answers.items()}
    at = [n for n in AT if n <= options.trials]
    measured = np.array(
        [
            [
                [
                    missed(problem(name), answers[Job(m.name, name, seed, options.trials)], at)
                    for seed in range(options.seeds)
                ]
                for name in options.problems
            ]
            for m in methods
        ]
    )
    titles = [chosen.title for chosen in methods]
    parts = [
        f"{len(options.problems)} problems × {options.seeds} seeds. Mean rank [95 % interval over "
        "seeds] · mean share of the box that is not dominated.\n",
        rank_table(titles, measured, at),
    ]
    for i, n in enumerate(at):
        parts.append(f"\nMedian share that is not dominated after {n} trials [95 % interval]\n")
        parts.append(problem_table(titles, options.problems, measured[..., i]))
    ranks = {n: mean_rank(measured[..., i]).tolist() for i, n in enumerate(at)}
    values = {"methods": titles, "mean_rank": ranks, "machine": machine()}
    write(folder, "goals", "\n".join(parts), values)
