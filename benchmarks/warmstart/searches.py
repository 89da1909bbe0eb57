"""Warm starts against searches without a past, on tables whose own studies are left out of it.

`--on surfaces`: the tabulated tables of `benchmarks.warmstart.pasts`; a search costs a second. `--on fits`:
real trainings of LightGBM on tables that no past study has seen, in the continuous space.
"""

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from benchmarks.environments import cache as cache_folder
from benchmarks.report import table as as_table
from benchmarks.report import write
from benchmarks.statistics import best_so_far, interval
from benchmarks.tabulated.make_curves import BUDGETS, MANY, PAST, PAST_TABLES, SEED, divided
from benchmarks.tabulated.make_surfaces import inside, load_prepared
from benchmarks.warmstart.asked import Given, searched_by
from benchmarks.warmstart.pasts import METRIC, TRIALS, kind, left_by, past_of, same_table, tables
from hpo.algorithms import algorithm, grants_budgets
from hpo.arrays import FloatArray
from hpo.past import Past
from hpo.space import SearchSpace
from hpo.space.parameters import Params
from hpo.storage import MemoryStorage
from hpo.study import FirstPoint, Study
from hpo.trial import Failure, Report
from pipelines.models.catalog import family, settings
from pipelines.models.errors import TrainingError
from pipelines.study.warm_start import FIRST_POINTS
from pipelines.table.metrics import metric_for
from pipelines.table.source import described
from warmstart.metafeatures import MetaFeatures
from warmstart.past import PastStudy
from warmstart.transfer import learned, neighbours

AT = (5, 10, 25, 50)
NEVER = 999
OURS = "warm"
FITS = (  # none of them is among the tables of the past
    "german_credit",
    "cmc_contraceptive",
    "vehicle",
    "hpc_jobs",
    "caravan_insurance",
    "adult_income",
    "california_housing",
    "nyc_taxi_fare",
    "hotel_rates",
    "communities_crime",
    "diamonds",
    "cell_segmentation",
)


@dataclass(frozen=True)
class Method:
    """A way to start: with how many past studies, by which weights, with which of its parts.

    `past` None is a cold search; `shuffled` gives the similarities to other tables, `even` makes
    them equal, `inverted` is the share of past studies whose losses are negated. `defaults` is how
    many of the defaults come first. `oracle_past` keeps the five past studies whose models rank
    this table best, `oracle_points` takes as first points two of the past that are the best here:
    no method can know either, so they bound what better similarities and better first points could
    gain. A `peer` (`benchmarks.methods.WARMED`) is given the same defaults and the same past, and
    makes of them what it can. The past has studies by the families `others`, too, and where `same`
    is given the study of the very table by that one. Past studies are `by` an algorithm, at the
    `cost` of so many full trainings each.
    """

    past: int | None = 40
    defaults: int = 2
    even: bool = False
    shuffled: bool = False
    inverted: float = 0.0
    algorithm: str = "tpe"
    oracle_past: bool = False
    oracle_points: bool = False
    peer: str | None = None
    others: tuple[str, ...] = ()
    same: str | None = None
    by: str = "tpe"
    cost: float = TRIALS


METHODS: Mapping[str, Method] = {
    "cold": Method(past=None),
    "cold, no defaults": Method(past=None, defaults=0),
    "random": Method(past=None, algorithm="random"),
    "warm": Method(),
    "even weights": Method(even=True),
    "shuffled weights": Method(shuffled=True),
    "2 past studies": Method(past=2),
    "5 past studies": Method(past=5),
    "10 past studies": Method(past=10),
    "20 past studies": Method(past=20),
    "cold bohb": Method(past=None, algorithm="bohb"),
    "warm bohb": Method(algorithm="bohb"),
    "warm bohb, 2 past studies": Method(algorithm="bohb", past=2),
    "warm bohb, 5 past studies": Method(algorithm="bohb", past=5),
    "warm bohb, 10 past studies": Method(algorithm="bohb", past=10),
    "warm bohb, all inverted": Method(algorithm="bohb", inverted=1.0),
    "LightGBM's past, too": Method(others=("lightgbm",)),
    "LightGBM's past only, of this table": Method(past=0, same="lightgbm"),
    "LightGBM's past, too, and of this table": Method(others=("lightgbm",), same="lightgbm"),
    "XGBoost's past, too": Method(others=("xgboost",)),
    "short past": Method(cost=10),
    "short past by bohb": Method(by="bohb", cost=10),
    "past by bohb": Method(by="bohb"),
    "half inverted": Method(inverted=0.5),
    "all inverted": Method(inverted=1.0),
    "oracle past": Method(oracle_past=True),
    "oracle first points": Method(oracle_points=True),
    "optuna": Method(past=None, peer="optuna"),
    "optuna, nearest's best": Method(peer="optuna-nearest"),
    "syne tune, bounding box": Method(peer="syne-box"),
    "flaml, zero-shot": Method(past=None, peer="flaml-zero-shot"),
}


