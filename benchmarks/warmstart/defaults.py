"""The tuned default of a family: the configuration that is best on the mean of many tables.

The same random configurations are trained on every table. The regret of a training is 0 for the
best configuration of its table, 1 for the median one, and 2 at most.

The worth of the choice is shown on tables that had no part in it: for each table, the best one of
the other tables is tried first, and random ones after it. Trainings are stored table by table, and
the same command goes on where it was stopped.
"""

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets import Dataset, add_datasets_option, find_dataset, read_index
from benchmarks.environments import cache as cache_folder
from benchmarks.markdown import interval_text, table
from benchmarks.report import machine, write
from benchmarks.statistics import best_so_far, paired_ratio
from benchmarks.tabulated.making import inside, train_once
from hpo.arrays import FloatArray
from hpo.space.parameters import Params
from pipelines.models import FamilyOptions
from pipelines.models.catalog import family, settings
from pipelines.table.scores.metrics import default_metric

ROWS = 4_000
POOL = 64  # random configurations
HORIZON = {"mlp": 60}
MAX_HORIZON = 1_000
MAX_REGRET = 2.0
AFTER = (1, 2, 3, 4, 6, 8)  # trials after the library's default at which regrets are shown
SHOWN = 4  # configurations that are printed
ORDERS = 200  # random orders of the pool
SEED = 5


@dataclass(frozen=True)
class Training:
    """A configuration on one table: its validation loss (nan if it failed) and CPU seconds."""

    params: Params
    loss: float
    seconds: float


def main(arguments: Sequence[str]) -> None:
    """Train what is missing, choose a portfolio and print what it is worth."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks tuned-defaults", description=__doc__
    )
    add_datasets_option(parser)
    parser.add_argument("--model", default="lightgbm")
    parser.add_argument("--tables", nargs="+", default=None, help="their names; all by default")
    parser.add_argument("--rows", type=int, default=ROWS, help="of a table, at most")
    parser.add_argument("--pool", type=int, default=POOL, help="random configurations")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--output", type=Path, default=None, help="folder of the trainings")
    options = parser.parse_args(arguments)
    names = options.tables or list(read_index(options.datasets))
    datasets = [find_dataset(options.datasets, name) for name in names]
    folder = options.output or cache_folder() / "results"
    stored = folder / "tuned-defaults" / options.model
    stored.mkdir(parents=True, exist_ok=True)

    points = [{}, *pool_of(options.model, options.pool)]  # the library's default has no values
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as processes:
        futures = [
            processes.submit(trained, dataset, options.model, points, options.rows, stored)
            for dataset in datasets
        ]
        regret = regrets(losses_of([future.result() for future in futures]))
    text, values = report(regret, points)
    values |= {"tables": names, "rows": options.rows, "machine": machine()}
    write(folder, f"tuned-defaults-{options.model}", text, values)


def pool_of(model: str, size: int) -> list[Params]:
    """Random configurations of a family's space."""
    space, rng = settings(model).space, np.random.default_rng(SEED)
    return [space.decode(unit) for unit in space.codes.sample(rng, size)]


def report(regret: FloatArray, points: Sequence[Params]) -> tuple[str, dict[str, object]]:
    """Markdown and plain values.

    Args:
        regret: `(n_tables, n)` of the library's default and of the pool.
        points: the configurations `(n,)`.
    """
    random, chosen = after_each(regret)
    rows = [
        [
            str(n),
            f"{random[:, n].mean():.2f}",
            f"{chosen[:, n].mean():.2f}",
            interval_text(*paired_ratio(chosen[:, n], random[:, n]), 2),
        ]
        for n in AFTER
    ]
    head = ["trials after the default", "random", "the best of the other tables first", "ratio"]
    best = 1 + np.argsort(regret[:, 1:].mean(axis=0), kind="stable")[:SHOWN]
    lines = [f"- mean regret {regret[:, i].mean():.2f}: {_short(points[i])}" for i in best]
    text = f"{len(regret)} tables.\n\n{table(head, rows)}\n\n" + "\n".join(lines)
    plain = {"best": [dict(points[i]) for i in best]}
    return text, plain | {"random": random.tolist(), "chosen": chosen.tolist()}


def after_each(regret: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The mean regrets `(n_tables, 1 + n)` after the default and each of n more trials.

    Those of the second array try the best configuration of the other tables before random ones.
    """
    n_tables, n = regret.shape
    rng, last = np.random.default_rng(SEED), max(AFTER)
    orders = 1 + np.array([rng.permutation(n - 1)[:last] for _ in range(ORDERS)])
    random, chosen = [], []
    for i, row in enumerate(regret):
        best = 1 + int(np.argmin(np.delete(regret, i, axis=0)[:, 1:].mean(axis=0)))
        random.append(_means(row, orders))
        chosen.append(_means(row, np.array([_first(best, order) for order in orders])))
    return np.array(random), np.array(chosen)


def _means(row: FloatArray, orders: NDArray[np.intp]) -> FloatArray:
    """The smallest regret so far of one table, on the mean of orders of columns `(m, n)`."""
    starts = np.zeros((len(orders), 1), dtype=np.intp)
    return np.asarray(best_so_far(row[np.hstack([starts, orders])]).mean(axis=0))


def _first(column: int, order: NDArray[np.intp]) -> NDArray[np.intp]:
    """The order with one column at its start, and as long as before."""
    return np.array([column, *order[order != column]])[: len(order)]


def trained(
    dataset: Dataset, model: str, points: Sequence[Params], rows: int, folder: Path
) -> list[Training]:
    """The trainings of configurations on one table; those that are stored are not run again."""
    path = folder / f"{dataset.name}.json"
    known: list[Training] = []
    if path.exists():
        known = [Training(**values) for values in json.loads(path.read_text())["rows"]]
    missing = points[len(known) :]
    if not missing:
        return known[: len(points)]
    fold = dataset.fold(rows)
    kind = fold.task.kind
    own = settings(model, kind=kind, has_categorical=bool(fold.cardinalities))
    metric, horizon = default_metric(kind), HORIZON.get(model, MAX_HORIZON)
    trainer = family(model)(fold, FamilyOptions(metric, 1, horizon=horizon))
    for point in missing:
        params = inside(own.space, point or own.first_points[0])
        known.append(Training(params, *train_once(trainer, fold, metric, params, horizon, seed=0)))
    path.write_text(json.dumps({"kind": kind, "rows": [asdict(each) for each in known]}))
    print(f"{dataset.name}: {len(missing)} trainings, {kind}", flush=True)
    return known


def losses_of(trainings: Sequence[Sequence[Training]]) -> FloatArray:
    """`(n_tables, n)` losses; failed trainings get the largest loss of their table."""
    losses = np.array([[each.loss for each in row] for row in trainings])
    return np.asarray(np.fmin(losses, np.nanmax(losses, axis=1, keepdims=True)))


def regrets(losses: FloatArray) -> FloatArray:
    """`(n_tables, n)` regrets; the median is that of the pool behind the first column."""
    least = losses.min(axis=1, keepdims=True)
    median = np.median(losses[:, 1:], axis=1, keepdims=True)
    return np.asarray(np.fmin((losses - least) / np.maximum(median - least, 1e-12), MAX_REGRET))


def _short(params: Params) -> str:
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in params.items()
    )
