"""Which low budget ranks: a rung's losses against those of full trainings, over random configurations.

A rung that is a fraction of a training can be made in several ways (`FIDELITIES` below). Each is
judged by Spearman's correlation of its losses with those at the full budget, by how much of the
final best quarter its best third keeps, and by its CPU seconds as a share of the full ones.
"""

import argparse
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from benchmarks.environments import cache
from benchmarks.report import interval_text, machine, table, write
from benchmarks.statistics import interval
from benchmarks.tabulated.curves import CURVES_FOLDER
from benchmarks.tabulated.make_curves import LARGE_TABLES, RACES
from benchmarks.tabulated.make_surfaces import load_fold
from hpo.arrays import FloatArray
from hpo.space.parameters import Params
from pipelines.models.boosting import RateSchedule
from pipelines.models.catalog import family, settings, single_family
from pipelines.models.errors import TrainingError
from pipelines.table.data import Fold
from pipelines.table.metrics import Metric, metric_for

FULL = {"lightgbm": 405, "xgboost": 405, "mlp": 810}
DIVISORS = (27, 9, 3)
CONFIGURATIONS = {"lightgbm": 24, "xgboost": 24, "mlp": 12}
ROWS = {"lightgbm": 2_000, "xgboost": 2_000, "mlp": 1_000}
# Whole tables, where a rung of rows is more than a handful; fewer ways, and one rung more.
LARGE_DIVISORS = (81, *DIVISORS)
WHOLE = 1_000_000
LARGE_CONFIGURATIONS = 16
SEED = 0
_BOOSTED = (
    "german_credit",
    "phone_churn",
    "spambase",
    "hmda_mortgage",
    "cmc_contraceptive",
    "vehicle",
    "abalone",
    "kin8nm",
    "ames_housing",
    "garment_productivity",
)
TABLES = {
    "lightgbm": _BOOSTED,
    "xgboost": _BOOSTED,
    "mlp": ("spambase", "cmc_contraceptive", "abalone", "kin8nm"),
}
# Power and offset of `RateSchedule`.
SHAPES = {
    "scheduled": (0.5, 0.1),
    "scheduled, steep": (0.5, 0.01),
    "scheduled, steeper": (1.0, 0.05),
}
# A constant rate makes the curve of a network the same whatever the horizon is; averaged weights
# stand in for the decay of the rate that it then lacks.
HORIZON_FREE: Params = {"schedule": "constant", "anneal": False, "ema": True, "ema_decay": 0.99}
MOST_DECAY = 30.0
DRAWS = 100
COST = 4.0
COSTS = (4.0, 8.0, 16.0)
SIZES = 14


@dataclass(frozen=True)
class Course:
    """One training: losses and cumulative CPU seconds `(r,)` at its budgets, and its points (budget, loss)."""

    losses: FloatArray
    seconds: FloatArray
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Bench:
    """A model on a table, with one warm trainer for each way of training."""

    model: str
    fold: Fold
    _trainers: dict[tuple[object, ...], Any] = field(default_factory=dict)

    @cached_property
    def metric(self) -> Metric:
        """Log-loss or root mean squared error."""
        kind = self.fold.task.kind
        return metric_for("rmse" if kind == "regression" else "log_loss", kind)

    def train(
        self,
        params: Params,
        budgets: Sequence[int],
        *,
        horizon: int | None = None,
        shape: tuple[float, float] | None = None,
        share: float = 1.0,
        seed: int = SEED,
    ) -> Course:
        """Train leg by leg to each of the budgets; nan from where it diverges.

        `horizon`: where schedules end, the full budget if not given; `shape`: of the learning
        rates' schedule; `share`: of the training rows.
        """
        trainer = self._trainer(FULL[self.model] if horizon is None else horizon, shape, share)
        losses, seconds = np.full(len(budgets), np.nan), np.zeros(len(budgets))
        points: list[tuple[float, float]] = []
        start, trial = time.process_time(), trainer.start(params, seed)
        for i, budget in enumerate(budgets):
            try:
                points += [(at, self.metric.to_loss(value)) for at, value in trial.train(budget)]
                losses[i] = self.metric.to_loss(
                    self.fold.score(self.metric, trial.predict(self.fold.valid))
                )
            except TrainingError:
                seconds[i:] = time.process_time() - start
                break
            seconds[i] = time.process_time() - start
        return Course(losses, seconds, tuple(points))

    def _trainer(self, horizon: int, shape: tuple[float, float] | None, share: float) -> Any:
        key = (horizon if self.model == "mlp" or shape else None, shape, share)
        if key not in self._trainers:
            fold = self.fold if share == 1.0 else part_of(self.fold, share)
            fidelity = "rounds" if shape is None else "scheduled"
            trainer = family(self.model)(fold, self.metric, 1, horizon=horizon, fidelity=fidelity)
            if shape is not None:
                trainer.schedule = RateSchedule(horizon, *shape)
            self._trainers[key] = trainer
        return self._trainers[key]