@dataclass(frozen=True, eq=False)
class Task:
    """A table to search on."""

    model: str
    name: str
    space: SearchSpace
    first_points: tuple[FirstPoint, ...]
    features: MetaFeatures
    losses: Callable[[Params, float], float]
    rungs: tuple[float, ...] = (1.0,)


def search(
    task: Task, past: Sequence[PastStudy], method: Method, seed: int, trials: int
) -> list[float]:
    """The best reported loss at the cost of 1, 2, … `trials` full trainings; infinite before the first."""
    first = task.first_points[: method.defaults]
    known = _known(task, past, method, seed) if past else None
    if method.peer is not None:
        return _by_peer(task, known, method.peer, first, seed, trials)
    if known is not None:
        taken = np.array([task.space.encode(point.params) for point in first])
        codes = [code for _, code in known.best_on_same_table(taken, FIRST_POINTS)]
        if method.oracle_points:
            codes = sorted(known.leaders(), key=partial(_loss, task))[:FIRST_POINTS]
        first = (*first, *(FirstPoint(task.space.decode(code), "past") for code in codes))
    rungs = task.rungs if grants_budgets(method.algorithm) else task.rungs[-1:]
    sampler, scheduler = algorithm(method.algorithm, rungs, past=known)
    study = Study(task.space, sampler, scheduler, MemoryStorage(), seed=seed, first_points=first)
    best, cost = np.full(trials, np.inf), 0.0
    while cost < trials - 1e-9 and (trial := study.ask()) is not None:
        cost += (trial.budget - trial.reached) / rungs[-1]
        try:
            told = study.tell(
                trial.number, Report(trial.budget, task.losses(trial.params, trial.budget))
            )
            best[max(math.ceil(cost - 1e-9) - 1, 0) :] = min(float(best[-1]), told.loss)
        except TrainingError as error:
            study.tell(trial.number, Failure(str(error)))
    return [float(loss) for loss in best]


def _by_peer(
    task: Task, known: Past | None, peer: str, first: Sequence[FirstPoint], seed: int, trials: int
) -> list[float]:
    past = [
        [
            (task.space.decode(code), float(score))
            for code, score in zip(source.x, source.scores, strict=True)
        ]
        for source in (known.sources if known else ())
    ]

    def loss(params: Params) -> float | None:
        try:
            return task.losses(params, task.rungs[-1])
        except TrainingError:
            return None

    given = Given(seed, [point.params for point in first], past, task.features.values)
    return [float(loss) for loss in best_so_far(searched_by(peer, task.space, given, loss, trials))]


def _known(task: Task, past: Sequence[PastStudy], method: Method, seed: int) -> Past | None:
    """What the past knows; None when that is nothing."""
    past = [
        replace(study, losses=-study.losses[::-1], x=study.x[::-1])
        if i < method.inverted * len(past)
        else study
        for i, study in enumerate(past)
    ]
    found = neighbours(
        past,
        task.features,
        model=task.model,
        space=task.space,
        metric=METRIC[kind(task.features)],
        task=kind(task.features),
        digest=task.name,
        most=len(past),
    )
    if method.even:
        found = [replace(neighbour, similarity=1.0) for neighbour in found]
    if method.shuffled:
        order = np.random.default_rng([seed, 7]).permutation(len(found))
        found = [
            replace(n, similarity=found[i].similarity) for n, i in zip(found, order, strict=True)
        ]
    known = learned(found, task.model, task.space, task.first_points[0].params)
    if method.oracle_past and len(known):
        known = _best_five(task, known)
    return known if len(known) else None


def _best_five(task: Task, past: Past) -> Past:
    x = task.space.sample_unit(np.random.default_rng(0), 300)
    truth = [_loss(task, code) for code in x]
    rho = [spearmanr(Past(past.space, (source,)).expected(x), truth)[0] for source in past.sources]
    return Past(past.space, tuple(past.sources[i] for i in np.argsort(rho)[-5:]))


def _loss(task: Task, code: FloatArray) -> float:
    return task.losses(task.space.decode(code), task.rungs[-1])


