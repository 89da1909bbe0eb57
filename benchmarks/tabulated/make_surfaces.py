"""Make the tabulated surfaces: a few hundred real trainings per model and table, and a fit to them.

Two thirds of the configurations are uniform in the model's own search space (with the library's
default and the tuned default). The rest are drawn where the fit so far expects the best losses,
because that is where searches spend their trials. Losses are log-loss or root mean squared error on
the validation rows, at the best round.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.model_selection import KFold, cross_val_predict

from benchmarks.datasets import find_dataset
from benchmarks.tabulated.making import (
    MAX_QUANTILE,
    Trainings,
    inside,
    loss_metric,
    make_missing,
    making_parser,
    minimum_of,
    train_once,
)
from benchmarks.tabulated.surfaces import FOLDER, Surface, features
from hpo.arrays import FloatArray
from hpo.space import SearchSpace
from hpo.space.parameters import Params, Value
from pipelines.models import FamilyOptions
from pipelines.models.catalog import family, settings
from pipelines.table.data import Fold

BUDGET = {"lightgbm": 300, "xgboost": 300, "mlp": 100}
TABLES = {
    "lightgbm": ("phone_churn", "vehicle", "abalone", "kin8nm"),
    "xgboost": ("credit_card_default", "cmc_contraceptive", "wine_white", "bike_hour"),
    "mlp": ("vehicle", "california_housing", "space_ga", "cmc_contraceptive"),
}
# The configurations that FLAML is told are cheap to train.
CHEAP: dict[str, dict[str, Value]] = {
    "lightgbm": {"num_leaves": 4},
    "xgboost": {"max_depth": 4, "grow_policy": "depthwise"},
    "mlp": {},
}
ROWS = 3_000
UNIFORM = {"lightgbm": 220, "xgboost": 220, "mlp": 160}
FOCUSED = {"lightgbm": 50, "xgboost": 50, "mlp": 40}
STAGES = 2


@dataclass(frozen=True)
class Fit:
    """The Gaussian process of one surface (see `benchmarks.tabulated.surfaces.Surface`)."""

    alpha: FloatArray
    length: FloatArray
    signal: float
    center: float
    width: float
    r2: float
    rank_correlation: float
    best_half_rank_correlation: float


def fit(space: SearchSpace, units: FloatArray, losses: FloatArray, max_quantile: float) -> Fit:
    """Fit the squashed losses `(n,)` of configurations `(n, d)`.

    Losses above the quantile `max_quantile` and those of diverged trainings (nan) are cut to it.
    The correlations are those of five-fold cross-validation with the fitted kernel.
    """
    worst = np.nanquantile(losses, max_quantile)
    losses = np.fmin(losses, worst)
    center = float(np.median(losses))
    width = float(np.subtract(*np.quantile(losses, [0.75, 0.25]))) or 1.0
    x, y = features(space, units), np.arcsinh((losses - center) / width)
    matern = ConstantKernel(1.0) * Matern(np.ones(x.shape[1]), (0.1, 30), nu=2.5)
    kernel = matern + WhiteKernel(0.05, (1e-5, 1))
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


def train(fold: Fold, model: str, space: SearchSpace, units: FloatArray) -> Trainings:
    """Train the configurations `(n, d)`."""
    metric = loss_metric(fold)
    trainer = family(model)(fold, FamilyOptions(metric, 1, horizon=BUDGET[model]))
    losses, seconds = np.empty(len(units)), np.empty(len(units))
    for i, unit in enumerate(units):
        params = space.decode(unit)
        losses[i], seconds[i] = train_once(trainer, fold, metric, params, BUDGET[model], seed=i)
    return Trainings(units, losses, seconds)


def make(model: str, table: str, datasets: Path) -> str:
    """Make one surface and describe its quality in one line."""
    fold = find_dataset(datasets, table).fold(ROWS)
    chosen = settings(model, kind=fold.task.kind, has_categorical=bool(fold.cardinalities))
    space, rng = chosen.space, np.random.default_rng([len(model), len(table)])
    first = [inside(space, point) for point in chosen.first_points]
    encoded = [space.encode(point) for point in first]
    units = np.concatenate([encoded, space.codes.sample(rng, UNIFORM[model])])
    done = train(fold, model, space, units)
    for _ in range(STAGES):
        done = done.joined(train(fold, model, space, _promising(model, space, done, rng)))
    return save(model, table, [len(fold.train), len(fold.valid)], space, first[0], done)


def _promising(
    model: str, space: SearchSpace, done: Trainings, rng: np.random.Generator
) -> FloatArray:
    """The next configurations `(m, d)`: those with the lowest expected losses, with some noise."""
    fitted = fit(space, done.units, done.losses, MAX_QUANTILE[model])
    surface = _surface(space, fitted, features(space, done.units))
    drawn = space.codes.sample(rng, 6_000)
    noisy = surface.predict(drawn) + rng.normal(0, 0.1 * surface.width, len(drawn))
    return np.asarray(drawn[np.argsort(noisy)[: FOCUSED[model]]])


def save(
    model: str,
    table: str,
    rows: Sequence[int],
    space: SearchSpace,
    default: Params,
    done: Trainings,
) -> str:
    """Fit and write one surface and describe its quality in one line."""
    units, losses, seconds = done.units.astype(np.float32), done.losses, done.seconds
    fitted = fit(space, units.astype(float), losses, MAX_QUANTILE[model])
    x, rng = features(space, units.astype(float)), np.random.default_rng([len(model), len(table)])
    about = {
        "model": model,
        "table": table,
        "rows": list(rows),
        "budget": BUDGET[model],
        "space": space.to_dict(),
        "default": dict(default),
        "cheap": {name: value for name, value in CHEAP[model].items() if name in space},
        "optimum": minimum_of(space, _surface(space, fitted, x).predict, rng),
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
    return (
        f"{model}/{table}: {len(losses)} trainings, {seconds.sum():.0f} CPU seconds; "
        f"R² {fitted.r2:.2f}, rank correlation {fitted.rank_correlation:.2f} "
        f"({fitted.best_half_rank_correlation:.2f} in the better half); "
        f"losses {np.nanmin(losses):.4g} to {np.nanmax(losses):.4g}, default {losses[0]:.4g}, "
        f"minimum of the surface {about['optimum']:.4g}"
    )


def main(arguments: Sequence[str]) -> None:
    """Make the surfaces that are missing."""
    options = making_parser("tables", __doc__, list(TABLES), 2).parse_args(arguments)
    make_missing(make, TABLES, FOLDER, options)


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