def part_of(fold: Fold, share: float) -> Fold:
    """The fold with a share of its training rows: nested for growing shares, classes in proportion."""
    n = len(fold.train)
    order = np.random.default_rng(SEED).permutation(n)
    if fold.task.kind != "regression":
        order = order[np.argsort(_positions(fold.y_train[order]), kind="stable")]
    chosen = np.sort(order[: math.ceil(share * n)])
    return replace(fold, train=fold.train.take(chosen), y_train=fold.y_train[chosen])


def _positions(classes: npt.NDArray[Any]) -> FloatArray:
    """`(n,)` in (0, 1): how far into its own class each row stands, so that any first part holds them in proportion."""
    positions = np.empty(len(classes))
    for level in np.unique(classes):
        rows = np.flatnonzero(classes == level)
        positions[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    return positions


def extrapolate(points: Sequence[tuple[float, float]], to: float) -> float:
    """The best loss to expect at the budget `to`, from a curve of (budget, loss).

    Least squares of a + b g(t) with b >= 0, later points weighing more, over exponential decays and
    power laws g; the form that fits best is read at `to`. The best loss so far, when there are
    under five points, when the curve has turned upwards, or when no form falls.
    """
    t, y = np.array(points).T if points else (np.zeros(0), np.zeros(0))
    best = float(y.min()) if len(y) else math.nan
    if len(y) < 5 or int(np.argmin(y)) < 0.8 * (len(y) - 1):
        return best
    end = np.append(t, to)
    forms = [np.exp(-end / pace) for pace in np.geomspace(t[-1] / MOST_DECAY, 3 * to, 80)]
    forms += [end**-power for power in (0.25, 0.5, 1.0, 2.0)]
    fits = [found for g in forms if (found := _fit(t, y, g[:-1], float(g[-1]))) is not None]
    return max(min(best, min(fits)[1]), 0.0) if fits else best


def _fit(t: FloatArray, y: FloatArray, g: FloatArray, end: float) -> tuple[float, float] | None:
    """The weighted squared error of y = a + b g and its value where g is `end`; None unless b > 0."""
    weights = t / t.sum()
    g0, y0 = weights @ g, weights @ y
    spread = weights @ (g - g0) ** 2
    b = float(weights @ ((g - g0) * (y - y0)) / spread) if spread > 0 else 0.0
    if b <= 0:
        return None
    residual = y - y0 - b * (g - g0)
    return float(weights @ residual**2), float(y0 + b * (end - g0))


def measure(model: str, table: str, datasets: Path, configurations: int) -> dict[str, Any]:
    """All ways of training on one table: per way, losses and seconds `(n, r)` at the rungs, and at the end if its own.

    `again` are the final losses `(n,)` of plain training with another seed.
    """
    bench = Bench(model, load_fold(datasets, table, ROWS[model]))
    kind, full = bench.fold.task.kind, FULL[model]
    chosen = settings(model, kind=kind, has_categorical=bool(bench.fold.cardinalities))
    drawn = [chosen.space.sample(np.random.default_rng([SEED, i])) for i in range(configurations)]
    ways: dict[str, list[Course]] = {}
    again = [float(bench.train(params, [full], seed=SEED + 1).losses[0]) for params in drawn]
    for params in drawn:
        for way, course in _courses(bench, params, [full // divisor for divisor in DIVISORS], full):
            ways.setdefault(way, []).append(course)
    return {
        "model": model,
        "table": table,
        "kind": kind,
        "rows": len(bench.fold.train),
        "again": again,
        "ways": {
            way: {
                "losses": [course.losses.tolist() for course in courses],
                "seconds": [course.seconds.tolist() for course in courses],
            }
            for way, courses in ways.items()
        },
    }


def measure_large(model: str, table: str, datasets: Path, configurations: int) -> dict[str, Any]:
    """Rounds and rows on all rows of a table: losses and seconds `(n, r)` at the rungs (of rounds at R, too)."""
    bench, full = Bench(model, load_fold(datasets, table, WHOLE)), FULL[model]
    kind = bench.fold.task.kind
    space = settings(model, kind=kind, has_categorical=bool(bench.fold.cardinalities)).space
    ways: dict[str, dict[str, list[list[float]]]] = {}
    for i in range(configurations):
        params = space.sample(np.random.default_rng([SEED, i]))
        courses = {
            "rounds": bench.train(params, [*(full // divisor for divisor in LARGE_DIVISORS), full]),
            "rows": _together(
                bench.train(params, [full], share=1 / divisor) for divisor in LARGE_DIVISORS
            ),
        }
        for way, course in courses.items():
            found = ways.setdefault(way, {"losses": [], "seconds": []})
            found["losses"].append(course.losses.tolist())
            found["seconds"].append(course.seconds.tolist())
    return {
        "model": model,
        "table": table,
        "kind": kind,
        "rows": len(bench.fold.train),
        "ways": ways,
    }


def _courses(
    bench: Bench, params: Params, rungs: Sequence[int], full: int
) -> Iterable[tuple[str, Course]]:
    """Each way of training with the courses at the rungs and, where it is another training, at the full budget."""
    plain = bench.train(params, [*rungs, full])
    yield "rounds", plain
    yield "extrapolated", replace(plain, losses=_extrapolated(plain, rungs, full))
    yield "rows", _together(bench.train(params, [full], share=1 / divisor) for divisor in DIVISORS)
    if bench.model == "mlp":
        larger = [_faster(params, full / rung) for rung in rungs]
        yield "scaled", _together(bench.train(params, [rung], horizon=rung) for rung in rungs)
        yield (
            "scaled, larger rate",
            _together(bench.train(p, [r], horizon=r) for p, r in zip(larger, rungs, strict=True)),
        )
        yield "constant rate", bench.train(_horizon_free(params), [*rungs, full])
        return
    yield (
        "scaled",
        _together(
            bench.train(single_family(bench.model).scaled(params, rung / full), [rung])
            for rung in rungs
        ),
    )
    for way, shape in SHAPES.items():
        yield way, bench.train(params, [*rungs, full], shape=shape)


def _faster(params: Params, divisor: float) -> Params:
    rates = ("learning_rate", "sgd_learning_rate")
    return {n: float(v) * math.sqrt(divisor) if n in rates else v for n, v in params.items()}


def _horizon_free(params: Params) -> Params:
    dropped = ("schedule", "drops", "drop_factor")
    kept = {name: value for name, value in params.items() if name not in dropped}
    return {"warmup": 0.0, **kept, **HORIZON_FREE}


def _extrapolated(plain: Course, rungs: Sequence[int], full: int) -> FloatArray:
    known = [[point for point in plain.points if point[0] <= rung] for rung in rungs]
    found = [extrapolate(points, full) for points in known]
    return np.array([*found, plain.losses[-1]])


def _together(courses: Iterable[Course]) -> Course:
    """Trainings that have nothing in common, as one course."""
    parts = list(courses)
    return Course(
        np.concatenate([part.losses for part in parts]),
        np.concatenate([part.seconds for part in parts]),
        (),
    )


@dataclass(frozen=True)
class Judgement:
    """What the rungs of one way are worth on one table, each `(r,)`: rank correlation, share kept, share of seconds."""

    correlation: FloatArray
    kept: FloatArray
    seconds: FloatArray

    @classmethod
    def of(
        cls, losses: FloatArray, seconds: FloatArray, final: FloatArray, final_seconds: float
    ) -> "Judgement":
        """Judge losses and seconds `(n, r)` by the final losses `(n,)`; nan counts as the worst."""
        columns = [worst_last(column) for column in losses.T]
        end = worst_last(final)
        return cls(
            np.array([float(spearmanr(column, end)[0]) for column in columns]),
            np.array([kept_share(column, end) for column in columns]),
            seconds.sum(axis=0) / final_seconds,
        )


def worst_last(losses: FloatArray) -> FloatArray:
    """The losses with those that are nan as the largest."""
    return np.where(np.isnan(losses), np.inf, losses)


def kept_share(losses: FloatArray, final: FloatArray) -> float:
    """The share of the final best quarter that lies in the best third of a rung."""
    n = len(final)
    best = set(np.argsort(final, kind="stable")[: math.ceil(n / 4)].tolist())
    kept = set(np.argsort(losses, kind="stable")[: math.ceil(n / 3)].tolist())
    return len(best & kept) / len(best)


def judged(result: Mapping[str, Any], r: int = len(DIVISORS)) -> dict[str, Judgement]:
    """Every way at r rungs of a table, by the final losses of plain training; `... (own end)` by those of its own."""
    ways = {
        way: (np.array(found["losses"]), np.array(found["seconds"]))
        for way, found in result["ways"].items()
    }
    plain, plain_seconds = ways["rounds"][0][:, r], ways["rounds"][1][:, r].sum()
    out = {}
    for way, (losses, seconds) in ways.items():
        out[way] = Judgement.of(losses[:, :r], seconds[:, :r], plain, plain_seconds)
        if has_own_end(way):
            out[f"{way} (own end)"] = Judgement.of(
                losses[:, :r], seconds[:, :r], losses[:, r], plain_seconds
            )
    return out


def finals(result: Mapping[str, Any]) -> tuple[FloatArray, FloatArray]:
    """The final losses `(n,)` of plain training with either seed."""
    return np.array(result["ways"]["rounds"]["losses"])[:, -1], np.array(
        result["again"], dtype=float
    )


def has_own_end(way: str) -> bool:
    """Whether a way of training ends elsewhere than plain training does."""
    return way.startswith(("scheduled", "constant"))


def ends(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """Per way with an end of its own, per table: its losses over the plain ones, best by best and the median ratio."""
    out: dict[str, dict[str, list[float]]] = {}
    for result in results:
        plain = np.array(result["ways"]["rounds"]["losses"])[:, -1]
        for way in filter(has_own_end, result["ways"]):
            own = np.array(result["ways"][way]["losses"])[:, -1]
            found = out.setdefault(way, {"best": [], "middle": []})
            found["best"].append(float(np.nanmin(own) / np.nanmin(plain)))
            found["middle"].append(float(np.nanmedian(own / plain)))
    return out


def halving(way: str, result: Mapping[str, Any], first: int, n: int) -> tuple[float, float]:
    """Successive halving from rung `first` with n configurations: its mean regret and its cost in full trainings.

    Over random choices of n from all configurations that were trained, a third of them going on
    from each rung. The regret is the final loss of the winner, 0 at the best of all configurations
    and 1 at their median, both by plain training. Ways that continue pay for a rung what it takes
    beyond the last one.
    """
    found, plain = result["ways"][way], result["ways"]["rounds"]
    losses, seconds = worst_last(np.array(found["losses"])), np.array(found["seconds"])
    final, full = worst_last(np.array(plain["losses"])[:, -1]), np.array(plain["seconds"])[:, -1]
    own = losses.shape[1] > len(DIVISORS)
    ends, last = (losses[:, -1], seconds[:, -1]) if own else (final, full)
    rungs = [*range(first, len(DIVISORS))]
    regrets, costs = np.zeros(DRAWS), np.zeros(DRAWS)
    for draw in range(DRAWS):
        alive = np.random.default_rng([SEED, draw]).permutation(len(final))[:n]
        paid = np.zeros(len(final))
        for rung in rungs:
            costs[draw] += (seconds[alive, rung] - paid[alive]).sum()
            paid = seconds[:, rung] if own else paid
            alive = alive[
                np.argsort(losses[alive, rung], kind="stable")[: max(1, round(len(alive) / 3))]
            ]
        costs[draw] += (last[alive] - paid[alive]).sum()
        regrets[draw] = ends[alive].min()
    best, middle = final.min(), np.median(final)
    return float((regrets.mean() - best) / (middle - best)), float(costs.mean() / full.mean())


def halving_regrets(
    way: str, result: Mapping[str, Any], costs: Sequence[float] = (COST,)
) -> FloatArray:
    """`(costs, r + 1)` regrets from each rung, and of full trainings only, with as many configurations as a cost pays.

    Costs are in full trainings; regrets between the tried numbers of configurations are
    interpolated.
    """
    n = len(result["ways"][way]["losses"])
    sizes = np.unique(np.geomspace(3, n, SIZES).round().astype(int)).tolist()
    raced = [
        np.array([halving(way, result, first, size) for size in sizes])
        for first in range(len(DIVISORS) + 1)
    ]
    return np.array([[np.interp(cost, race[:, 1], race[:, 0]) for race in raced] for cost in costs])


def shipped(model: str) -> list[dict[str, Any]]:
    """The uniform configurations of the tabulated learning curves of a model, as results of one way."""
    out = []
    for path in sorted(CURVES_FOLDER.glob(f"{model}-*.npz")):
        with np.load(path) as arrays:
            n = RACES.uniform[model]
            found = {
                "losses": arrays["losses"][:n].tolist(),
                "seconds": arrays["seconds"][:n].tolist(),
            }
        out.append({"table": path.stem, "ways": {"rounds": found}})
    return out


def longer_races(models: Iterable[str]) -> str:
    """Successive halving on the tabulated learning curves, which hold more configurations, at higher costs."""
    rows = []
    for model in models:
        results = shipped(model)
        regrets = np.array([halving_regrets("rounds", result, COSTS) for result in results])
        rows += [
            [f"{model}, {len(results)} tables, {cost:g} trainings", *_means(regrets[:, i])]
            for i, cost in enumerate(COSTS)
            if results
        ]
    return table(
        ["halving, rounds", *(f"from R/{divisor}" for divisor in DIVISORS), "from R"], rows
    )


def tables_of(model: str, results: Sequence[Mapping[str, Any]]) -> str:
    """The Markdown tables of one model: means over tables with bootstrap intervals over tables."""
    judgements = [judged(result) for result in results]
    rungs = [f"R/{divisor}" for divisor in DIVISORS]
    header = [
        "fidelity",
        *(f"ρ at {rung}" for rung in rungs),
        *(f"kept at {rung}" for rung in rungs),
    ]
    rows = [
        [
            way,
            *_means([j[way].correlation for j in judgements]),
            *_means([j[way].kept for j in judgements]),
        ]
        + [
            ", ".join(
                f"{share:.0%}" for share in np.mean([j[way].seconds for j in judgements], axis=0)
            )
        ]
        for way in judgements[0]
    ]
    raced = [
        [way, *_means([halving_regrets(way, result)[0, :-1] for result in results])]
        for way in results[0]["ways"]
    ]
    ended = [
        [way, *_means(np.array([found["best"], found["middle"]]).T, 3)]
        for way, found in ends(results).items()
    ]
    again = [[float(spearmanr(*map(worst_last, finals(result)))[0])] for result in results]
    alone = [[halving("rounds", result, len(DIVISORS), round(COST))[0]] for result in results]
    parts = [
        f"**{model}**, R = {FULL[model]}, {len(results)} tables. Two seeds at R: ρ {_means(np.array(again))[0]}. "
        f"The best of {COST:g} full trainings: regret {_means(np.array(alone))[0]}.",
        table([*header, "CPU of R"], rows),
        table(
            [f"halving at the cost of {COST:g} trainings", *(f"from {rung}" for rung in rungs)],
            raced,
        ),
        table(["final loss over that of plain training", "best configuration", "median"], ended),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def large_table(results: Sequence[Mapping[str, Any]]) -> str:
    """The Markdown table of whole tables: a row for each model, table and way, without intervals."""
    rungs = [f"R/{divisor}" for divisor in LARGE_DIVISORS]
    header = ["model", "table", "training rows", "fidelity", *(f"ρ at {rung}" for rung in rungs)]
    rows = [
        [result["model"], result["table"], f"{result['rows']:,}", way]
        + [f"{value:.2f}" for value in judgement.correlation]
        + [", ".join(f"{value:.2f}" for value in judgement.kept)]
        + [", ".join(f"{value:.0%}" for value in judgement.seconds)]
        for result in results
        for way, judgement in judged(result, len(LARGE_DIVISORS)).items()
    ]
    return table([*header, "kept", "CPU of R"], rows)


def _means(
    values: Sequence[FloatArray | Sequence[float]] | FloatArray, decimals: int = 2
) -> list[str]:
    """Means with intervals over tables: `(tables, columns)` to texts, one per column."""
    columns = np.array(values).T
    return [
        interval_text(float(np.mean(column)), *interval(column, np.mean), decimals)
        for column in columns
    ]


def main(arguments: Sequence[str]) -> None:
    """Measure what has not been measured yet, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks rungs", description=__doc__)
    parser.add_argument(
        "--datasets", type=Path, required=True, help="folder with index.csv and <name>.csv.gz"
    )
    parser.add_argument("--models", nargs="+", default=list(TABLES), choices=list(TABLES))
    parser.add_argument(
        "--tables", nargs="+", default=None, help="instead of those chosen for the models"
    )
    parser.add_argument(
        "--large", action="store_true", help="whole tables instead; boosting, rounds and rows only"
    )
    parser.add_argument("--configurations", type=int, default=None)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--output", type=Path, default=cache() / "results")
    options = parser.parse_args(arguments)
    folder = options.output / "rungs"
    folder.mkdir(parents=True, exist_ok=True)
    if options.large:
        _large(options, folder)
        return
    jobs = [(model, name) for model in options.models for name in options.tables or TABLES[model]]
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        waiting = {
            job: pool.submit(
                measure, *job, options.datasets, options.configurations or CONFIGURATIONS[job[0]]
            )
            for job in jobs
            if not _path(folder, *job).exists()
        }
        for job, future in waiting.items():
            _path(folder, *job).write_text(json.dumps(future.result()))
            print(*job, flush=True)
    found = {
        model: [json.loads(_path(folder, *job).read_text()) for job in jobs if job[0] == model]
        for model in options.models
    }
    text = "\n".join(
        [*(tables_of(model, results) for model, results in found.items()), longer_races(found)]
    )
    figures = {model: [_figures(result) for result in results] for model, results in found.items()}
    write(options.output, "rungs", text, {"machine": machine(), "figures": figures})


def _large(options: argparse.Namespace, folder: Path) -> None:
    n = options.configurations or LARGE_CONFIGURATIONS
    results = []
    for name in options.tables or LARGE_TABLES:
        for model in (model for model in options.models if model != "mlp"):
            path = folder / f"large-{model}-{name}.json"
            if not path.exists():
                path.write_text(json.dumps(measure_large(model, name, options.datasets, n)))
                print(model, name, flush=True)
            results.append(json.loads(path.read_text()))
    write(options.output, "rungs-large", large_table(results), {"machine": machine()})


def _path(folder: Path, model: str, name: str) -> Path:
    return folder / f"{model}-{name}.json"


def _figures(result: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        way: {
            "correlation": j.correlation.tolist(),
            "kept": j.kept.tolist(),
            "seconds": j.seconds.tolist(),
        }
        for way, j in judged(result).items()
    }
    return {"table": result["table"], "ways": found}
