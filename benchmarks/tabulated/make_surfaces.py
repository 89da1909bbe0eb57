"""Make the tabulated surfaces: train each model in a few hundred configurations on small tables, and fit.

Two thirds of the configurations are uniform in the model's own search space (with the library's
default and the tuned default); the rest are drawn where the fit so far expects the best losses,
since that is where searches spend their trials. Losses are log-loss or root mean squared error on
the validation rows, at the best round.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.model_selection import KFold, cross_val_predict

from benchmarks.tabulated.surfaces import FOLDER, Surface, features
from hpo.arrays import FloatArray
from hpo.errors import UserError, closest
from hpo.space import SearchSpace
from hpo.space.parameters import Params, Value
from pipelines.models.catalog import family, settings
from pipelines.models.errors import TrainingError
from pipelines.table.data import Fold, Prepared, prepare
from pipelines.table.metrics import metric_for
from pipelines.table.reading import load_table

BUDGET = {"lightgbm": 300, "xgboost": 300, "mlp": 100}
TABLES = {
    "lightgbm": ("phone_churn", "vehicle", "abalone", "kin8nm"),
    "xgboost": ("credit_card_default", "cmc_contraceptive", "wine_white", "bike_hour"),
    "mlp": ("vehicle", "california_housing", "space_ga", "cmc_contraceptive"),
}
# Where FLAML is told that trainings are cheap.
CHEAP: dict[str, dict[str, Value]] = {
    "lightgbm": {"num_leaves": 4},
    "xgboost": {"max_depth": 4, "grow_policy": "depthwise"},
    "mlp": {},
}
ROWS = 3_000
UNIFORM = {"lightgbm": 220, "xgboost": 220, "mlp": 160}
FOCUSED = {"lightgbm": 50, "xgboost": 50, "mlp": 40}
STAGES = 2
# Of the network a quarter diverges or hardly learns; how badly says nothing, and would bend the
# rest of the surface.
LEVEL_FROM = {"lightgbm": 1.0, "xgboost": 1.0, "mlp": 0.75}


@dataclass(frozen=True)
class Fit:
    """The process of one surface; see `benchmarks.tabulated.surfaces.Surface`."""

    alpha: FloatArray
    length: FloatArray
    signal: float
    center: float
    width: float
    r2: float
    rank_correlation: float
    best_half_rank_correlation: float


def fit(space: SearchSpace, units: FloatArray, losses: FloatArray, level_from: float) -> Fit:
    """Fit the squashed losses; those above the quantile `level_from`, and diverged ones (nan), count as equal to it.

    The correlations are those of five-fold cross-validation with the fitted kernel.
    """
    worst = np.nanquantile(losses, level_from)
    losses = np.fmin(losses, worst)
    center = float(np.median(losses))
    width = float(np.subtract(*np.quantile(losses, [0.75, 0.25]))) or 1.0
    x, y = features(space, units), np.arcsinh((losses - center) / width)
    kernel = ConstantKernel(1.0) * Matern(np.ones(x.shape[1]), (0.1, 30), nu=2.5) + WhiteKernel(
        0.05, (1e-5, 1)
    )
    process = GaussianProcessRegressor(kernel, random_state=0, n_restarts_optimizer=1).fit(x, y)
    fixed = GaussianProcessRegressor(process.kernel_, optimizer=None)
    expected = cross_val_predict(fixed, x, y, cv=KFold(5, shuffle=True, random_state=0))
    good = y <= np.median(y)
    return Fit(
        alpha=process.alpha_,
        length=process.kernel_.k1.k2.length_scale,
        signal=float(process.kernel_.k1.k1.constant_value),
        center=center,
        width=width,
        r2=float(1 - ((expected - y) ** 2).mean() / y.var()),
        rank_correlation=float(spearmanr(expected, y)[0]),
        best_half_rank_correlation=float(spearmanr(expected[good], y[good])[0]),
    )


def least(
    space: SearchSpace, predict: Callable[[FloatArray], FloatArray], rng: np.random.Generator
) -> float:
    """The least of a surface, by random search and shrinking steps from its best points.

    `predict` gives the losses `(m,)` at unit codes `(m, d)`.
    """
    units = space.sample_unit(rng, 20_000)
    starts = units[np.argsort(predict(units))[:40]]
    best = starts
    for scale in np.geomspace(0.3, 0.003, 40):
        moved = np.repeat(best, 50, axis=0)
        full = np.where(np.isnan(moved), rng.random(moved.shape), moved)
        steps = rng.normal(0, scale, full.shape) * (rng.random(full.shape) < 0.3)
        jumps = np.where(
            rng.random(full.shape) < 0.03, rng.random(full.shape), np.clip(full + steps, 0, 1)
        )
        tried = np.concatenate([best, space.deactivate(space.snap(jumps))])
        best = tried[np.argsort(predict(tried))[:40]]
    return float(predict(best)[0])


def train(
    fold: Fold, model: str, space: SearchSpace, units: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Losses and seconds `(n,)` of really training the configurations `(n, d)`; nan where it diverged."""
    metric = metric_for("rmse" if fold.task.kind == "regression" else "log_loss", fold.task.kind)
    trainer = family(model)(fold, metric, 1, horizon=BUDGET[model])
    losses, seconds = np.full(len(units), np.nan), np.zeros(len(units))
    for i, unit in enumerate(units):
        start = time.process_time()
        trial = trainer.start(space.decode(unit), seed=i)
        with suppress(TrainingError):
            trial.train(BUDGET[model])
            losses[i] = metric.to_loss(fold.score(metric, trial.predict(fold.valid)))
        seconds[i] = time.process_time() - start
    return losses, seconds