def on_surface(model: str, number: int, name: str, seed: int, trials: int) -> list[float]:
    """One search on a tabulated surface; the past is of the other tables."""
    table, method = tables(model)[number], METHODS[name]
    task = Task(
        model,
        table.name,
        table.space,
        table.first_points,
        table.features,
        table.loss_at,
        table.budgets,
    )
    past = (
        []
        if method.past is None
        else list(past_of(table, seed, method.past, method.others, method.by, method.cost))
    )
    if method.same is not None:
        past += same_table(table, seed, method.same)
    return search(task, past, method, seed, trials)


@cache
def fitted(datasets: Path, model: str, name: str) -> Task:
    """A table whose configurations are really trained, each once."""
    prepared = load_prepared(datasets, name, MANY)
    features = MetaFeatures.from_dict(described(prepared))
    fold, budget = divided(PAST, model, prepared.folds[0]), BUDGETS[model][-1]
    metric = metric_for(METRIC[kind(features)], fold.task.kind)
    own = settings(model, kind=fold.task.kind, has_categorical=bool(fold.cardinalities))
    trainer = family(model)(fold, metric, 1, horizon=budget)

    def loss(params: Params, _: float) -> float:
        trial = trainer.start(params, SEED)
        trial.train(budget)
        return metric.to_loss(fold.score(metric, trial.predict(fold.valid)))

    firsts = tuple(
        FirstPoint(inside(own.space, point), origin)
        for point, origin in zip(own.first_points, ("default", "tuned default"), strict=True)
    )
    return Task(model, name, own.space, firsts, features, loss)


def on_fit(
    datasets: Path, model: str, number: int, name: str, seed: int, trials: int
) -> list[float]:
    """One search with real trainings; the past is of the tabulated tables."""
    task, method = fitted(datasets, model, FITS[number]), METHODS[name]
    known = list(tables(model))
    order = np.random.default_rng(seed).permutation(len(known))[: method.past]
    past = [] if method.past is None else [left_by(known[i], 1_000 + seed) for i in order]
    return search(task, past, method, seed, trials)


Key = tuple[str, str, str, int]
"""Table, model, method, seed."""


def read(path: Path) -> dict[Key, list[float]]:
    """The searches that were kept."""
    kept = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        row = json.loads(line)
        kept[row["table"], row["model"], row["method"], row["seed"]] = row["losses"]
    return kept


def report(
    kept: Mapping[Key, Sequence[float]],
    model: str,
    names: Sequence[str],
    methods: Sequence[str],
    trials: int,
    against: str = OURS,
) -> tuple[str, dict[str, object]]:
    """Markdown and plain values: every method against the cold search, over tables and seeds that all have.

    By table the methods are compared with the one to hold them `against`.
    """
    seeds = sorted({seed for _, m, _, seed in kept if m == model})
    seeds = [
        s for s in seeds if all((n, model, method, s) in kept for n in names for method in methods)
    ]
    losses = np.array(
        [[[kept[n, model, m, s][:trials] for s in seeds] for n in names] for m in methods]
    )
    best = best_so_far(losses)
    low, scale = _scales(model, names, losses, methods)
    regret = (best - low[:, None, None]) / (scale - low)[:, None, None]
    cold = list(methods).index("cold")
    target = np.median(best[cold, :, :, -1], axis=1)[:, None, None]
    reached = best <= target + 1e-12
    after = np.where(
        reached.any(axis=-1), reached.argmax(axis=-1) + 1, NEVER
    )  # (methods, tables, seeds)
    at = [n for n in AT if n <= trials]
    head = [
        "method",
        f"trials to cold's {trials}: median, upper quartile",
        *(f"regret at {n}" for n in at),
    ]
    rows = []
    values: dict[str, object] = {"seeds": len(seeds), "tables": list(names)}
    for i, method in enumerate(methods):
        cells = []
        for n in at:
            by_table = regret[i, :, :, n - 1].mean(axis=1)
            cells.append(
                "{:.3f} [{:.3f}, {:.3f}]".format(by_table.mean(), *interval(by_table, np.mean))
            )
        worse = np.mean(
            regret[i, :, :, 24].mean(axis=1) > regret[cold, :, :, 24].mean(axis=1) + 0.02
        )
        quartiles = [
            _trials(value) for value in np.quantile(after[i], [0.5, 0.75], method="higher")
        ]
        rows.append([method, ", ".join(quartiles), *cells, f"{100 * worse:.0f} %"])
        values[method] = {
            "trials": np.quantile(after[i], [0.25, 0.5, 0.75], method="higher").tolist(),
            "regret": {n: float(regret[i, :, :, n - 1].mean()) for n in at},
            "worse": float(worse),
        }
    about = f"{len(names)} tables × {len(seeds)} seeds, {model}, {trials} trials."
    text = f"{about}\n\n{as_table([*head, 'worse at 25'], rows)}"
    if against in methods:
        text += f"\n\n{_duels(regret.mean(axis=2), methods, at, against)}"
    return text, values


