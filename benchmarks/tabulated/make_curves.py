"""Make the tabulated learning curves: real trainings with losses and seconds at every rung.

Half of the configurations are uniform in the model's own search space (with the library's default
and the tuned default). The other half are drawn where the fit so far expects the best losses at the
largest budget, because a surface is accurate only near trained configurations, and searches spend
their trials there. The trainings are those of the product: the model's own fidelity, the same legs,
early stopping and best-so-far predictions, one thread. Losses are log-loss or root mean squared
error on the validation rows.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks.datasets import find_dataset
from benchmarks.search.problems import SCALE_SEED
from benchmarks.tabulated.curve_fits import Fit, fit, single_precision, squashed, standardised
from benchmarks.tabulated.curves import PAST_FOLDER, Process, Tabulated
from benchmarks.tabulated.efforts import EFFORTS, MAX_ROWS, PAST, PAST_TABLES, SEED, TABLES, Effort
from benchmarks.tabulated.making import (
    Trainings,
    inside,
    loss_metric,
    make_missing,
    making_parser,
    minimum_of,
)
from benchmarks.tabulated.surfaces import features
from hpo.arrays import FloatArray
from hpo.space import SearchSpace
from hpo.space.parameters import Params
from pipelines.models import FamilyOptions
from pipelines.models.catalog import family, settings, single_family
from pipelines.models.errors import TrainingError
from pipelines.models.families import scaled
from pipelines.objectives.course import CONTINUED
from pipelines.table.data import Fold
from pipelines.table.source import described

STAGES = 3
N_BEST = 40  # configurations whose neighbourhood is searched, and candidates near each
STEP = 0.1  # standard deviation of these candidates in the unit cube


@dataclass(frozen=True)
class Subject:
    """What was trained: a model in its search space on so many training rows of a table."""

    model: str
    table: str
    rows: int
    space: SearchSpace
    default: Params
    budgets: Sequence[float]

    @property
    def file(self) -> str:
        """The name of the file with its curves."""
        return f"{self.model}-{self.table}.npz"


def continued(model: str) -> bool:
    """Whether a leg of this model continues the training of the previous rung."""
    return settings(model).budget.fidelity in CONTINUED


def train(
    fold: Fold, model: str, space: SearchSpace, units: FloatArray, budgets: Sequence[int]
) -> Trainings:
    """Train the configurations `(n, d)` to each of the budgets `(r,)`."""
    metric = loss_metric(fold)
    fidelity = settings(model).budget.fidelity
    trainer = family(model)(fold, FamilyOptions(metric, 1, horizon=budgets[-1], fidelity=fidelity))
    # the table is binned once, which no trial should pay for
    trainer.start(space.decode(units[0]), SEED).train(1)
    losses = np.full((len(units), len(budgets)), np.nan)
    seconds = np.zeros((len(units), len(budgets)))
    for i, unit in enumerate(units):
        params = space.decode(unit)
        start, trial = time.process_time(), trainer.start(params, SEED)
        for rung, budget in enumerate(budgets):
            if not continued(model):
                start = time.process_time()
                trial = trainer.start(
                    scaled(single_family(model), params, budget / budgets[-1]), SEED
                )
            try:
                trial.train(budget)
                losses[i, rung] = metric.goal.to_loss(fold.score(metric, trial.predict(fold.valid)))
            except TrainingError:
                seconds[i, rung:] = time.process_time() - start
                break
            seconds[i, rung] = time.process_time() - start
    return Trainings(units, losses, seconds)


def make(effort: Effort, model: str, table: str, datasets: Path) -> str:
    """Train, fit and save the curves of one model on one table; describe their quality."""
    fold = effort.fold(model, find_dataset(datasets, table))
    chosen = settings(model, kind=fold.task.kind, has_categorical=bool(fold.cardinalities))
    space, rng = chosen.space, np.random.default_rng([len(model), len(table), SEED])
    first = [inside(space, point) for point in chosen.first_points]
    drawn = space.codes.sample(rng, effort.uniform[model])
    units = single_precision(np.concatenate([[space.encode(point) for point in first], drawn]))
    budgets = effort.budgets[model]
    done = train(fold, model, space, units, budgets)
    for _ in range(STAGES):
        more = single_precision(promising(effort, model, space, done, rng))
        done = done.joined(train(fold, model, space, more, budgets))
    return save(effort, Subject(model, table, len(fold.train), space, first[0], budgets), done)


def promising(
    effort: Effort, model: str, space: SearchSpace, done: Trainings, rng: np.random.Generator
) -> FloatArray:
    """The next configurations `(m, d)`: those with the lowest expected losses, with some noise."""
    x = features(space, done.units)
    process = fit(x, squashed(model, done.losses, effort.uniform[model])).process
    best = done.units[np.argsort(done.losses[:, -1])[:N_BEST]]  # nan last
    moved = np.repeat(np.where(np.isnan(best), rng.random(best.shape), best), N_BEST, axis=0)
    moved = np.clip(moved + rng.normal(0, STEP, moved.shape), 0, 1)
    near = space.codes.deactivate(space.codes.snap(moved))
    candidates = np.concatenate([space.codes.sample(rng, 6_000), near])
    expected = process.predict(features(space, candidates))[:, -1]
    order = np.argsort(expected + rng.normal(0, 0.1, len(expected)))
    return np.asarray(candidates[order[: effort.focused[model]]])


def save(effort: Effort, subject: Subject, done: Trainings) -> str:
    """Fit and save the curves of one model on one table; describe their quality."""
    model, space, uniform = subject.model, subject.space, effort.uniform[subject.model]
    x = features(space, done.units)
    loss = fit(x, squashed(model, done.losses, uniform))
    cost = fit(x, standardised(done.seconds))
    curves = Tabulated(space, loss.process, cost.process, monotone=continued(model))
    rng = np.random.default_rng(SCALE_SEED)
    about = {
        "model": model,
        "table": subject.table,
        "rows": subject.rows,
        "fidelity": settings(model).budget.fidelity,
        "budgets": [float(budget) for budget in subject.budgets],
        "space": space.to_dict(),
        "default": dict(subject.default),
        "monotone": continued(model),
        "continued": continued(model),
        "optimum": minimum_of(space, _final(curves), rng),
        "scale": float(np.median(_final(curves)(space.codes.sample(rng, 1001)))),
        "rank_correlation": loss.correlations,
        "seconds_rank_correlation": cost.correlations,
        "cpu_seconds": float(done.seconds[:, -1].sum()),
    }
    _write(effort.folder / subject.file, about, done, loss, cost)
    ranked = _listed(like_the_end(done.losses[:uniform]))
    on_surface = _listed(like_the_end(curves.losses_at(space.codes.sample(rng, 1001))))
    return "; ".join(
        (
            _summary(subject, done, loss, cost),
            f"minimum of the surface {about['optimum']:.4g}, median {about['scale']:.4g}",
            f"rungs rank like the end: trained {ranked}, on the surface {on_surface}",
        )
    )


def _write(path: Path, about: dict[str, Any], done: Trainings, loss: Fit, cost: Fit) -> None:
    arrays = {
        "units": done.units,
        "losses": done.losses,
        "seconds": done.seconds,
        **_arrays("loss", loss.process),
        **_arrays("time", cost.process),
    }
    small: dict[str, Any] = {
        name: np.asarray(values, dtype=np.float32) for name, values in arrays.items()
    }
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, about=np.array(json.dumps(about)), **small)


def _summary(subject: Subject, done: Trainings, loss: Fit, cost: Fit) -> str:
    last = done.losses[:, -1]
    return (
        f"{subject.model}/{subject.table}: {len(last)} trainings on {subject.rows} rows, "
        f"{done.seconds[:, -1].sum():.0f} CPU seconds; "
        f"rank correlations {_listed(loss.correlations)}, of seconds {_listed(cost.correlations)}; "
        f"losses {np.nanmin(last):.4g} to {np.nanmax(last):.4g}, default {last[0]:.4g}"
    )


def like_the_end(losses: FloatArray) -> list[float]:
    """Spearman's correlation of each rung's losses with the last ones, from losses `(n, r)`."""
    ranked = np.where(np.isnan(losses), np.inf, losses)
    return [float(spearmanr(column, ranked[:, -1])[0]) for column in ranked.T[:-1]]


def refit(effort: Effort, model: str, table: str) -> str:
    """Fit the stored trainings again and describe the quality of the curves."""
    with np.load(effort.folder / f"{model}-{table}.npz") as arrays:
        about = json.loads(str(arrays["about"]))
        done = Trainings(*(arrays[name].astype(float) for name in ("units", "losses", "seconds")))
    space = SearchSpace.from_dict(about["space"])
    subject = Subject(model, table, about["rows"], space, about["default"], about["budgets"])
    return save(effort, subject, done)


def describe(datasets: Path) -> None:
    """Write the meta-features of the tables of past studies that have none yet."""
    path = PAST_FOLDER / "features.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for name in dict.fromkeys(name for names in PAST_TABLES.values() for name in names):
        if name not in found:
            found[name] = described(find_dataset(datasets, name).prepared(MAX_ROWS))
    path.write_text(json.dumps(found, sort_keys=True))


def main(arguments: Sequence[str]) -> None:
    """Make the curves that are missing."""
    parser = making_parser("curves", __doc__, list(TABLES), 1)
    parser.add_argument(
        "--refit", action="store_true", help="fit existing curves again, without training"
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


def _final(curves: Tabulated) -> Callable[[FloatArray], FloatArray]:
    """The losses `(m,)` at the largest budget, at unit codes `(m, d)`."""
    return lambda units: curves.losses_at(units)[:, -1]


def _arrays(part: str, process: Process) -> dict[str, Any]:
    """The arrays of a process, under the names that `benchmarks.tabulated.curves` reads."""
    names = ("alpha", "length", "signal", "center", "width")
    return {f"{part}_{name}": getattr(process, name) for name in names}


def _listed(values: Sequence[float]) -> str:
    return "/".join(f"{value:.2f}" for value in values)
