"""Searches with and without a past, on tabulated surfaces and with real trainings."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from benchmarks.datasets import find_dataset
from benchmarks.statistics import best_so_far
from benchmarks.tabulated.efforts import BUDGETS, MAX_ROWS, PAST, SEED
from benchmarks.tabulated.making import inside
from benchmarks.warmstart.asked import Given, searched_by
from benchmarks.warmstart.pasts import METRIC, kind, left_by, past_of, same_table, tables
from benchmarks.warmstart.starts import METHODS, Method
from hpo.algorithms import algorithm, grants_budgets
from hpo.arrays import FloatArray
from hpo.past import Past
from hpo.space import SearchSpace
from hpo.space.parameters import Params
from hpo.storage import MemoryStorage
from hpo.study import FirstPoint, Study, StudySettings
from hpo.trial import Failure, Report
from pipelines.models import FamilyOptions
from pipelines.models.catalog import family, settings
from pipelines.models.errors import TrainingError
from pipelines.study.warm_start import FIRST_POINTS
from pipelines.table.scores.named import metric_for
from pipelines.table.source import described
from warmstart.metafeatures import MetaFeatures
from warmstart.past import PastStudy
from warmstart.transfer import learned, neighbours

FITS = (  # tables for real trainings; no past study has seen them
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


@dataclass(frozen=True, eq=False)
class Task:
    """A table to search on; `losses` gives the loss of a configuration at one of the `rungs`."""

    model: str
    name: str
    space: SearchSpace
    first_points: tuple[FirstPoint, ...]
    features: MetaFeatures
    losses: Callable[[Params, float], float]
    rungs: tuple[float, ...] = (1.0,)

    def full_loss(self, code: FloatArray) -> float:
        """The loss of the configuration with a unit code `(d,)` at the full budget."""
        return self.losses(self.space.decode(code), self.rungs[-1])


def search(
    task: Task, past: Sequence[PastStudy], method: Method, seed: int, trials: int
) -> list[float]:
    """The best loss after a cost of 1, 2, … `trials` full trainings; infinite before the first."""
    first = task.first_points[: method.defaults]
    known = _known(task, past, method, seed) if past else None
    if method.peer is not None:
        return _by_peer(task, known, method.peer, first, seed, trials)
    if known is not None:
        first = (*first, *_first_points(task, known, method, first))
    rungs = task.rungs if grants_budgets(method.algorithm) else task.rungs[-1:]
    sampler, scheduler = algorithm(method.algorithm, rungs, past=known)
    study = Study(
        task.space,
        sampler,
        scheduler,
        MemoryStorage(),
        seed=seed,
        settings=StudySettings(first_points=first),
    )
    best, cost = np.full(trials, np.inf), 0.0
    while cost < trials - 1e-9 and (trial := study.ask()) is not None:
        cost += (trial.budget - trial.reached) / rungs[-1]
        try:
            report = Report(trial.budget, task.losses(trial.params, trial.budget))
        except TrainingError as error:
            study.tell(trial.number, Failure(str(error)))
            continue
        loss = study.tell(trial.number, report).loss
        best[max(math.ceil(cost - 1e-9) - 1, 0) :] = min(float(best[-1]), loss)
    return [float(loss) for loss in best]


def _first_points(
    task: Task, known: Past, method: Method, first: Sequence[FirstPoint]
) -> list[FirstPoint]:
    """First points from the past, in addition to the defaults."""
    if method.oracle_points:
        codes = sorted(known.leaders(), key=task.full_loss)[:FIRST_POINTS]
    else:
        taken = np.array([task.space.encode(point.params) for point in first])
        codes = [code for _, code in known.best_on_same_table(taken, FIRST_POINTS)]
    return [FirstPoint(task.space.decode(code), "past") for code in codes]


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
    """The model of the past studies; None if it has no study to learn from."""
    inverted = method.inverted * len(past)
    studies = [_negated(study) if i < inverted else study for i, study in enumerate(past)]
    found = neighbours(
        studies,
        task.features,
        model=task.model,
        space=task.space,
        metric=METRIC[kind(task.features)],
        task=kind(task.features),
        digest=task.name,
        most=len(studies),
    )
    similarities = [neighbour.similarity for neighbour in found]
    if method.even:
        similarities = [1.0] * len(found)
    if method.shuffled:
        order = np.random.default_rng([seed, 7]).permutation(len(found))
        similarities = [similarities[i] for i in order]
    found = [
        replace(neighbour, similarity=similarity)
        for neighbour, similarity in zip(found, similarities, strict=True)
    ]
    known = learned(found, task.model, task.space, task.first_points[0].params)
    if method.oracle_past and len(known):
        known = _best_five(task, known)
    return known if len(known) else None


def _negated(study: PastStudy) -> PastStudy:
    """The study with negated losses, the best still first."""
    return replace(study, losses=-study.losses[::-1], x=study.x[::-1])


def _best_five(task: Task, past: Past) -> Past:
    """The five past studies whose models rank this table best."""
    x = task.space.codes.sample(np.random.default_rng(0), 300)
    truth = [task.full_loss(code) for code in x]
    rho = [spearmanr(Past(past.space, (source,)).expected(x), truth)[0] for source in past.sources]
    return Past(past.space, tuple(past.sources[i] for i in np.argsort(rho)[-5:]))


def on_surface(model: str, number: int, name: str, seed: int, trials: int) -> list[float]:
    """One search on surface `number` by method `name`; past studies are of other tables."""
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
    past: list[PastStudy] = []
    if method.past is not None:
        past += past_of(table, seed, method.past, method.others, method.by, method.cost)
    if method.same is not None:
        past += same_table(table, seed, method.same)
    return search(task, past, method, seed, trials)


@cache
def fitted(datasets: Path, model: str, name: str) -> Task:
    """A table on which configurations are trained for real."""
    prepared = find_dataset(datasets, name).prepared(MAX_ROWS)
    features = MetaFeatures.from_dict(described(prepared))
    fold, budget = PAST.divided(model, prepared.folds[0]), BUDGETS[model][-1]
    metric = metric_for(METRIC[kind(features)], fold.task.kind)
    own = settings(model, kind=fold.task.kind, has_categorical=bool(fold.cardinalities))
    trainer = family(model)(fold, FamilyOptions(metric, 1, horizon=budget))

    def loss(params: Params, _: float) -> float:
        trial = trainer.start(params, SEED)
        trial.train(budget)
        return metric.goal.to_loss(fold.score(metric, trial.predict(fold.valid)))

    first = tuple(
        FirstPoint(inside(own.space, point), "tuned default" if i else "default")
        for i, point in enumerate(own.first_points)
    )
    return Task(model, name, own.space, first, features, loss)


def on_fit(
    datasets: Path, model: str, number: int, name: str, seed: int, trials: int
) -> list[float]:
    """One search with real trainings; past studies are of the tabulated tables."""
    task, method = fitted(datasets, model, FITS[number]), METHODS[name]
    known = list(tables(model))
    order = np.random.default_rng(seed).permutation(len(known))[: method.past]
    past = [] if method.past is None else [left_by(known[i], 1_000 + seed) for i in order]
    return search(task, past, method, seed, trials)


def searcher(datasets: Path | None) -> Callable[[str, int, str, int, int], list[float]]:
    """The function of model, number of the table, method, seed and trials that searches.

    It trains for real on the tables in `datasets`; without a folder it uses tabulated surfaces.
    """
    return on_surface if datasets is None else partial(on_fit, datasets)