def _duels(regret: FloatArray, methods: Sequence[str], at: Sequence[int], against: str) -> str:
    """What each method regrets more than the one `against`, and on how many tables; regrets `(methods, tables, n)`."""
    more = regret - regret[list(methods).index(against)]
    rows = []
    for method, by_table in zip(methods, more, strict=True):
        if method != against:
            cells = [by_table[:, n - 1] for n in at]
            rows.append(
                [method]
                + [
                    "{:.3f} [{:.3f}, {:.3f}], {}".format(
                        x.mean(), *interval(x, np.mean), (x > 0).sum()
                    )
                    for x in cells
                ]
            )
    return as_table([f"against {against}", *(f"at {n}" for n in at)], rows)


def _scales(
    model: str, names: Sequence[str], losses: FloatArray, methods: Sequence[str]
) -> tuple[FloatArray, FloatArray]:
    """By table: the losses that are regrets 0 and 1.

    Surfaces have their own; elsewhere the least that any search has found, and the median of the
    first spread-out configurations of the cold searches.
    """
    own = {table.name: table for table in tables(model)}
    if all(name in own for name in names):
        return np.array([own[n].optimum for n in names]), np.array([own[n].scale for n in names])
    cold = losses[list(methods).index("cold")]
    finite = np.where(np.isfinite(losses), losses, np.nan)
    return np.nanmin(finite, axis=(0, 2, 3)), np.median(cold[:, :, 2:7], axis=(1, 2))


def _trials(value: float) -> str:
    return "never" if value >= NEVER else f"{value:.0f}"


def main(arguments: Sequence[str]) -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks warmstart", description=__doc__)
    parser.add_argument("--on", choices=["surfaces", "fits"], default="surfaces")
    parser.add_argument(
        "--datasets", type=Path, default=None, help="for fits: index.csv and <name>.csv.gz"
    )
    parser.add_argument("--model", default="lightgbm", choices=list(PAST_TABLES))
    parser.add_argument("--methods", nargs="+", default=["cold", "warm"], choices=list(METHODS))
    parser.add_argument(
        "--against", default=OURS, choices=list(METHODS), help="compare by table with it"
    )
    parser.add_argument("--tables", type=int, default=None, help="so many of them")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", type=Path, default=None, help="folder of the results")
    options = parser.parse_args(arguments)
    if options.on == "fits" and options.datasets is None:
        parser.error("--on fits needs --datasets")
    folder = options.output or cache_folder() / "results"
    path = folder / f"warmstart-{options.on}-{options.trials}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    known = (
        [table.name for table in tables(options.model)] if options.on == "surfaces" else list(FITS)
    )
    names = known[: options.tables]
    run: Callable[[str, int, str, int, int], list[float]] = on_surface
    if options.on == "fits":
        run = partial(on_fit, options.datasets)
    kept = read(path)
    jobs = [
        (i, method, seed)
        for seed in range(options.seeds)
        for i in range(len(names))
        for method in options.methods
        if (names[i], options.model, method, seed) not in kept
    ]
    with (
        ProcessPoolExecutor(options.processes, get_context("spawn")) as pool,
        path.open("a") as file,
    ):
        futures = {
            pool.submit(run, options.model, i, method, seed, options.trials): (i, method, seed)
            for i, method, seed in jobs
        }
        for done, (future, (i, method, seed)) in enumerate(futures.items(), 1):
            if error := future.exception():
                pool.shutdown(wait=False, cancel_futures=True)
                raise error
            row = {
                "table": names[i],
                "model": options.model,
                "method": method,
                "seed": seed,
                "losses": future.result(),
            }
            file.write(json.dumps(row) + "\n")
            file.flush()
            if done % 50 == 0 or done == len(jobs):
                print(f"{done}/{len(jobs)} searches", flush=True)
    text, values = report(
        read(path), options.model, names, options.methods, options.trials, options.against
    )
    write(folder, f"warmstart-{options.on}-{options.model}", text, values)
