"""Searches in limited time that count the seconds of trainings, against those that do not.

Each table is tuned by `tune` with `algorithm=tpe` and with `tpe:cost=0`, with the same seed, rows
and `budget`. Regret is 0 at the best validation score of the two studies, 1 at the median of the
trials of `tpe:cost=0`, and at most 2.

Results are stored study by study; the same command continues where it was stopped.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.datasets import add_datasets_option, find_dataset, read_index
from benchmarks.environments import cache as cache_folder
from benchmarks.markdown import interval_text, table
from benchmarks.report import machine, write
from benchmarks.statistics import paired_ratio
from benchmarks.warmstart.duels import SHARES, Outcome, Pair, pairs_of
from benchmarks.warmstart.in_use import Job, outcome_of, read, tracking_uri, tune

PLAIN, TIMED = "tpe:cost=0", "tpe"
QUICK_TABLES, QUICK_BUDGET = 2, "2s"


def main(arguments: Sequence[str]) -> None:
    """Run the studies that are missing and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks seconds", description=__doc__)
    add_datasets_option(parser)
    parser.add_argument("--tables", nargs="+", default=None, help="all of index.csv by default")
    parser.add_argument("--model", default="lightgbm")
    parser.add_argument("--budget", default="60s", help="of each study")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_TABLES} tables, {QUICK_BUDGET}, one seed"
    )
    parser.add_argument("--output", type=Path, default=None, help="folder of the results")
    options = parser.parse_args(arguments)
    names = options.tables or list(read_index(options.datasets))
    if options.quick:
        names, options.budget, options.seeds = names[:QUICK_TABLES], QUICK_BUDGET, [0]
    folder = (options.output or cache_folder() / "results") / "seconds"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{options.model}-{options.budget.replace(' ', '')}"
    path = folder / f"{name}.jsonl"

    done = {(o.table, o.order, o.start) for o in read(path)}
    for seed in options.seeds:
        for each in names:
            for algorithm in (PLAIN, TIMED):
                if (each, seed, algorithm) in done:
                    continue
                job = Job(find_dataset(options.datasets, each), seed, algorithm, 0, again=False)
                outcome = _tuned(job, options.model, options.budget, folder / f"{name}-{seed}")
                with path.open("a") as file:
                    file.write(json.dumps(asdict(outcome)) + "\n")
                print(f"{each}, seed {seed}, {algorithm}: {len(outcome.losses)} trials", flush=True)
    text, values = report(pairs_of(read(path), (PLAIN, TIMED)))
    write(folder.parent, f"seconds-{name}", text, values)


def _tuned(job: Job, model: str, budget: str, store: Path) -> Outcome:
    given = {"model": model, "budget": budget, "algorithm": job.start, "seed": job.seed}
    wall = tune(job.dataset, {**given, "warm_start": "off", "ensemble": "off"}, store)
    return outcome_of(job, tracking_uri(store), wall)


def report(pairs: Sequence[Pair]) -> tuple[str, dict[str, object]]:
    """Markdown and plain values: regrets over seconds, trials and held-out scores."""
    plain, timed = np.array([pair.over_seconds() for pair in pairs]).swapaxes(0, 1)
    rows = [
        [f"`{name}`", *(f"{value:.3f}" for value in regret.mean(axis=0))]
        for name, regret in ((PLAIN, plain), (TIMED, timed))
    ]
    ratios = [paired_ratio(timed[:, i], plain[:, i]) for i in range(len(SHARES))]
    rows.append(["ratio", *(interval_text(*ratio, 2) for ratio in ratios)])
    head = ["regret after", *(f"{share:g} of the seconds" for share in SHARES)]
    better = float(np.mean([p.warm.held_out <= p.cold.held_out + 1e-12 for p in pairs]))
    trials = float(
        np.exp(np.mean([np.log(len(p.warm.losses) / len(p.cold.losses)) for p in pairs]))
    )
    text = (
        f"{table(head, rows)}\n{len(pairs)} pairs of studies. `{TIMED}` trains {trials:.2f} times "
        f"as many configurations, and its held-out score is better or equal in {better:.0%}."
    )
    values = {"ratios": ratios, "trials": trials, "held_out": better, "pairs": len(pairs)}
    return text, {**values, "machine": machine()}