def make(model: str, table: str, datasets: Path) -> str:
    """Make one surface and say how good it is."""
    fold = load_fold(datasets, table)
    chosen = settings(model, kind=fold.task.kind, has_categorical=bool(fold.cardinalities))
    space, rng = chosen.space, np.random.default_rng([len(model), len(table)])
    firsts = [inside(space, point) for point in chosen.first_points]
    units = np.concatenate(
        [[space.encode(point) for point in firsts], space.sample_unit(rng, UNIFORM[model])]
    )
    losses, seconds = train(fold, model, space, units)
    for _ in range(STAGES):
        surface = _surface(
            space, fit(space, units, losses, LEVEL_FROM[model]), features(space, units)
        )
        drawn = space.sample_unit(rng, 6_000)
        noisy = surface.predict(drawn) + rng.normal(0, 0.1 * surface.width, len(drawn))
        focus = drawn[np.argsort(noisy)[: FOCUSED[model]]]
        more, longer = train(fold, model, space, focus)
        units, losses = np.concatenate([units, focus]), np.concatenate([losses, more])
        seconds = np.concatenate([seconds, longer])
    return keep(
        model, table, [len(fold.train), len(fold.valid)], space, firsts[0], units, losses, seconds
    )


def keep(
    model: str,
    table: str,
    rows: Sequence[int],
    space: SearchSpace,
    default: Params,
    units: FloatArray,
    losses: FloatArray,
    seconds: FloatArray,
) -> str:
    """Fit and write one surface and say how good it is."""
    units = units.astype(np.float32)
    fitted = fit(space, units.astype(float), losses, LEVEL_FROM[model])
    x, rng = features(space, units.astype(float)), np.random.default_rng([len(model), len(table)])
    about = {
        "model": model,
        "table": table,
        "rows": list(rows),
        "budget": BUDGET[model],
        "space": space.to_dict(),
        "default": dict(default),
        "cheap": {name: value for name, value in CHEAP[model].items() if name in space},
        "optimum": least(space, _surface(space, fitted, x).predict, rng),
        "signal": fitted.signal,
        "center": fitted.center,
        "width": fitted.width,
        "r2": fitted.r2,
        "rank_correlation": fitted.rank_correlation,
        "best_half_rank_correlation": fitted.best_half_rank_correlation,
        "cpu_seconds": float(seconds.sum()),
    }
    FOLDER.mkdir(exist_ok=True)
    np.savez_compressed(
        FOLDER / f"{model}-{table}.npz",
        about=np.array(json.dumps(about)),
        units=units,
        losses=losses.astype(np.float32),
        seconds=seconds.astype(np.float32),
        alpha=fitted.alpha,
        length=fitted.length,
    )
    quality = f"R² {fitted.r2:.2f}, rank correlation {fitted.rank_correlation:.2f}"
    return (
        f"{model}/{table}: {len(losses)} trainings, {seconds.sum():.0f} CPU seconds; {quality} "
        f"({fitted.best_half_rank_correlation:.2f} in the better half); losses {np.nanmin(losses):.4g} to "
        f"{np.nanmax(losses):.4g}, default {losses[0]:.4g}, least of the surface {about['optimum']:.4g}"
    )


