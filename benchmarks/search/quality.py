"""Search quality: normalised regret and mean rank over problems and seeds."""

import argparse
import hashlib
from collections.abc import Iterator, Sequence
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
from benchmarks.search.problems import Problem, names, problem
from benchmarks.statistics import best_so_far, mean_rank
from hpo.arrays import FloatArray

AT = (10, 25, 50, 100)
_POPULATIONS = ("evolution", "de", "cmaes")
# the files in `hpo` that a sampler's searches depend on
CODE = {
    "random": ("samplers/random.py",),
    "tpe": ("samplers/tpe/parzen.py", "samplers/tpe/__init__.py"),
    **{name: (f"samplers/{name}.py", "samplers/tpe.py") for name in _POPULATIONS},
    "gp": (
        "kernels.py",
        *(f"samplers/gp/{name}.py" for name in ("__init__", "acquisition", "losses")),
        *(f"samplers/gp/{name}.py" for name in ("process", "search")),
    ),
}


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
    if job.problem.partition("~")[0] not in names():
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
    for path in CODE[str(chosen.settings["name"])]:
        code.update((ROOT / "hpo" / path).read_bytes())
    return code.hexdigest()[:12]


@dataclass(frozen=True)
class Setup:
    """The searches to compare.

    `seeds` and `trials` are numbers; with `first`, every method gets the default configuration as
    its first point.
    """

    seeds: int
    trials: int
    first: bool

    def job(self, method_name: str, problem_name: str, seed: int) -> Job:
        """One of the searches."""
        return Job(method_name, problem_name, seed, self.trials, self.first)


def regrets(
    results: Results[Job], methods: Sequence[str], problems: Sequence[str], setup: Setup
) -> FloatArray:
    """Normalised regrets of the best losses so far; nan where not measured.

    The shape is `(n_methods, n_problems, n_seeds, trials)`.
    """
    out = np.full((len(methods), len(problems), setup.seeds, setup.trials), np.nan)
    for i, j, seed in np.ndindex(out.shape[:3]):
        answer = results.answers.get(setup.job(methods[i], problems[j], seed))
        if answer is not None:
            out[i, j, seed] = _regret(problem(problems[j]), answer["losses"], setup.trials)
    return out


def _regret(on: Problem, losses: Sequence[float], trials: int) -> FloatArray:
    """The regrets `(trials,)` of one search; a search that ended early keeps its last one."""
    best = np.array(losses[:trials]) if on.noise else best_so_far(np.array(losses[:trials]))
    found = np.array([on.regret(loss) for loss in best])
    return np.pad(found, (0, trials - len(found)), mode="edge")


def report(
    results: Results[Job], methods: Sequence[Method], problems: Sequence[str], setup: Setup
) -> tuple[str, dict[str, object]]:
    """Markdown and plain values of the problems with all searches."""
    names, titles = [chosen.name for chosen in methods], [chosen.title for chosen in methods]
    measured = regrets(results, names, problems, setup)
    complete = np.asarray(~np.isnan(measured).any(axis=(0, 2, 3)))
    used = [problems[j] for j in np.flatnonzero(complete).tolist()]
    at = [n for n in AT if n <= setup.trials]
    measured = measured[:, complete][..., [n - 1 for n in at]]
    start = "the same default configuration given first to every method"
    intro = (
        f"{len(used)} problems × {setup.seeds} seeds, "
        f"{start if setup.first else 'no configuration given first'}. "
        "Mean rank [95 % interval over seeds] · mean regret.\n"
    )
    parts = [intro, rank_table(titles, measured, at)]
    parts += _own_section(methods, measured, at)
    parts += _group_sections(titles, used, measured, at)
    for i, n in enumerate(at):
        parts.append(f"\nMedian normalised regret after {n} trials [95 % interval]\n")
        parts.append(problem_table(titles, used, measured[..., i]))
    values: dict[str, object] = {
        "methods": names,
        "problems": used,
        "seeds": setup.seeds,
        "first": setup.first,
        "mean_rank": {n: mean_rank(measured[..., i]).tolist() for i, n in enumerate(at)},
        "mean_regret": {n: measured[..., i].mean(axis=(1, 2)).tolist() for i, n in enumerate(at)},
        "regret": {
            n: dict(zip(used, measured[..., i].swapaxes(0, 1).tolist(), strict=True))
            for i, n in enumerate(at)
        },
    }
    return "\n".join(parts), values


def _own_section(
    methods: Sequence[Method], measured: FloatArray, at: Sequence[int]
) -> Iterator[str]:
    """The races of our `tpe` with the others, if it is among several methods."""
    samplers = [chosen.settings.get("name") for chosen in methods]
    if "tpe" in samplers and len(methods) > 1:
        titles, own = [chosen.title for chosen in methods], samplers.index("tpe")
        yield f"\nRaces in which {titles[own]} is ahead, ties half\n"
        yield duel_table(titles, measured, at, own)


def _group_sections(
    titles: Sequence[str], problems: Sequence[str], measured: FloatArray, at: Sequence[int]
) -> Iterator[str]:
    """Ranks by group of problems, if there are several groups."""
    groups = np.array([problem(name).group for name in problems])
    found = sorted(set(groups.tolist()))
    if len(found) > 1:
        for group in found:
            members = groups == group
            yield f"\n{group} ({members.sum()} problems)\n"
            yield rank_table(titles, measured[:, members], at)


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
    parser.add_argument(
        "--noise", type=float, default=0.0, help="on the losses, as a normalised regret"
    )
    parser.add_argument("--fresh", nargs="*", default=[], help="methods that are run again")
    parser.add_argument("--quick", action="store_true", help="two problems, three seeds, 25 trials")
    parser.add_argument("--output", type=Path, default=None, help="folder of the results")
    options = parser.parse_args(arguments)
    if options.quick:
        options.problems, options.seeds, options.trials = ["branin", "nested"], 3, 25
    if options.noise:
        options.problems = [f"{name}~{options.noise:g}" for name in options.problems]
    folder = options.output or cache_folder() / "results"
    methods = [method(text) for text in options.methods]
    for name in options.fresh:
        (folder / "quality" / f"{method(name).name}.jsonl").unlink(missing_ok=True)
    results = stored(folder / "quality")
    setup = Setup(options.seeds, options.trials, first=not options.no_first)
    jobs = [
        setup.job(chosen.name, name, seed)
        for seed in range(options.seeds)
        for name in options.problems
        for chosen in methods
    ]
    work_off(jobs, methods, results, options.processes, _search)
    text, values = report(results, methods, options.problems, setup)
    name = "quality" if setup.first else "quality-no-first"
    name += f"-noise-{options.noise:g}" if options.noise else ""
    write(folder, name, text, values | {"machine": machine()})


def _search(process: Process, job: Job) -> dict[str, Any]:
    return process.call(
        call="minimise", problem=job.problem, seed=job.seed, trials=job.trials, first=job.first
    )
