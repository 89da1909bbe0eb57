"""Warm starts as users run them: `tune` itself, one study after another on one tracking server.

Each order is an empty server and a random order of the tables. Every table is tuned with
`warm_start=auto`, so that it learns from the studies before it, and with `warm_start=off` on a
server of its own. Both have the same seed, and therefore the same rows. With `--again` every table
is tuned once more after all of them, with another seed.

Results are stored study by study; the same command continues where it was stopped.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.datasets import Dataset, add_datasets_option, find_dataset, read_index
from benchmarks.environments import ROOT
from benchmarks.environments import cache as cache_folder
from benchmarks.report import write
from benchmarks.warmstart.duels import STARTS, Outcome, report
from hpo.errors import UserError
from pipelines.store.studies import leaderboard, read_header, studies
from pipelines.store.tracking import connect
from pipelines.table.scores.metrics import METRICS

SEED_AGAIN = 1_000  # added to the seed of a table's second study, so that other rows are held out
QUICK_TABLES, QUICK_TRIALS = 3, 6
MAX_OUTPUT = 1_500  # characters of a failed command's output that are shown


@dataclass(frozen=True)
class Setting:
    """The options that all studies of one run of this benchmark share."""

    model: str
    algorithm: str
    trials: int

    @property
    def name(self) -> str:
        """The name of the files of this setting."""
        return f"{self.model}-{self.algorithm}-{self.trials}"


@dataclass(frozen=True)
class Job:
    """One study to run; the attributes are those of `Outcome`."""

    dataset: Dataset
    order: int
    start: str
    past: int
    again: bool

    @property
    def seed(self) -> int:
        """The seed of the study."""
        return self.order + SEED_AGAIN * self.again


def missing_jobs(
    stored: Sequence[Outcome], order: int, datasets: Sequence[Dataset], rounds: int
) -> Iterator[Job]:
    """The studies of one order without a stored result; in round two every table comes again."""
    done = {(o.table, o.start, o.again) for o in stored if o.order == order}
    for past, dataset in enumerate([*datasets] * rounds):
        again = past >= len(datasets)
        for start in STARTS:
            if (dataset.name, start, again) not in done:
                yield Job(dataset, order, start, past, again)


def tuned(setting: Setting, job: Job, folder: Path) -> Outcome:
    """Run one study with the product's own command.

    Raises:
        UserError: if the command fails; the message holds the end of its output.
    """
    store = folder / f"{setting.name}-{job.order}-{job.start}"
    options = {**asdict(setting), "seed": job.seed, "warm_start": job.start}
    wall = tune(job.dataset, options, store)
    return outcome_of(job, tracking_uri(store), wall)


def tracking_uri(store: Path) -> str:
    """The tracking URI of the studies in a folder."""
    return f"sqlite:///{store / 'mlflow.db'}"


def tune(dataset: Dataset, options: Mapping[str, object], store: Path) -> float:
    """Run `tune` on a table, with a tracking store in a folder; the seconds that it took.

    Raises:
        UserError: if the command fails; the message holds the end of its output.
    """
    store.mkdir(parents=True, exist_ok=True)
    given = {"data": dataset.path, "target": dataset.target, **options}
    began = time.monotonic()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pipelines", "tune"),
            *(f"--{name}={value}" for name, value in given.items()),
        ],
        cwd=store,
        env={
            **os.environ,
            "MLFLOW_TRACKING_URI": tracking_uri(store),
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
    )
    if done.returncode:
        output = (done.stdout + done.stderr)[-MAX_OUTPUT:]
        raise UserError(f"{dataset.name}, {dict(options)}: {output}")
    return time.monotonic() - began


def outcome_of(job: Job, store: str, wall: float) -> Outcome:
    """The result of the newest study of a store."""
    newest = max(studies(tracking_uri=store), key=lambda run: run.info.start_time)
    run_id = newest.info.run_id
    metric = METRICS[read_header(connect(store), run_id)["metric"]]
    trials = sorted(leaderboard(run_id, tracking_uri=store), key=lambda trial: trial["number"])
    losses = [
        metric.goal.to_loss(trial["metrics"][metric.name]) if trial["reports"] else np.inf
        for trial in trials
    ]
    return Outcome(
        table=job.dataset.name,
        order=job.order,
        start=job.start,
        past=job.past,
        losses=tuple(losses),
        seconds=tuple(trial["seconds"] for trial in trials),
        held_out=metric.goal.to_loss(newest.data.metrics[f"test_{metric.name}"]),
        wall=wall,
        again=job.again,
    )


def read(path: Path) -> list[Outcome]:
    """The stored studies."""
    lines = path.read_text().splitlines() if path.exists() else []
    found = []
    for line in lines:
        row = json.loads(line)
        losses, seconds = tuple(row.pop("losses")), tuple(row.pop("seconds"))
        found.append(Outcome(**row, losses=losses, seconds=seconds))
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks warmstart-in-use", description=__doc__
    )
    add_datasets_option(parser)
    parser.add_argument(
        "--tables", nargs="+", default=None, help="their names; all of index.csv by default"
    )
    parser.add_argument("--model", default="lightgbm")
    parser.add_argument("--algorithm", default="tpe")
    parser.add_argument("--trials", type=int, default=25)
    parser.add_argument("--orders", type=int, nargs="+", default=[0, 1], help="seeds of the orders")
    parser.add_argument("--again", action="store_true", help="tune every table a second time")
    parser.add_argument("--processes", type=int, default=1, help="orders that run at a time")
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_TABLES} tables, {QUICK_TRIALS} trials"
    )
    parser.add_argument(
        "--output", type=Path, default=None, help="folder of the results and the stores"
    )
    return parser


def main(arguments: Sequence[str]) -> None:
    """Run the studies that are missing and print the tables."""
    options = _parser().parse_args(arguments)
    names = options.tables or list(read_index(options.datasets))
    datasets = [find_dataset(options.datasets, name) for name in names]
    if options.quick:
        datasets, options.trials, options.orders = datasets[:QUICK_TABLES], QUICK_TRIALS, [0]
    setting = Setting(options.model, options.algorithm, options.trials)
    folder = (options.output or cache_folder() / "results") / "warmstart-in-use"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{setting.name}.jsonl"

    def run(order: int) -> None:
        permutation = np.random.default_rng(order).permutation(len(datasets))
        shuffled = [datasets[i] for i in permutation]
        for job in missing_jobs(read(path), order, shuffled, 1 + options.again):
            outcome = tuned(setting, job, folder)
            with path.open("a") as file:
                file.write(json.dumps(asdict(outcome)) + "\n")
            line = f"order {order}: {outcome.table}, {outcome.start}, {outcome.wall:.0f} s"
            print(line, flush=True)

    with ThreadPoolExecutor(options.processes) as pool:
        for future in [pool.submit(run, order) for order in options.orders]:
            future.result()
    chosen = {dataset.name for dataset in datasets}
    outcomes = [o for o in read(path) if o.order in options.orders and o.table in chosen]
    text, values = report(outcomes, options.trials)
    write(folder.parent, f"warmstart-in-use-{setting.name}", text, values)
