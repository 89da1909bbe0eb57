"""Make the tabulated learning curves: real trainings, leg by leg, whose losses and seconds are kept at every rung.

Half of the configurations are uniform in the model's own search space (with the library's default
and the tuned default), half are drawn where the fit so far expects the best losses at the largest
budget: a surface is only as true as it was trained, and searches spend their trials there. The
trainings are those of the product: the model's own fidelity, the same legs, early stopping and
best-so-far predictions, one thread. Losses are log-loss or root mean squared error on the
validation rows.
"""

import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import solve
from scipy.stats import spearmanr
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.model_selection import KFold, cross_val_predict

from benchmarks.search.problems import SCALE_SEED
from benchmarks.tabulated.curves import CURVES_FOLDER, PAST_FOLDER, Process, Tabulated
from benchmarks.tabulated.make_surfaces import (
    LEVEL_FROM,
    inside,
    jobs_parser,
    least,
    load_fold,
    load_prepared,
    make_missing,
)
from benchmarks.tabulated.surfaces import features
from hpo.arrays import FloatArray
from hpo.space import SearchSpace
from hpo.space.parameters import Params
from pipelines.models.catalog import family, settings, single_family
from pipelines.models.errors import TrainingError
from pipelines.objectives.course import CONTINUED
from pipelines.table.data import Fold
from pipelines.table.metrics import metric_for
from pipelines.table.shares import training_order
from pipelines.table.source import described

BUDGETS = {
    "lightgbm": (27, 81, 243, 729),
    "xgboost": (27, 81, 243, 729),
    "mlp": (30, 90, 270, 810),
}
TABLES = {
    "lightgbm": ("spambase", "german_credit", "segment", "wage_midatlantic"),
    "xgboost": ("hmda_mortgage", "eucalyptus", "garment_productivity"),
    "mlp": ("phone_churn", "wine_white"),
}
LARGE_TABLES = ("bank_marketing", "california_housing", "metro_traffic")
_MOST = (
    "wine_white",
    "credit_card_default",
    "phone_churn",
    "kin8nm",
    "cps1988_wages",
    "bank_marketing",
    "abalone",
    "htru2_pulsar",
    "bike_hour",
    "spambase",
    "gas_turbine_nox",
    "oulad_students",
    "delta_ailerons",
    "hypothyroid",
    "ailerons",
    "sick_thyroid",
    "space_ga",
    "metro_traffic",
    "wind_ireland",
    "segment",
    "steel_energy",
    "wage_midatlantic",
    "hmda_mortgage",
    "pol_telecom",
    "ames_housing",
)
# Other tables are for real trainings. XGBoost costs several times as much as LightGBM, the network
# more still.
PAST_TABLES = {"lightgbm": _MOST, "xgboost": _MOST[:24], "mlp": _MOST[:14]}


@dataclass(frozen=True)
class Effort:
    """How much is trained for one set of curves, and to which budgets.

    `uniform` configurations of each model are drawn from its space, `focused` ones in each of the
    `STAGES`, on at most `rows` rows of each of `tables`; the curves go to `folder`. With `valid`,
    `rows` are training rows only, and so many of the others are validation rows: the fewer, the
    more of a surface is the luck of one split.
    """

    folder: Path
    tables: Mapping[str, Sequence[str]]
    rows: Mapping[str, int]
    uniform: Mapping[str, int]
    focused: Mapping[str, int]
    valid: int | None = None
    budgets: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: BUDGETS)


RACES = Effort(  # few tables, closely: what schedulers are replayed on
    CURVES_FOLDER,
    TABLES,
    rows=dict.fromkeys(TABLES, 1_500),
    uniform={"lightgbm": 140, "xgboost": 140, "mlp": 90},
    focused={"lightgbm": 50, "xgboost": 50, "mlp": 30},
)
LARGE = Effort(  # large tables, where few rounds say more
    CURVES_FOLDER,
    {"lightgbm": LARGE_TABLES, "xgboost": (), "mlp": ()},
    rows={"lightgbm": 20_000},
    uniform=RACES.uniform,
    focused=RACES.focused,
    budgets={"lightgbm": (9, *BUDGETS["lightgbm"])},
)
PAST = Effort(  # many tables, coarsely: the past that warm starts learn from
    PAST_FOLDER,
    PAST_TABLES,
    rows={"lightgbm": 2_000, "xgboost": 2_000, "mlp": 1_500},
    uniform={"lightgbm": 100, "xgboost": 100, "mlp": 70},
    focused={"lightgbm": 20, "xgboost": 20, "mlp": 15},
    valid=4_000,
)
EFFORTS = {"races": RACES, "large": LARGE, "past": PAST}
STAGES = 3
MANY, SHARE = (
    20_000,
    0.6,
)  # rows of a table that are looked at, and the share that is trained on at most
NEAR, STEP = 40, 0.1  # candidates near each of the best, and how near in the unit cube
SEED = 0


