"""The tuned defaults of a family: a few configurations that are good on many tables together.

The same configurations are trained on every table: a random pool, and then those that a Gaussian
process expects to be good on the mean of the tables. The portfolio is greedy (Winkelmolen et al.
2020, "Practical and sample efficient zero-shot HPO"): each configuration is the one that lowers the
mean regret of the best so far the most. The regret of a training is 0 for the best configuration of
its table, 1 for the median one of the pool, and 2 at most.

A quarter of the tables chooses nothing. On these the portfolio is compared with the pool in random
order. Trainings are stored table by table, and the same command
goes on where it was stopped.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from benchmarks.datasets import Dataset, add_datasets_option, find_dataset, read_index
from benchmarks.environments import cache as cache_folder
from benchmarks.markdown import interval_text, table
from benchmarks.report import machine, write
from benchmarks.statistics import best_so_far, paired_ratio
from benchmarks.tabulated.making import inside
from hpo.arrays import FloatArray
from hpo.space import SearchSpace
from hpo.space.parameters import Params
from pipelines.models.catalog import family, settings
from pipelines.models.errors import TrainingError
from pipelines.table.scores.metrics import default_metric

ROWS = 4_000
POOL, REFINED = 64, 20  # configurations, random and chosen by the model
HORIZON = {"mlp": 60}
MAX_HORIZON = 1_000
MAX_REGRET = 2.0
SPACING = 0.25  # between chosen configurations, in the unit cube
POINTS = 8  # of the portfolio
AFTER = (1, 2, 3, 4, 6, 8)  # trials after the library's default at which regrets are shown
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
    parser.add_argument(
        "--test", nargs="+", default=None, help="those that choose nothing; a quarter by default"
    )
    parser.add_argument("--rows", type=int, default=ROWS, help="of a table, at most")
    parser.add_argument("--pool", type=int, default=POOL, help="random configurations")
    parser.add_argument("--refined", type=int, default=REFINED, help="more of them, chosen")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--output", type=Path, default=None, help="folder of the trainings")
    options = parser.parse_args(arguments)
    names = options.tables or list(read_index(options.datasets))
    order = np.random.default_rng(SEED).permutation(names)
    test = options.test or [str(name) for name in order[: max(len(names) // 4, 1)]]
    names = [*(name for name in names if name not in test), *test]
    datasets = [find_dataset(options.datasets, name) for name in names]
    folder = options.output or cache_folder() / "results"
    stored = folder / "tuned-defaults" / options.model
    stored.mkdir(parents=True, exist_ok=True)

    def train(points: Sequence[Params]) -> list[list[Training]]:
        with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
            futures = [
                pool.submit(trained, dataset, options.model, points, options.rows, stored)
                for dataset in datasets
            ]
            return [future.result() for future in futures]

    text, values = study(options.model, options.pool, options.refined, train, len(test))
    values |= {"tables": names, "test": test, "rows": options.rows, "machine": machine()}
    write(folder, f"tuned-defaults-{options.model}", text, values)


def study(
    model: str,
    pool: int,
    refined: int,
    train: Callable[[Sequence[Params]], list[list[Training]]],
    n_test: int,
) -> tuple[str, dict[str, object]]:
    """Markdown and plain values.

    Args:
        model: the family.
        pool: how many random configurations.
        refined: how many more that the model of the first ones chooses.
        train: the trainings of each table, those of the test at the end.
        n_test: how many tables choose nothing.
    """
    space = settings(model).space
    points: list[Params] = [{}, *_pool(space, pool)]  # the empty one is the library's default
    first = regrets(losses_of(train(points)[:-n_test]))
    points += promising(space, points[1:], first[:, 1:].mean(axis=0), refined)
    regret = regrets(losses_of(train(points)), pool)
    chosen = portfolio(regret[:-n_test], POINTS)
    ours = best_so_far(regret[-n_test:, [0, *chosen]])
    rng = np.random.default_rng(SEED)
    orders = [[0, *(1 + rng.permutation(pool)[:POINTS])] for _ in range(ORDERS)]
    random = np.mean([best_so_far(regret[-n_test:, order]) for order in orders], axis=0)
    rows = [
        [
            str(n),
            f"{random[:, n].mean():.2f}",
            f"{ours[:, n].mean():.2f}",
            interval_text(*paired_ratio(ours[:, n], random[:, n]), 2),
        ]
        for n in AFTER
    ]
    head = ["trials after the default", "random configurations", "portfolio", "ratio"]
    text = (
        f"{len(regret) - n_test} tables chose among {len(points)} configurations; the regrets are "
        f"those of {n_test} others.\n\n{table(head, rows)}\n\n"
        + "\n".join(f"- {_short(points[i])}" for i in chosen)
    )
    plain = {"points": [dict(points[i]) for i in chosen], "columns": chosen}
    return text, plain | {"portfolio": ours.tolist(), "random": random.tolist()}


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
    trainer = family(model)(fold, metric, 1, horizon=horizon)
    for point in missing:
        params = inside(own.space, point or own.first_points[0])
        began, loss = time.process_time(), float("nan")
        with suppress(TrainingError):
            trial = trainer.start(params, seed=0)
            trial.train(horizon)
            loss = metric.goal.to_loss(fold.score(metric, trial.predict(fold.valid)))
        known.append(Training(params, loss, time.process_time() - began))
    path.write_text(json.dumps({"kind": kind, "rows": [asdict(each) for each in known]}))
    print(f"{dataset.name}: {len(missing)} trainings, {kind}", flush=True)
    return known


def losses_of(trainings: Sequence[Sequence[Training]]) -> FloatArray:
    """`(n_tables, n)` losses; failed trainings get the largest loss of their table."""
    losses = np.array([[each.loss for each in row] for row in trainings])
    return np.asarray(np.fmin(losses, np.nanmax(losses, axis=1, keepdims=True)))


def regrets(losses: FloatArray, pool: int | None = None) -> FloatArray:
    """`(n_tables, n)` regrets; the median is that of the random pool behind the first column."""
    least = losses.min(axis=1, keepdims=True)
    median = np.median(losses[:, 1 : None if pool is None else 1 + pool], axis=1, keepdims=True)
    return np.asarray(np.fmin((losses - least) / np.maximum(median - least, 1e-12), MAX_REGRET))


def portfolio(regret: FloatArray, size: int) -> list[int]:
    """The columns to try after the first one, the library's default."""
    best, chosen = regret[:, 0], list[int]()
    for _ in range(size):
        means = np.minimum(best[:, None], regret).mean(axis=0)
        chosen.append(int(np.argmin(means)))
        best = np.minimum(best, regret[:, chosen[-1]])
    return chosen


