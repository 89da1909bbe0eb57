"""Search quality: normalised regret and mean rank after 10, 25, 50 and 100 trials, over problems and seeds."""

import argparse
import hashlib
import json
import queue
import sys
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environments import ROOT, Process, requirements_digest, started
from benchmarks.environments import cache as cache_folder
from benchmarks.methods import METHODS, Method, method
from benchmarks.problems import names, problem
from benchmarks.report import interval_text, machine, table, write
from benchmarks.statistics import best_so_far, interval, mean_rank, mean_rank_intervals, wins
from hpo.space import Array

AT = (10, 25, 50, 100)
CODE = {"random": ("random",), "tpe": ("tpe", "parzen")}


@dataclass(frozen=True)
class Job:
    """One search: a method on a problem from a seed."""

    method: str
    problem: str
    seed: int
    trials: int
    first: bool


class Results:
    """Finished searches, one JSON object a line, so that a run goes on where it was stopped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self.losses: dict[Job, list[float]] = {}
        self.cpu_seconds: dict[Job, float] = {}
        for path in sorted(folder.glob("*.jsonl")):
            for line in path.read_text().splitlines():
                self._keep(json.loads(line))

    def add(self, job: Job, losses: list[float], cpu_seconds: float) -> None:
        """Keep one search."""
        row = asdict(job) | {"digest": digest(job), "cpu_seconds": cpu_seconds, "losses": losses}
        with self._lock:
            self._keep(row)
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / f"{job.method.replace('/', '_')}.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")

    def _keep(self, row: dict[str, Any]) -> None:
        job = Job(row["method"], row["problem"], row["seed"], row["trials"], row["first"])
        if job.problem in names() and row["digest"] == digest(job):
            self.losses[job], self.cpu_seconds[job] = row["losses"], row["cpu_seconds"]


def digest(job: Job) -> str:
    """Changes with the problem and with the code or version of the method, so that older results are not mixed in."""
    chosen = problem(job.problem)
    return f"{chosen.optimum:.6g}/{chosen.scale:.6g}/{chosen.loss(chosen.default):.6g}/{_code(job.method)}"


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


def run(jobs: Iterable[Job], methods: Sequence[Method], results: Results, processes: int) -> None:
    """Run what is missing, `processes` workers side by side, each with one method at a time."""
    waiting: queue.Queue[tuple[Method, list[Job]]] = queue.Queue()
    known = {chosen.name: chosen for chosen in methods}
    left = [job for job in jobs if job not in results.losses]
    for chosen in methods:
        mine = [job for job in left if job.method == chosen.name]
        for start in range(0, len(mine), 40):
            waiting.put((known[chosen.name], mine[start : start + 40]))
    done, lock = [0], threading.Lock()

    def work() -> None:
        while True:
            try:
                chosen, batch = waiting.get_nowait()
            except queue.Empty:
                return
            with started(chosen) as process:
                for job in batch:
                    _search(process, job, results)
                    with lock:
                        done[0] += 1
                        if done[0] % 50 == 0 or done[0] == len(left):
                            print(f"{done[0]}/{len(left)} searches", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(processes) as pool:
        for future in [pool.submit(work) for _ in range(processes)]:
            future.result()


def regrets(
    results: Results, methods: Sequence[str], problems: Sequence[str], seeds: int, trials: int, first: bool
) -> Array:
    """`(n_methods, n_problems, n_seeds, trials)` normalised regrets of the best so far; nan where not measured."""
    out = np.full((len(methods), len(problems), seeds, trials), np.nan)
    for i, name in enumerate(methods):
        for j, on in enumerate(problems):
            for seed in range(seeds):
                losses = results.losses.get(Job(name, on, seed, trials, first))
                if losses is not None:
                    best = best_so_far(np.array(losses[:trials]))
                    best = np.pad(best, (0, trials - len(best)), mode="edge")
                    out[i, j, seed] = [problem(on).regret(loss) for loss in best]
    return out


def rank_table(titles: Sequence[str], measured: Array, at: Sequence[int]) -> str:
    """Mean rank and mean normalised regret of each method at each number of trials."""
    rows = [[title] for title in titles]
    for n in at:
        here = measured[..., n - 1]
        mean, bounds = mean_rank(here), mean_rank_intervals(here)
        for i, row in enumerate(rows):
            row.append(f"{interval_text(mean[i], bounds[i, 0], bounds[i, 1], 2)} · {here[i].mean():.3f}")
    return table(["method", *(f"at {n}: mean rank · regret" for n in at)], rows)


def duel_table(titles: Sequence[str], measured: Array, at: Sequence[int], mine: int) -> str:
    """How often one method is ahead of each other one."""
    rows = [
        [title, *(_percent(*wins(measured[mine, ..., n - 1], measured[i, ..., n - 1])) for n in at)]
        for i, title in enumerate(titles)
        if i != mine
    ]
    return table(["against", *(f"at {n}" for n in at)], rows)


def problem_table(titles: Sequence[str], problems: Sequence[str], measured: Array, n: int) -> str:
    """Median regret with its interval, a problem a row."""
    rows = []
    for j, name in enumerate(problems):
        here = measured[:, j, :, n - 1]
        medians = np.median(here, axis=1)
        cells = []
        for i, median in enumerate(medians):
            text = interval_text(median, *interval(here[i]), 3)
            cells.append(f"**{text}**" if median == medians.min() else text)
        rows.append([name, *cells])
    return table(["problem", *titles], rows)


def report(
    results: Results, methods: Sequence[Method], problems: Sequence[str], seeds: int, trials: int, first: bool
) -> tuple[str, dict[str, object]]:
    """Markdown and plain values of what has been measured."""
    ids, titles = [m.name for m in methods], [m.title for m in methods]
    measured = regrets(results, ids, problems, seeds, trials, first)
    complete = np.asarray(~np.isnan(measured).any(axis=(0, 2, 3)))
    used = [name for name, good in zip(problems, complete.tolist(), strict=True) if good]
    measured = measured[:, complete]
    at = [n for n in AT if n <= trials]
    start = (
        "the same default configuration given first to every method"
        if first
        else "no configuration given first"
    )
    parts = [
        f"{len(used)} problems × {seeds} seeds, {start}. Mean rank [95 % interval over seeds] · mean regret.\n"
    ]
    parts.append(rank_table(titles, measured, at))
    own = next((i for i, chosen in enumerate(methods) if chosen.settings.get("name") == "tpe"), None)
    if own is not None and len(methods) > 1:
        parts += [f"\nRaces in which {titles[own]} is ahead, ties half\n"]
        parts += [duel_table(titles, measured, at, own)]
    groups = {problem(name).group for name in used}
    for group in sorted(groups) if len(groups) > 1 else ():
        members = np.array([problem(name).group == group for name in used])
        parts += [f"\n{group} ({members.sum()} problems)\n", rank_table(titles, measured[:, members], at)]
    for n in at:
        parts += [f"\nMedian normalised regret after {n} trials [95 % interval]\n"]
        parts += [problem_table(titles, used, measured, n)]
    values: dict[str, object] = {
        "methods": ids,
        "problems": used,
        "seeds": seeds,
        "first": first,
        "mean_rank": {n: mean_rank(measured[..., n - 1]).tolist() for n in at},
        "mean_regret": {n: measured[..., n - 1].mean(axis=(1, 2)).tolist() for n in at},
        "regret": {n: {p: measured[:, j, :, n - 1].tolist() for j, p in enumerate(used)} for n in at},
    }
    return "\n".join(parts), values


def main(arguments: Sequence[str]) -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks quality", description=__doc__)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), help="name or name:key=value,…")
    parser.add_argument("--problems", nargs="+", default=list(names()), help=f"of {', '.join(names())}")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--no-first", action="store_true", help="give no method the default configuration")
    parser.add_argument("--fresh", nargs="*", default=[], help="methods whose kept results are not used")
    parser.add_argument("--quick", action="store_true", help="two problems, three seeds, 25 trials")
    parser.add_argument("--output", type=Path, default=None, help="folder of the results")
    options = parser.parse_args(arguments)
    if options.quick:
        options.problems, options.seeds, options.trials = ["branin", "nested"], 3, 25
    folder = options.output or cache_folder() / "results"
    methods = [method(text) for text in options.methods]
    for name in options.fresh:
        (folder / "quality" / f"{method(name).name}.jsonl").unlink(missing_ok=True)
    results, first = Results(folder / "quality"), not options.no_first
    jobs = [
        Job(chosen.name, name, seed, options.trials, first)
        for seed in range(options.seeds)
        for name in options.problems
        for chosen in methods
    ]
    run(jobs, methods, results, options.processes)
    text, values = report(results, methods, options.problems, options.seeds, options.trials, first)
    write(folder, "quality" if first else "quality-no-first", text, values | {"machine": machine()})


def _percent(share: float, low: float, high: float) -> str:
    return f"{100 * share:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"


def _search(process: Process, job: Job, results: Results) -> None:
    answer = process.call(
        call="minimise", problem=job.problem, seed=job.seed, trials=job.trials, first=job.first
    )
    results.add(job, answer["losses"], answer["cpu_seconds"])
