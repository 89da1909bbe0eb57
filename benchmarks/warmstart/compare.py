"""Warm starts compared with cold searches, on tables that the past studies have not seen.

`--on surfaces` searches on the tabulated tables of `benchmarks.warmstart.pasts`; a search takes a
second. `--on fits` trains LightGBM for real, on tables that no past study has seen and in the
continuous space.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.datasets import add_datasets_option
from benchmarks.environments import cache as cache_folder
from benchmarks.markdown import interval_text
from benchmarks.markdown import table as as_table
from benchmarks.report import write
from benchmarks.statistics import best_so_far, interval
from benchmarks.tabulated.efforts import PAST_TABLES
from benchmarks.warmstart.pasts import TRIALS, tables
from benchmarks.warmstart.searches import FITS, searcher
from benchmarks.warmstart.starts import METHODS
from hpo.arrays import FloatArray

AT = (5, 10, 25, 50)
NEVER = 999
WORSE_AT = 25  # trials
TOLERANCE = 0.02  # a method is worse on a table if its regret is larger by more than this
OURS = "warm"

Key = tuple[str, str, str, int]
"""Table, model, method, seed."""


def read(path: Path) -> dict[Key, list[float]]:
    """The stored searches."""
    stored = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        row = json.loads(line)
        stored[row["table"], row["model"], row["method"], row["seed"]] = row["losses"]
    return stored


@dataclass(frozen=True)
class Comparison:
    """Searches of all methods on the same tables and seeds.

    `regret` is `(methods, tables, seeds, trials)`; `after` `(methods, tables, seeds)` is the number
    of trials until the final median loss of the cold search is reached, `NEVER` if it is not.
    """

    methods: Sequence[str]
    regret: FloatArray
    after: FloatArray

    @classmethod
    def of(
        cls, losses: FloatArray, scales: tuple[FloatArray, FloatArray], methods: Sequence[str]
    ) -> "Comparison":
        """Compare losses `(methods, tables, seeds, trials)`.

        `scales` are the losses `(tables,)` at which the regret is 0 and 1.
        """
        best = best_so_far(losses)
        low, high = scales
        regret = (best - low[:, None, None]) / (high - low)[:, None, None]
        final = best[list(methods).index("cold"), :, :, -1]
        reached = best <= np.median(final, axis=1)[:, None, None] + 1e-12
        after = np.where(reached.any(axis=-1), reached.argmax(axis=-1) + 1, NEVER)
        return cls(methods, regret, after)

    def by_table(self, method: int, trials: int) -> FloatArray:
        """The mean regret `(tables,)` of a method after a number of trials."""
        return np.asarray(self.regret[method, :, :, trials - 1].mean(axis=1))

    def worse(self, method: int) -> float:
        """The share of tables on which a method is clearly worse than the cold search."""
        cold = self.by_table(list(self.methods).index("cold"), WORSE_AT)
        return float(np.mean(self.by_table(method, WORSE_AT) > cold + TOLERANCE))

    def trials(self, method: int, quantiles: Sequence[float]) -> FloatArray:
        """Quantiles of the number of trials that a method needs."""
        return np.asarray(np.quantile(self.after[method], quantiles, method="higher"))


def report(
    stored: Mapping[Key, Sequence[float]],
    model: str,
    names: Sequence[str],
    methods: Sequence[str],
    trials: int,
    against: str = OURS,
) -> tuple[str, dict[str, object]]:
    """Markdown and plain values: every method compared with the cold search.

    Only seeds that every table and method has are compared. A second table compares the methods
    with the one named `against`, table by table.
    """
    every = sorted({seed for _, of, _, seed in stored if of == model})
    seeds = [seed for seed in every if _complete(stored, model, names, methods, seed)]
    losses = np.zeros((len(methods), len(names), len(seeds), trials))
    for i, j, k in np.ndindex(losses.shape[:3]):
        losses[i, j, k] = stored[names[j], model, methods[i], seeds[k]][:trials]
    found = Comparison.of(losses, _scales(model, names, losses, methods), methods)
    at = [n for n in AT if n <= trials]
    rows = []
    values: dict[str, object] = {"seeds": len(seeds), "tables": list(names)}
    for i, method in enumerate(methods):
        needed = ", ".join(_trials(value) for value in found.trials(i, [0.5, 0.75]))
        cells = [_mean(found.by_table(i, n)) for n in at]
        rows.append([method, needed, *cells, f"{100 * found.worse(i):.0f} %"])
        values[method] = {
            "trials": found.trials(i, [0.25, 0.5, 0.75]).tolist(),
            "regret": {n: float(found.regret[i, :, :, n - 1].mean()) for n in at},
            "worse": found.worse(i),
        }
    needed = f"trials to cold's {trials}: median, upper quartile"
    header = ["method", needed, *(f"regret at {n}" for n in at), f"worse at {WORSE_AT}"]
    about = f"{len(names)} tables × {len(seeds)} seeds, {model}, {trials} trials."
    text = f"{about}\n\n{as_table(header, rows)}"
    if against in methods:
        text += f"\n\n{_duels(found, at, against)}"
    return text, values


def _complete(
    stored: Mapping[Key, Sequence[float]],
    model: str,
    names: Sequence[str],
    methods: Sequence[str],
    seed: int,
) -> bool:
    """Whether every table and method has the seed."""
    return all((name, model, method, seed) in stored for name in names for method in methods)


def _duels(found: Comparison, at: Sequence[int], against: str) -> str:
    """The difference in regret to the method `against`, and the tables on which it is positive."""
    base, rows = list(found.methods).index(against), []
    for i, method in enumerate(found.methods):
        if i != base:
            more = [found.by_table(i, n) - found.by_table(base, n) for n in at]
            rows.append(
                [method, *(f"{_mean(by_table)}, {(by_table > 0).sum()}" for by_table in more)]
            )
    return as_table([f"against {against}", *(f"at {n}" for n in at)], rows)


def _mean(by_table: FloatArray) -> str:
    return interval_text(float(by_table.mean()), *interval(by_table, np.mean), 3)


def _scales(
    model: str, names: Sequence[str], losses: FloatArray, methods: Sequence[str]
) -> tuple[FloatArray, FloatArray]:
    """The losses `(tables,)` at which the regret is 0 and 1.

    Surfaces have their own. For real trainings these are the minimum over all searches and the
    median of the first spread-out configurations of the cold searches.
    """
    own = {table.name: table for table in tables(model)}
    if all(name in own for name in names):
        return np.array([own[n].optimum for n in names]), np.array([own[n].scale for n in names])
    cold = losses[list(methods).index("cold")]
    finite = np.where(np.isfinite(losses), losses, np.nan)
    return np.nanmin(finite, axis=(0, 2, 3)), np.median(cold[:, :, 2:7], axis=(1, 2))


def _trials(value: float) -> str:
    return "never" if value >= NEVER else f"{value:.0f}"


def main(arguments: Sequence[str]) -> None:
    """Run the searches that are missing and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks warmstart", description=__doc__)
    parser.add_argument("--on", choices=["surfaces", "fits"], default="surfaces")
    add_datasets_option(parser, required=False)
    parser.add_argument("--model", default="lightgbm", choices=list(PAST_TABLES))
    parser.add_argument("--methods", nargs="+", default=["cold", "warm"], choices=list(METHODS))
    parser.add_argument(
        "--against", default=OURS, choices=list(METHODS), help="compare with it table by table"
    )
    parser.add_argument("--tables", type=int, default=None, help="only the first so many tables")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", type=Path, default=None, help="folder of the results")
    options = parser.parse_args(arguments)
    if options.on == "fits" and options.datasets is None:
        parser.error("--on fits needs --datasets")
    folder = options.output or cache_folder() / "results"
    path = folder / f"warmstart-{options.on}-{options.trials}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    surfaces = options.on == "surfaces"
    known = [table.name for table in tables(options.model)] if surfaces else list(FITS)
    names = known[: options.tables]
    _search_missing(path, names, options)
    text, values = report(
        read(path), options.model, names, options.methods, options.trials, options.against
    )
    write(folder, f"warmstart-{options.on}-{options.model}", text, values)


def _search_missing(path: Path, names: Sequence[str], options: argparse.Namespace) -> None:
    """Run the searches that the file does not hold yet and append them."""
    search = searcher(options.datasets if options.on == "fits" else None)
    stored = read(path)
    jobs = [
        (i, method, seed)
        for seed in range(options.seeds)
        for i, name in enumerate(names)
        for method in options.methods
        if (name, options.model, method, seed) not in stored
    ]
    with (
        ProcessPoolExecutor(options.processes, get_context("spawn")) as pool,
        path.open("a") as file,
    ):
        futures = [pool.submit(search, options.model, *job, options.trials) for job in jobs]
        for done, (future, (i, method, seed)) in enumerate(zip(futures, jobs, strict=True), 1):
            if error := future.exception():
                pool.shutdown(wait=False, cancel_futures=True)
                raise error
            about = {"table": names[i], "model": options.model, "method": method, "seed": seed}
            file.write(json.dumps({**about, "losses": future.result()}) + "\n")
            file.flush()
            if done % 50 == 0 or done == len(jobs):
                print(f"{done}/{len(jobs)} searches", flush=True)