def promising(
    space: SearchSpace, points: Sequence[Params], regret: FloatArray, size: int
) -> list[Params]:
    """Configurations where a Gaussian process of the mean regret has the lowest confidence bounds.

    Args:
        space: of the family.
        points: that were trained.
        regret: their mean regrets `(n,)`.
        size: how many to choose.
    """
    drawn = _filled(space.sample_unit(np.random.default_rng(SEED + 1), 8_000))
    x, y = _filled(np.array([space.encode(inside(space, point)) for point in points])), regret
    kernel = ConstantKernel(0.1) * Matern(np.ones(len(space)), (0.2, 100), nu=2.5)
    process = GaussianProcessRegressor(
        kernel + WhiteKernel(0.01, (1e-3, 0.1)), normalize_y=True, random_state=0
    )
    mean, deviation = process.fit(x, y).predict(drawn, return_std=True)
    bound, chosen = mean - deviation, list[Params]()
    for _ in range(size):
        best = drawn[np.argmin(bound)]
        chosen.append(space.decode(best))
        bound = np.where(np.linalg.norm(drawn - best, axis=1) < SPACING, np.inf, bound)
    return chosen


def _pool(space: SearchSpace, size: int) -> list[Params]:
    return [space.decode(unit) for unit in space.sample_unit(np.random.default_rng(SEED), size)]


def _filled(unit: FloatArray) -> FloatArray:
    return np.where(np.isnan(unit), 0.5, unit)


def _short(params: Params) -> str:
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in params.items()
    )
