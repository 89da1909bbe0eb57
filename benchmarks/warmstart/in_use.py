"""Warm starts as users run them: `tune` itself, one study after another on one tracking server.

Each order is a server that begins empty and a random order of the tables. Every table is tuned with
`warm_start=auto`, so that it learns from the studies before it, and with `warm_start=off` on a
server of its own. Both have the same seed, and so the same rows. With `--again` every table is
tuned once more after all of them, with another seed.

Regret is 0 at the best validation score of the two, 1 at the median of the trials of the study
without a past, and cut at 2. Held-out scores are those that `tune` logs for its winners.

Runs are kept as they end; the same command goes on where it was stopped.
"""

import argparse
import csv
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

from benchmarks.environments import ROOT
from benchmarks.environments import cache as cache_folder
from benchmarks.markdown import interval_text, table
from benchmarks.report import machine, write
from benchmarks.statistics import best_so_far, interval
from hpo.arrays import FloatArray
from hpo.errors import UserError, closest
from pipelines.store.studies import leaderboard, read_header, studies
from pipelines.store.tracking import connect
from pipelines.table.metrics import METRICS

STARTS = ("off", "auto")
AT = (3, 5, 10, 15, 25, 50)
SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0)  # of the training seconds of the search without a past
GROUPS = ((0, 4), (5, 9), (10, 19), (20, 999))  # numbers of past studies that are reported together
AGAIN = 1_000  # added to the seed where a table comes again, so that other rows are held out
CUT = 2.0
TOLERANCE = 0.05  # a study is worse when it regrets so much more
QUICK_TABLES, QUICK_TRIALS = 3, 6


@dataclass(frozen=True)
class Setting:
    """What every study of a run of this benchmark shares."""

    model: str
    algorithm: str
    trials: int

    @property
    def name(self) -> str:
        """Names the files of this setting."""
        return f"{self.model}-{self.algorithm}-{self.trials}"


@dataclass(frozen=True)
class Outcome:
    """One study: losses of its trials by number, seconds of each training, and what its winner scored held out.

    `held_out` is a loss, too. A trial that failed has an infinite loss. `past` is the number of
    studies that the server held before, `wall` the seconds that the command took. `again` says that
    the table had been tuned before.
    """

    table: str
    order: int
    start: str
    past: int
    losses: tuple[float, ...]
    seconds: tuple[float, ...]
    held_out: float
    wall: float
    again: bool = False


def chained(
    setting: Setting,
    order: int,
    names: Sequence[str],
    tables: Mapping[str, Mapping[str, str]],
    folder: Path,
    rounds: int,
) -> Iterator[Outcome]:
    """The studies of one order that are not kept yet, one after another; in a second round every table comes again."""
    kept = {
        (o.table, o.start, o.again)
        for o in read(folder / f"{setting.name}.jsonl")
        if o.order == order
    }
    for past, name in enumerate([*names] * rounds):
        for start in STARTS:
            if (name, start, past >= len(names)) not in kept:
                yield tuned(
                    setting, order, start, past, tables[name], folder, again=past >= len(names)
                )