def load_fold(datasets: Path, table: str, rows: int = ROWS) -> Fold:
    """The training and validation rows of a table cut to at most `rows` rows.

    Raises:
        UserError: naming the closest one when there is no such table.
    """
    return load_prepared(datasets, table, rows).folds[0]


def load_prepared(datasets: Path, table: str, rows: int) -> Prepared:
    """A table cut to at most `rows` rows, ready for a study.

    Raises:
        UserError: naming the closest one when there is no such table.
    """
    index = pd.read_csv(datasets / "index.csv").set_index("name")
    if table not in index.index:
        raise UserError(
            f"no table {table!r} in {datasets / 'index.csv'}{closest(table, index.index)}"
        )
    frame = load_table(str(datasets / f"{table}.csv.gz"))
    frame = frame.sample(min(rows, len(frame)), random_state=0).reset_index(drop=True)
    return prepare(frame, str(index.loc[table, "target"]), seed=0)


def inside(space: SearchSpace, point: Params) -> dict[str, Any]:
    """A configuration moved into the space."""
    unit = space.encode(point)
    return space.decode(np.where(np.isnan(unit), 0.5, unit))


def jobs_parser(
    name: str, about: str | None, models: Sequence[str], processes: int
) -> argparse.ArgumentParser:
    """What the commands that train on tables take: where tables lie, and which models and tables are made."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {name}", description=about)
    parser.add_argument(
        "--datasets", type=Path, required=True, help="folder with index.csv and <name>.csv.gz"
    )
    parser.add_argument("--models", nargs="+", default=list(models), choices=list(models))
    parser.add_argument("--tables", nargs="+", default=None, help="of those chosen for the models")
    parser.add_argument("--fresh", action="store_true", help="make them again where they are")
    parser.add_argument("--processes", type=int, default=processes)
    return parser


def make_missing(
    make: Callable[[str, str, Path], str],
    tables: Mapping[str, Sequence[str]],
    folder: Path,
    options: argparse.Namespace,
) -> None:
    """Make the `<model>-<table>.npz` that `options` (of `jobs_parser`) ask for and that `folder` lacks."""
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


def main(arguments: Sequence[str]) -> None:
    """Make the surfaces that are missing."""
    make_missing(
        make, TABLES, FOLDER, jobs_parser("tables", __doc__, list(TABLES), 2).parse_args(arguments)
    )


def _surface(space: SearchSpace, fitted: Fit, x: FloatArray) -> Surface:
    return Surface(
        model="",
        table="",
        space=space,
        default={},
        cheap={},
        optimum=0.0,
        x=x,
        alpha=fitted.alpha,
        length=np.asarray(fitted.length),
        signal=fitted.signal,
        center=fitted.center,
        width=fitted.width,
    )
