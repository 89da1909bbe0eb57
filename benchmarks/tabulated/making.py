"""Steps that surfaces and learning curves share when they are made from real trainings."""

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.datasets import add_datasets_option
from hpo.arrays import FloatArray
from hpo.space import SearchSpace
from hpo.space.parameters import Params
from pipelines.models.errors import TrainingError
from pipelines.table.data import Fold
from pipelines.table.scores.metrics import Metric
from pipelines.table.scores.named import metric_for

# A quarter of the network's configurations diverge or hardly learn. How badly they do is noise that
# would bend the rest of the surface, so losses above this quantile are cut to it.
MAX_QUANTILE = {"lightgbm": 1.0, "xgboost": 1.0, "mlp": 0.75}


@dataclass(frozen=True)
class Trainings:
    """Trained configurations: unit codes `(n, d)`, losses and CPU seconds.

    Surfaces have losses and seconds `(n,)`. Curves have them at every rung, `(n, r)`, and their
    seconds are cumulative. Losses are nan from where a training diverged.
    """

    units: FloatArray
    losses: FloatArray
    seconds: FloatArray

    def joined(self, other: "Trainings") -> "Trainings":
        """These trainings and then the others."""
        return Trainings(
            np.concatenate([self.units, other.units]),
            np.concatenate([self.losses, other.losses]),
            np.concatenate([self.seconds, other.seconds]),
        )


def loss_metric(fold: Fold) -> Metric:
    """The metric of the tabulated losses: log-loss, or root mean squared error in regression."""
    kind = fold.task.kind
    return metric_for("rmse" if kind == "regression" else "log_loss", kind)


def train_once(
    trainer: Any, fold: Fold, metric: Metric, params: Params, budget: int, seed: int
) -> tuple[float, float]:
    """The validation loss of a configuration, nan if its training fails, and its CPU seconds.

    Args:
        trainer: a family on the fold.
        fold: the training and validation rows.
        metric: of the loss.
        params: the configuration.
        budget: rounds or steps.
        seed: of the training.
    """
    start, loss = time.process_time(), math.nan
    trial = trainer.start(params, seed=seed)
    with suppress(TrainingError):
        trial.train(budget)
        loss = metric.goal.to_loss(fold.score(metric, trial.predict(fold.valid)))
    return loss, time.process_time() - start


def inside(space: SearchSpace, point: Params) -> dict[str, Any]:
    """A configuration moved into the space; parameters that it lacks get their middle value."""
    unit = space.encode(point)
    return space.decode(np.where(np.isnan(unit), 0.5, unit))


def minimum_of(
    space: SearchSpace, predict: Callable[[FloatArray], FloatArray], rng: np.random.Generator
) -> float:
    """The minimum of a surface, found by random search and shrinking steps from its best points.

    `predict` gives the losses `(m,)` at unit codes `(m, d)`.
    """
    units = space.codes.sample(rng, 20_000)
    best = units[np.argsort(predict(units))[:40]]
    for scale in np.geomspace(0.3, 0.003, 40):
        moved = np.repeat(best, 50, axis=0)
        full = np.where(np.isnan(moved), rng.random(moved.shape), moved)
        steps = rng.normal(0, scale, full.shape) * (rng.random(full.shape) < 0.3)
        jumps = np.where(
            rng.random(full.shape) < 0.03, rng.random(full.shape), np.clip(full + steps, 0, 1)
        )
        tried = np.concatenate([best, space.codes.deactivate(space.codes.snap(jumps))])
        best = tried[np.argsort(predict(tried))[:40]]
    return float(predict(best)[0])


def making_parser(
    name: str, about: str | None, models: Sequence[str], processes: int
) -> argparse.ArgumentParser:
    """The options of a command that trains models on tables."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {name}", description=about)
    add_datasets_option(parser)
    parser.add_argument("--models", nargs="+", default=list(models), choices=list(models))
    parser.add_argument("--tables", nargs="+", default=None, help="a part of the models' tables")
    parser.add_argument("--fresh", action="store_true", help="also make those that exist")
    parser.add_argument("--processes", type=int, default=processes)
    return parser


def make_missing(
    make: Callable[[str, str, Path], str],
    tables: Mapping[str, Sequence[str]],
    folder: Path,
    options: argparse.Namespace,
) -> None:
    """Make the files `<model>-<table>.npz` that do not exist yet, and print one line for each.

    Args:
        make: makes one file from model, table and the folder of the data sets; returns the line.
        tables: the tables of each model.
        folder: the folder of the files.
        options: parsed by `making_parser`.
    """
    jobs = [
        (model, table)
        for model in options.models
        for table in tables[model]
        if (options.tables is None or table in options.tables)
        and (options.fresh or not (folder / f"{model}-{table}.npz").exists())
    ]
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        for future in [pool.submit(make, *job, options.datasets) for job in jobs]:
            print(future.result(), flush=True)