@dataclass(frozen=True)
class Fit:
    """A process, and the rank correlation of its cross-validated values with the true ones at each rung `(r,)`."""

    process: Process
    correlations: tuple[float, ...]


def continued(model: str) -> bool:
    """Whether a rung of this model goes on from the one before."""
    return settings(model).budget.fidelity in CONTINUED


def train(
    fold: Fold, model: str, space: SearchSpace, units: FloatArray, budgets: Sequence[int]
) -> tuple[FloatArray, FloatArray]:
    """Losses and CPU seconds `(n, r)` of the configurations `(n, d)` at budgets `(r,)`; nan from where one diverged."""
    kind = fold.task.kind
    metric = metric_for("rmse" if kind == "regression" else "log_loss", kind)
    fidelity = settings(model).budget.fidelity
    trainer = family(model)(fold, metric, 1, horizon=budgets[-1], fidelity=fidelity)
    trainer.start(space.decode(units[0]), SEED).train(1)  # binning the table belongs to no trial
    losses, seconds = (
        np.full((len(units), len(budgets)), np.nan),
        np.zeros((len(units), len(budgets))),
    )
    for i, unit in enumerate(units):
        params = space.decode(unit)
        start, trial = time.process_time(), trainer.start(params, SEED)
        for rung, budget in enumerate(budgets):
            if not continued(model):
                start = time.process_time()
                trial = trainer.start(
                    single_family(model).scaled(params, budget / budgets[-1]), SEED
                )
            try:
                trial.train(budget)
                losses[i, rung] = metric.to_loss(fold.score(metric, trial.predict(fold.valid)))
            except TrainingError:
                seconds[i, rung:] = time.process_time() - start
                break
            seconds[i, rung] = time.process_time() - start
    return losses, seconds


