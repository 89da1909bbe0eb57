"""Search quality: normalised regret and mean rank over problems and seeds."""

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
from benchmarks.methods import METHODS, Method, method
from benchmarks.report import duel_table, machine, problem_table, rank_table, write
from benchmarks.results import MethodJob, Results, work_off
from benchmarks.search.problems import names, problem
from benchmarks.statistics import best_so_far, mean_rank
from hpo.arrays import FloatArray

AT = (10, 25, 50, 100)
CODE = {"random": ("random",), "tpe": ("tpe", "parzen")}


@dataclass(frozen=True)
class Job(MethodJob):
    """One search: a method on a problem from a seed."""

    problem: str
    seed: int
    trials: int
    first: bool


def stored(folder: Path) -> Results[Job]:
    """The searches in a folder whose problems and methods have not changed since."""
    return Results(folder, Job, digest)


def digest(job: Job) -> str | None:
    """Changes with the problem and the code or version of the method; None for unknown problems."""
    if job.problem not in names():
        return None
    chosen = problem(job.problem)
    losses = (chosen.optimum, chosen.scale, chosen.loss(chosen.default))
    return "/".join([*(f"{loss:.6g}" for loss in losses), _code(job.method)])


@cache
def _code(name: str) -> str:
    chosen = method(name)
    if chosen.environment:
        return requirements_digest(chosen.environment)
    if chosen.module != "own":
        return f"hyperopt {version('hyperopt')}"
    code = hashlib.sha256()
    for path in sorted((ROOT / "hpo" / "samplers").glob("*.py")):
        code.update(path.read_bytes() if path.stem in CODE[str(chosen.settings["name"])] else b"")
    return code.hexdigest()[:12]


def regrets(
    results: Results[Job],
    methods: Sequence[str],
    problems: Sequence[str],
    seeds: int,
    trials: int,
    first: bool,
) -> FloatArray:
    """Normalised regrets of the best losses so far; nan where not measured.

    The shape is `(n_methods, n_problems, n_seeds, trials)`.
    """
    out = np.full((len(methods), len(problems), seeds, trials), np.nan)
    for i, name in enumerate(methods):
        for j, on in enumerate(problems):
            for seed in range(seeds):
                answer = results.answers.get(Job(name, on, seed, trials, first))
                if answer is not None:
                    best = best_so_far(np.array(answer["losses"][:trials]))
                    best = np.pad(best, (0, trials - len(best)), mode="edge")
                    out[i, j, seed] = [problem(on).regret(loss) for loss in best]
    return out


def report(
    results: Results[Job],
    methods: Sequence[Method],
    problems: Sequence[str],
    seeds: int,
    trials: int,
    first: bool,
) -> tuple[str, dict[str, object]]:
    """Markdown and plain values of the problems with all searches."""
    ids, titles = [m.name for m in methods], [m.title for m in methods]
    measured = regrets(results, ids, problems, seeds, trials, first)
    complete = np.asarray(~np.isnan(measured).any(axis=(0, 2, 3)))
    used = [name for name, good in zip(problems, complete.tolist(), strict=True) if good]
    measured = measured[:, complete]
    at = [n for n in AT if n <= trials]
    measured = measured[..., [n - 1 for n in at]]
    start = (
        "the same default configuration given first to every method"
        if first
        else "no configuration given first"
    )
    parts = [
        f"{len(used)} problems × {seeds} seeds, {start}. "
        "Mean rank [95 % interval over seeds] · mean regret.\n"
    ]
    parts.append(rank_table(titles, measured, at))
    own = next(
        (i for i, chosen in enumerate(methods) if chosen.settings.get("name") == "tpe"), None
    )
    if own is not None and len(methods) > 1:
        parts += [f"\nRaces in which {titles[own]} is ahead, ties half\n"]
        parts += [duel_table(titles, measured, at, own)]
    groups = {problem(name).group for name in used}
    for group in sorted(groups) if len(groups) > 1 else ():
        members = np.array([problem(name).group == group for name in used])
        parts += [
            f"\n{group} ({members.sum()} problems)\n",
            rank_table(titles, measured[:, members], at),
        ]
    for i, n in enumerate(at):
        parts += [f"\nMedian normalised regret after {n} trials [95 % interval]\n"]
        parts += [problem_table(titles, used, measured[..., i])]
    values: dict[str, object] = {
        "methods": ids,
        "problems": used,
        "seeds": seeds,
        "first": first,
        "mean_rank": {n: mean_rank(measured[..., i]).tolist() for i, n in enumerate(at)},
        "mean_regret": {n: measured[..., i].mean(axis=(1, 2)).tolist() for i, n in enumerate(at)},
        "regret": {
            n: {p: measured[:, j, :, i].tolist() for j, p in enumerate(used)}
            for i, n in enumerate(at)
        },
    }
    return "\n".join(parts), values


def main(arguments: Sequence[str]) -> None:
    """Run the searches that are missing and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks quality", description=__doc__)
    parser.add_argument(
        "--methods", nargs="+", default=list(METHODS), help="name or name:key=value,…"
    )
    parser.add_argument(
        "--problems", nargs="+", default=list(names()), help=f"of {', '.join(names())}"
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--no-first", action="store_true", help="give no method the default configuration"
    )
    parser.add_argument("--fresh", nargs="*", default=[], help="methods that are run again")
    parser.add_argument("--quick", action="store_true", help="two problems, three seeds, 25 trials")
    parser.add_argument("--output", type=Path, default=None, help="folder of the results")
    options = parser.parse_args(arguments)
    if options.quick:
        options.problems, options.seeds, options.trials = ["branin", "nested"], 3, 25
    folder = options.output or cache_folder() / "results"
    methods = [method(text) for text in options.methods]
    for name in options.fresh:
        (folder / "quality" / f"{method(name).name}.jsonl").unlink(missing_ok=True)
    results, first = stored(folder / "quality"), not options.no_first
    jobs = [
        Job(chosen.name, name, seed, options.trials, first)
        for seed in range(options.seeds)
        for name in options.problems
        for chosen in methods
    ]
    work_off(jobs, methods, results, options.processes, _search)
    text, values = report(results, methods, options.problems, options.seeds, options.trials, first)
    write(folder, "quality" if first else "quality-no-first", text, values | {"machine": machine()})


def _search(process: Process, job: Job) -> dict[str, Any]:
    return process.call(
        call="minimise", problem=job.problem, seed=job.seed, trials=job.trials, first=job.first
    )