def tuned(
    setting: Setting,
    order: int,
    start: str,
    past: int,
    about: Mapping[str, str],
    folder: Path,
    *,
    again: bool = False,
) -> Outcome:
    """One study by the product's own command.

    Raises:
        UserError: when the command fails, with the end of what it printed.
    """
    place = folder / f"{setting.name}-{order}-{start}"
    place.mkdir(parents=True, exist_ok=True)
    store = f"sqlite:///{place / 'mlflow.db'}"
    options = {
        **asdict(setting),
        "data": about["path"],
        "target": about["target"],
        "seed": order + AGAIN * again,
        "warm_start": start,
    }
    began = time.monotonic()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pipelines",
            "tune",
            *(f"--{name}={value}" for name, value in options.items()),
        ],
        cwd=place,
        env={**os.environ, "MLFLOW_TRACKING_URI": store, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    wall = time.monotonic() - began
    if done.returncode:
        raise UserError(
            f"{about['name']}, order {order}, warm_start={start}: {(done.stdout + done.stderr)[-1500:]}"
        )
    return _outcome(about["name"], order, start, past, wall, store, again)


def _outcome(
    name: str, order: int, start: str, past: int, wall: float, store: str, again: bool
) -> Outcome:
    """What the newest study of a store left."""
    newest = max(studies(tracking_uri=store), key=lambda run: run.info.start_time)
    run_id = newest.info.run_id
    metric = METRICS[read_header(connect(store), run_id)["metric"]]
    rows = sorted(leaderboard(run_id, tracking_uri=store), key=lambda row: row["number"])
    return Outcome(
        name,
        order,
        start,
        past,
        tuple(
            metric.to_loss(row["metrics"][metric.name]) if row["reports"] else np.inf
            for row in rows
        ),
        tuple(row["seconds"] for row in rows),
        metric.to_loss(newest.data.metrics[f"test_{metric.name}"]),
        wall,
        again,
    )


def read(path: Path) -> list[Outcome]:
    """The studies that are kept."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [Outcome(**json.loads(line)) for line in lines]


@dataclass(frozen=True)
class Duel:
    """How studies with a past do against the same without one.

    `regret` after numbers of trials without and with a past, `ratio` of the two with its interval;
    the share of studies that are `worse` in the end and whose `held_out` score is at least as good;
    how many times the `seconds` of training and of the whole command (`wall`) they take; and the
    regret `over_seconds`, at `SHARES` of the training seconds of the search without a past, without
    and with one.
    """

    studies: int
    regret: dict[int, tuple[float, float]]
    ratio: dict[int, tuple[float, float, float]]
    worse: float
    held_out: float
    seconds: float
    wall: float
    over_seconds: list[tuple[float, float]]


def report(found: Sequence[Outcome], trials: int) -> tuple[str, dict[str, object]]:
    """Markdown and plain values: regret with a past and without, by the number of past studies."""
    both, again = _pairs([o for o in found if not o.again]), _pairs([o for o in found if o.again])
    at = [n for n in AT if n <= trials]
    groups = [
        (low, high) for low, high in GROUPS if any(low <= pair[0].past <= high for pair in both)
    ]
    if len(groups) > 1:
        groups.append((groups[1][0], GROUPS[-1][1]))
    duels = {}
    for low, high in groups:
        title = f"{low} to {high}" if high < GROUPS[-1][1] else f"{low} and more"
        duels[title] = _duel([pair for pair in both if low <= pair[0].past <= high], at, trials)
    if again:
        duels["this table among them"] = _duel(again, at, trials)
    rows = []
    for title, duel in duels.items():
        for which, start in enumerate(STARTS):
            rows.append([title, f"`{start}`", *(f"{duel.regret[n][which]:.3f}" for n in at)])
        rows.append(["", "`auto` / `off`", *(interval_text(*duel.ratio[n], 2) for n in at)])
    text = table(["past studies", "`warm_start`", *(f"regret at {n}" for n in at)], rows) + "\n"
    shares = ", ".join(f"{share:g}" for share in SHARES)
    head = [
        *("past studies", "studies", "worse by 0.05 at the end", "held-out score better or equal"),
        *(
            "training seconds",
            "wall seconds",
            f"regret at {shares} of the seconds of `off`: `auto` (`off`)",
        ),
    ]
    text += table(
        head,
        [
            [
                title,
                str(duel.studies),
                f"{100 * duel.worse:.0f} %",
                f"{100 * duel.held_out:.0f} %",
                f"{duel.seconds:.2f} ×",
                f"{duel.wall:.2f} ×",
                ", ".join(f"{warm:.2f} ({cold:.2f})" for cold, warm in duel.over_seconds),
            ]
            for title, duel in duels.items()
        ],
    )
    return text, {
        "groups": {title: asdict(duel) for title, duel in duels.items()},
        "machine": machine(),
    }


def _pairs(found: Sequence[Outcome]) -> list[tuple[Outcome, Outcome]]:
    """The studies of a table and order without a past and with it, where both are there."""
    by_key = {(o.table, o.order, o.start): o for o in found}
    return [
        (cold, by_key[name, order, "auto"])
        for (name, order, start), cold in by_key.items()
        if start == "off" and (name, order, "auto") in by_key
    ]


def _scale(pair: Sequence[Outcome]) -> tuple[float, float]:
    """The losses at which regret is 0 and 1."""
    low = min(min(outcome.losses) for outcome in pair)
    losses = np.array(pair[0].losses)
    return low, (float(np.median(losses[np.isfinite(losses)])) - low) or 1.0


def _regrets(pair: Sequence[Outcome]) -> list[FloatArray]:
    low, width = _scale(pair)
    return [np.minimum((best_so_far(np.array(o.losses)) - low) / width, CUT) for o in pair]


def _over_seconds(pair: Sequence[Outcome]) -> list[list[float]]:
    """Regret of each study after shares of the training seconds of the one without a past: `(2, n)`."""
    low, width = _scale(pair)
    end = sum(pair[0].seconds)
    found = []
    for outcome in pair:
        best, times = best_so_far(np.array(outcome.losses)), np.cumsum(outcome.seconds)
        seen = [
            int(np.searchsorted(times, share * end * (1 + 1e-9), side="right")) for share in SHARES
        ]
        found.append([min(float(best[n - 1] - low) / width, CUT) if n else CUT for n in seen])
    return found


def _duel(pairs: Sequence[tuple[Outcome, Outcome]], at: Sequence[int], trials: int) -> Duel:
    cold, warm = np.array([[r[:trials] for r in _regrets(pair)] for pair in pairs]).swapaxes(0, 1)
    over = np.array([_over_seconds(pair) for pair in pairs]).mean(axis=0)
    return Duel(
        len(pairs),
        {n: (float(cold[:, n - 1].mean()), float(warm[:, n - 1].mean())) for n in at},
        {n: _ratio(warm[:, n - 1], cold[:, n - 1]) for n in at},
        float(np.mean(warm[:, -1] > cold[:, -1] + TOLERANCE)),
        float(np.mean([w.held_out <= c.held_out + 1e-12 for c, w in pairs])),
        float(np.exp(np.mean([np.log(sum(w.seconds) / sum(c.seconds)) for c, w in pairs]))),
        float(np.exp(np.mean([np.log(w.wall / c.wall) for c, w in pairs]))),
        [(float(c), float(w)) for c, w in over.T],
    )


def _ratio(warm: FloatArray, cold: FloatArray) -> tuple[float, float, float]:
    """The ratio of two mean regrets `(n,)` of the same studies, and its bootstrap interval."""
    pairs = np.stack([warm, cold], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):  # where a draw holds winners alone
        low, high = interval(pairs, lambda drawn, axis: np.divide(*drawn.mean(axis=axis).T))
    return float(warm.mean() / cold.mean()), low, high


def listed(datasets: Path) -> dict[str, dict[str, str]]:
    """What `index.csv` says of each table, with its path."""
    with (datasets / "index.csv").open(newline="") as file:
        return {
            row["name"]: {**row, "path": str((datasets / f"{row['name']}.csv.gz").resolve())}
            for row in csv.DictReader(file)
        }


def main(arguments: Sequence[str]) -> None:
    """Run the studies that are missing and print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks warmstart-in-use", description=__doc__
    )
    parser.add_argument(
        "--datasets", type=Path, required=True, help="folder of index.csv and <name>.csv.gz"
    )
    parser.add_argument(
        "--tables", nargs="+", default=None, help="their names; all of index.csv by default"
    )
    parser.add_argument("--model", default="lightgbm")
    parser.add_argument("--algorithm", default="tpe")
    parser.add_argument("--trials", type=int, default=25)
    parser.add_argument("--orders", type=int, nargs="+", default=[0, 1], help="seeds of the orders")
    parser.add_argument("--again", action="store_true", help="tune every table a second time")
    parser.add_argument("--processes", type=int, default=1, help="orders that run side by side")
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_TABLES} tables, {QUICK_TRIALS} trials"
    )
    parser.add_argument(
        "--output", type=Path, default=None, help="folder of the results and the stores"
    )
    options = parser.parse_args(arguments)
    tables = listed(options.datasets)
    names = options.tables or list(tables)
    for name in names:
        if name not in tables:
            raise UserError(
                f"unknown table {name!r}{closest(name, tables)}; index.csv lists {', '.join(tables)}"
            )
    if options.quick:
        names, options.trials, options.orders = names[:QUICK_TABLES], QUICK_TRIALS, [0]
    setting = Setting(options.model, options.algorithm, options.trials)
    folder = (options.output or cache_folder() / "results") / "warmstart-in-use"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{setting.name}.jsonl"

    def run(order: int) -> None:
        shuffled = [names[i] for i in np.random.default_rng(order).permutation(len(names))]
        for outcome in chained(setting, order, shuffled, tables, folder, 1 + options.again):
            with path.open("a") as file:
                file.write(json.dumps(asdict(outcome)) + "\n")
            print(
                f"order {order}: {outcome.table}, {outcome.start}, {outcome.wall:.0f} s", flush=True
            )

    with ThreadPoolExecutor(options.processes) as pool:
        for future in [pool.submit(run, order) for order in options.orders]:
            future.result()
    chosen = [o for o in read(path) if o.order in options.orders and o.table in names]
    text, values = report(chosen, options.trials)
    write(folder.parent, f"warmstart-in-use-{setting.name}", text, values)