def squashed(
    model: str, losses: FloatArray, uniform: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """What is fitted of losses `(n, r)`, with its centre and width `(r,)`.

    Losses above the quantile `LEVEL_FROM` of a rung's `uniform` configurations, which come first,
    and those of diverged trainings (nan) count as equal to it.
    """
    level = np.fmin(losses, np.nanquantile(losses[:uniform], LEVEL_FROM[model], axis=0))
    low, center, high = np.quantile(level, [0.25, 0.5, 0.75], axis=0)
    width = np.where(high > low, high - low, 1.0)
    return np.arcsinh((level - center) / width), center, width


def standardised(seconds: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Logarithms of seconds `(n, r)`, with their mean and deviation `(r,)`."""
    logs = np.log(np.maximum(seconds, 1e-4))
    center, width = logs.mean(axis=0), logs.std(axis=0)
    return (logs - center) / width, center, width


def fit(x: FloatArray, values: tuple[FloatArray, FloatArray, FloatArray]) -> Fit:
    """Fit the kernel at the last rung and the weights at every one; values are those of the functions above."""
    y, center, width = values
    kernel = ConstantKernel(1.0) * Matern(np.ones(x.shape[1]), (0.1, 30), nu=2.5) + WhiteKernel(
        0.05, (1e-4, 1)
    )
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # length scales of what does not matter end at 30
        process = GaussianProcessRegressor(kernel, random_state=0, n_restarts_optimizer=1).fit(
            x, y[:, -1]
        )
    fitted = process.kernel_
    fixed = GaussianProcessRegressor(fitted, optimizer=None)
    expected = cross_val_predict(fixed, x, y, cv=KFold(5, shuffle=True, random_state=0))
    continuous = Process(
        x=x,
        alpha=_single(solve(fitted(x), y, assume_a="pos")),
        length=_single(fitted.k1.k2.length_scale),
        signal=float(_single(fitted.k1.k1.constant_value)),
        center=_single(center),
        width=_single(width),
    )
    return Fit(
        continuous, tuple(float(spearmanr(a, b)[0]) for a, b in zip(expected.T, y.T, strict=True))
    )


def make(effort: Effort, model: str, table: str, datasets: Path) -> str:
    """Train, fit and write the curves of one model on one table, and say how good they are."""
    fold = _fold(effort, model, table, datasets)
    chosen = settings(model, kind=fold.task.kind, has_categorical=bool(fold.cardinalities))
    space, rng = chosen.space, np.random.default_rng([len(model), len(table), SEED])
    firsts = [inside(space, point) for point in chosen.first_points]
    drawn = space.sample_unit(rng, effort.uniform[model])
    units = _single(np.concatenate([[space.encode(point) for point in firsts], drawn]))
    budgets = effort.budgets[model]
    losses, seconds = train(fold, model, space, units, budgets)
    for _ in range(STAGES):
        more = _single(promising(effort, model, space, units, losses, rng))
        lower, longer = train(fold, model, space, more, budgets)
        units, losses = np.concatenate([units, more]), np.concatenate([losses, lower])
        seconds = np.concatenate([seconds, longer])
    return keep(
        effort, model, table, len(fold.train), budgets, space, firsts[0], units, losses, seconds
    )


def _fold(effort: Effort, model: str, table: str, datasets: Path) -> Fold:
    """The rows to train and to validate on."""
    if effort.valid is None:
        return load_fold(datasets, table, effort.rows[model])
    return divided(effort, model, load_fold(datasets, table, MANY))


def divided(effort: Effort, model: str, fold: Fold) -> Fold:
    """A fold's training rows, divided into few to train and many to validate on."""
    order = training_order(fold, SEED)
    n = min(effort.rows[model], round(SHARE * len(order)))
    train, valid = np.sort(order[:n]), np.sort(order[n : n + (effort.valid or 0)])
    return replace(
        fold,
        train=fold.train.take(train),
        y_train=fold.y_train[train],
        valid=fold.train.take(valid),
        y_valid=fold.y_train[valid],
    )


def promising(
    effort: Effort,
    model: str,
    space: SearchSpace,
    units: FloatArray,
    losses: FloatArray,
    rng: np.random.Generator,
) -> FloatArray:
    """The next configurations `(m, d)` to train: those with the least losses that the fit expects, with some noise."""
    x = features(space, units)
    process = fit(x, squashed(model, losses, effort.uniform[model])).process
    best = units[np.argsort(losses[:, -1])[:NEAR]]  # nan last
    moved = np.repeat(np.where(np.isnan(best), rng.random(best.shape), best), NEAR, axis=0)
    moved = np.clip(moved + rng.normal(0, STEP, moved.shape), 0, 1)
    candidates = np.concatenate(
        [space.sample_unit(rng, 6_000), space.deactivate(space.snap(moved))]
    )
    expected = process.predict(features(space, candidates))[:, -1]
    order = np.argsort(expected + rng.normal(0, 0.1, len(expected)))
    return np.asarray(candidates[order[: effort.focused[model]]])


def keep(
    effort: Effort,
    model: str,
    table: str,
    rows: int,
    budgets: Sequence[float],
    space: SearchSpace,
    default: Params,
    units: FloatArray,
    losses: FloatArray,
    seconds: FloatArray,
) -> str:
    """Fit and write the curves of one model on one table, and say how good they are."""
    x = features(space, units)
    loss, cost = (
        fit(x, squashed(model, losses, effort.uniform[model])),
        fit(x, standardised(seconds)),
    )
    curves = Tabulated(space, loss.process, cost.process, monotone=continued(model))
    rng = np.random.default_rng(SCALE_SEED)
    about = {
        "model": model,
        "table": table,
        "rows": rows,
        "fidelity": settings(model).budget.fidelity,
        "budgets": [float(budget) for budget in budgets],
        "space": space.to_dict(),
        "default": dict(default),
        "monotone": continued(model),
        "continued": continued(model),
        "optimum": least(space, _final(curves), rng),
        "scale": float(np.median(_final(curves)(space.sample_unit(rng, 1001)))),
        "rank_correlation": loss.correlations,
        "seconds_rank_correlation": cost.correlations,
        "cpu_seconds": float(seconds[:, -1].sum()),
    }
    arrays = {
        "units": units,
        "losses": losses,
        "seconds": seconds,
        **_arrays("loss", loss.process),
        **_arrays("time", cost.process),
    }
    small: dict[str, Any] = {
        name: np.asarray(values, dtype=np.float32) for name, values in arrays.items()
    }
    effort.folder.mkdir(exist_ok=True)
    np.savez_compressed(
        effort.folder / f"{model}-{table}.npz", about=np.array(json.dumps(about)), **small
    )
    last = losses[:, -1]
    return (
        f"{model}/{table}: {len(losses)} trainings on {rows} rows, {seconds[:, -1].sum():.0f} CPU seconds; "
        f"rank correlations {_listed(loss.correlations)}, of seconds {_listed(cost.correlations)}; "
        f"losses {np.nanmin(last):.4g} to {np.nanmax(last):.4g}, default {last[0]:.4g}, "
        f"least of the surface {about['optimum']:.4g}, median {about['scale']:.4g}; "
        f"rungs rank like the end: trained {_listed(like_the_end(losses[: effort.uniform[model]]))}, "
        f"on the surface {_listed(like_the_end(curves.losses_at(space.sample_unit(rng, 1001))))}"
    )


def like_the_end(losses: FloatArray) -> list[float]:
    """Spearman's correlation of each rung's losses with the last ones, of uniform configurations `(n, r)`."""
    ranked = np.where(np.isnan(losses), np.inf, losses)
    return [float(spearmanr(column, ranked[:, -1])[0]) for column in ranked.T[:-1]]


def refit(effort: Effort, model: str, table: str) -> str:
    """Fit the trainings that were kept once more, and say how good the curves are."""
    with np.load(effort.folder / f"{model}-{table}.npz") as arrays:
        about = json.loads(str(arrays["about"]))
        units, losses, seconds = (
            arrays[name].astype(float) for name in ("units", "losses", "seconds")
        )
    space = SearchSpace.from_dict(about["space"])
    return keep(
        effort,
        model,
        table,
        about["rows"],
        about["budgets"],
        space,
        about["default"],
        units,
        losses,
        seconds,
    )


def main(arguments: Sequence[str]) -> None:
    """Make the curves that are missing."""
    parser = jobs_parser("curves", __doc__, list(TABLES), 1)
    parser.add_argument(
        "--refit", action="store_true", help="fit those that are there again, without training"
    )
    parser.add_argument("--set", choices=list(EFFORTS), default="races", help="which curves")
    options = parser.parse_args(arguments)
    effort = EFFORTS[options.set]
    if options.refit:
        for path in sorted(effort.folder.glob("*.npz")):
            print(refit(effort, *path.stem.split("-", 1)), flush=True)
        return
    make_missing(partial(make, effort), effort.tables, effort.folder, options)
    if effort is PAST:
        describe(options.datasets)


def describe(datasets: Path) -> None:
    """Write the meta-features of the tables of the past, of the rows that were looked at."""
    path = PAST_FOLDER / "features.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for name in dict.fromkeys(name for names in PAST_TABLES.values() for name in names):
        if name not in found:
            found[name] = described(load_prepared(datasets, name, MANY))
    path.write_text(json.dumps(found, sort_keys=True))


def _final(curves: Tabulated) -> Callable[[FloatArray], FloatArray]:
    """The losses `(m,)` at the largest budget, at unit codes `(m, d)`."""
    return lambda units: curves.losses_at(units)[:, -1]


def _arrays(part: str, process: Process) -> dict[str, Any]:
    """What `benchmarks.tabulated.curves` reads of a process."""
    names = ("alpha", "length", "signal", "center", "width")
    return {f"{part}_{name}": getattr(process, name) for name in names}


def _single(values: Any) -> FloatArray:
    """The values as they come back from a file that holds them in single precision."""
    return np.asarray(values, dtype=np.float32).astype(float)


def _listed(values: Sequence[float]) -> str:
    return "/".join(f"{value:.2f}" for value in values)
