"""One family or several, a hold-out or folds: for the same CPU seconds, on real tables.

Configurations of every family are trained on five folds, of which the first is the hold-out, and on
the rows of all folds for as many rounds as were best. Searches are then replayed: the defaults of
the families first, then random configurations in many orders, as many as the seconds allow. As in
`tune`, an ensemble is selected by predictions of the validation rows, and models of all rows
predict the held-out ones.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.datasets import add_datasets_option, find_dataset
from benchmarks.environments import cache
from benchmarks.markdown import interval_text, table
from benchmarks.report import machine, write
from benchmarks.statistics import interval
from hpo.arrays import FloatArray, IntArray
from hpo.space.parameters import Params
from pipelines.models import FamilyOptions, family, settings
from pipelines.objectives.ensemble.library import TRIALS, shortlist
from pipelines.objectives.ensemble.selection import blend, select
from pipelines.study.options import AUTO_MEMBERS
from pipelines.table.data import Fold, Prepared
from pipelines.table.folds import EncodedRows
from pipelines.table.scores.metrics import Metric, default_metric

TABLES = (
    *("german_credit", "credit_approval", "vehicle", "eucalyptus", "sacramento_housing"),
    *("colleges_usnews", "garment_productivity", "student_portuguese", "titanic"),
    *("cylinder_bands", "cmc_contraceptive", "coffee_quality", "abalone", "wine_white"),
    *("spambase", "phone_churn", "hpc_jobs", "kin8nm"),
)
FOLDS = 5
BUDGETS = (15, 45, 250)  # CPU seconds
ORDERS = 3
RANDOM = {"lightgbm": 6, "xgboost": 3, "catboost": 2, "extra_trees": 2, "linear": 2, "mlp": 1}
"""How many random configurations of each family are trained beside its defaults."""

SEVERAL = ("lightgbm", "linear", "extra_trees", "xgboost", "catboost")
LEAST, ERRORS = 3, 3.0  # trials before one is stopped, and how many standard errors it is behind


@dataclass(frozen=True)
class Way:
    """How a search uses its seconds.

    Attributes:
        families: that are searched.
        all_folds: whether all folds validate, or only the first, the hold-out.
        members: of an ensemble at most.
        races: whether a trial ends after a fold by which it is `ERRORS` standard errors behind the
            best trial.
    """

    families: Sequence[str]
    all_folds: bool
    members: int = AUTO_MEMBERS
    races: bool = False


WAYS: Mapping[str, Way] = {
    "lightgbm, hold-out": Way(("lightgbm",), all_folds=False),
    "lightgbm, cv:5": Way(("lightgbm",), all_folds=True),
    "several, hold-out": Way(SEVERAL, all_folds=False),
    "several, cv:5": Way(SEVERAL, all_folds=True),
    "several and mlp, cv:5": Way((*SEVERAL, "mlp"), all_folds=True),
    "several, cv:5, the best trial": Way(SEVERAL, all_folds=True, members=1),
    "several, cv:5, folds as rungs": Way(SEVERAL, all_folds=True, races=True),
}


@dataclass(frozen=True)
class Training:
    """The trainings of one configuration.

    Attributes:
        family: that is trained.
        is_default: whether it is a default of its family, which is tried before random ones.
        seconds: `(folds,)` of CPU.
        valid: predictions of the validation rows of each fold.
        served: predictions of the held-out rows by a model of all other rows: with the rounds that
            were best on the hold-out, and with their mean over the folds.
    """

    family: str
    is_default: bool
    seconds: FloatArray
    valid: Sequence[FloatArray]
    served: tuple[FloatArray, FloatArray]


@dataclass(frozen=True)
class Tabulated:
    """The trainings on one table.

    Attributes:
        trainings: of all configurations.
        y: the targets of the validation rows of each fold.
        y_test: the targets of the held-out rows.
        metric: the score.
    """

    trainings: Sequence[Training]
    y: Sequence[FloatArray]
    y_test: FloatArray
    metric: Metric

    def replayed(self, way: str, limit: float, seed: int) -> tuple[float, int]:
        """The held-out error of a search for so many seconds, and how many trials it has."""
        chosen_way = WAYS[way]
        members, all_folds = chosen_way.members, chosen_way.all_folds
        used = slice(None) if all_folds else slice(1)
        seconds = np.array([training.seconds[used] for training in self.trainings])
        order = self._order(chosen_way.families, seed)
        if chosen_way.races:
            losses = np.array([self._fold_losses(training) for training in self.trainings])
            chosen = raced(seconds, losses, order, limit)
        else:
            chosen = affordable(seconds.sum(axis=1), order, limit)
        y = np.concatenate(self.y[used])
        valid = [np.concatenate(self.trainings[i].valid[used]) for i in chosen]
        of_trials = [self._loss(y, each) for each in valid]
        ranked = sorted(range(len(chosen)), key=of_trials.__getitem__)
        if members == 1:
            weights = np.eye(len(chosen))[ranked[0]]
        else:
            listed = shortlist(ranked, TRIALS, lambda i: self.trainings[chosen[i]].family)
            weights = np.zeros(len(chosen))
            weights[listed] = select(
                np.stack([valid[i] for i in listed]),
                lambda rows: lambda each: self._loss(y[rows], each),
                members,
                0,
            )
        served = np.stack([self.trainings[i].served[int(all_folds)] for i in chosen])
        loss = self._loss(self.y_test, blend(served, weights))
        return (1 + loss if loss < 0 else loss), len(chosen)

    def _order(self, families: Sequence[str], seed: int) -> list[int]:
        """The defaults in the order of the families, then the others at random."""
        mine = [i for i, each in enumerate(self.trainings) if each.family in families]
        first = [i for i in mine if self.trainings[i].is_default]
        first.sort(key=lambda i: families.index(self.trainings[i].family))
        others = [i for i in mine if not self.trainings[i].is_default]
        return [*first, *np.random.default_rng(seed).permutation(others).tolist()]

    def _fold_losses(self, training: Training) -> list[float]:
        return [self._loss(y, each) for y, each in zip(self.y, training.valid, strict=True)]

    def _loss(self, y: FloatArray, prediction: FloatArray) -> float:
        return self.metric.goal.to_loss(self.metric(y, prediction))


def affordable(seconds: FloatArray, order: Sequence[int], limit: float) -> list[int]:
    """The configurations that fit into a limit in this order; the first is always trained."""
    spent, found = 0.0, list[int]()
    for i in order:
        if not found or spent + seconds[i] <= limit:
            spent += float(seconds[i])
            found.append(i)
    return found


def raced(seconds: FloatArray, losses: FloatArray, order: Sequence[int], limit: float) -> list[int]:
    """The configurations that are trained on all folds, where those far behind end earlier.

    Args:
        seconds: `(n, folds)` of all configurations.
        losses: `(n, folds)` on each fold.
        order: in which configurations are tried.
        limit: of the seconds.
    """
    spent, found, n_folds = 0.0, list[int](), losses.shape[1]
    for i in order:
        for fold in range(n_folds):
            if found and spent + seconds[i, fold] > limit:
                break
            spent += float(seconds[i, fold])
            if fold == n_folds - 1:
                found.append(i)
            elif _is_behind(losses[i, : fold + 1], losses[found]):
                break
    return found


def _is_behind(mine: FloatArray, others: FloatArray) -> bool:
    """Whether losses `(k,)` on the first folds are far behind those of the best `(n, folds)`."""
    if len(others) < LEAST:
        return False
    best = others[np.argmin(others.mean(axis=1))]
    spread = np.sqrt(np.mean((others - best).var(axis=1, ddof=1)))
    return bool((mine - best[: len(mine)]).mean() > ERRORS * spread / np.sqrt(len(mine)))


@dataclass(frozen=True)
class _Work:
    """The trainings on one table.

    Attributes:
        prepared: the table.
        metric: the score.
        seed: of the folds, the random configurations and the trainings.
    """

    prepared: Prepared
    metric: Metric
    seed: int

    def tabulated(self) -> Tabulated:
        """Train every configuration on every fold, and on all rows."""
        pairs = self.prepared.resampled(repeats=1, folds=FOLDS, seed=self.seed).folds
        folds = [self._fold(train, valid) for train, valid in pairs]
        rest = self.prepared.rows.rest
        whole = replace(self._fold(rest, rest), fixed=True)  # no row is left to stop by
        trainings = [each for name in RANDOM for each in self._trained(name, folds, whole)]
        original = self.prepared.target.original
        y = [np.asarray(original(fold.y_valid)) for fold in folds]
        return Tabulated(trainings, y, self.prepared.y_test, self.metric)

    def _trained(self, name: str, folds: Sequence[Fold], whole: Fold) -> Iterator[Training]:
        own = settings(
            name,
            kind=self.prepared.task.kind,
            has_categorical=bool(self.prepared.features.cardinalities),
        )
        drawn = [
            own.space.sample(np.random.default_rng([self.seed, i])) for i in range(RANDOM[name])
        ]
        options = FamilyOptions(self.metric, 1, horizon=own.budget.max)
        *on_folds, on_all = [family(name)(fold, options) for fold in (*folds, whole)]
        for i, params in enumerate([*own.first_points, *drawn]):
            seconds, valid, best = np.empty(len(folds)), list[FloatArray](), list[int]()
            for j, (fold, trainer) in enumerate(zip(folds, on_folds, strict=True)):
                began = time.process_time()
                model = self._model(trainer, params, own.budget.max)
                prediction = model.predict(fold.valid)
                seconds[j] = time.process_time() - began
                valid.append(np.asarray(self.prepared.target.original(prediction)))
                best.append(model.best)
            served = {n: self._served(on_all, params, n) for n in {best[0], round(np.mean(best))}}
            yield Training(
                name,
                i < len(own.first_points) and (i > 0 or name == "lightgbm"),
                seconds,
                valid,
                (served[best[0]], served[round(np.mean(best))]),
            )

    def _model(self, trainer: Any, params: Params, rounds: int) -> Any:
        model = trainer.start(params, self.seed)
        model.train(max(1, rounds))
        return model

    def _served(self, trainer: Any, params: Params, rounds: int) -> FloatArray:
        """The prediction of the held-out rows by a model of all others."""
        rows = self.prepared.features.transform(self.prepared.test_frame)
        prediction = self._model(trainer, params, rounds).predict(rows)
        return np.asarray(self.prepared.target.original(prediction))

    def _fold(self, train: IntArray, valid: IntArray) -> Fold:
        """The fold of some rows of the table."""
        one, other = self._rows(train), self._rows(valid)
        return replace(
            self.prepared.folds[0],
            train=one.features,
            y_train=one.target,
            valid=other.features,
            y_valid=other.target,
        )

    def _rows(self, rows: IntArray) -> EncodedRows:
        prepared = self.prepared
        features = prepared.features.transform(prepared.frame.iloc[rows])
        target = prepared.target.encode(prepared.frame[prepared.target_name])[rows]
        return EncodedRows(features, target)


def rows_of(found: Tabulated, name: str, rows: int) -> Iterator[dict[str, Any]]:
    """The mean held-out error of each way at each budget, over several orders."""
    for budget in BUDGETS:
        for way in WAYS:
            outcomes = [found.replayed(way, budget, seed) for seed in range(ORDERS)]
            error, trials = np.mean(outcomes, axis=0)
            yield {
                "table": name,
                "rows": rows,
                "budget": budget,
                "way": way,
                "error": float(error),
                "trials": float(trials),
            }


def main(arguments: Sequence[str]) -> None:
    """Train the configurations, replay the searches and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks validation", description=__doc__)
    add_datasets_option(parser)
    parser.add_argument("--tables", nargs="+", default=list(TABLES))
    parser.add_argument("--rows", type=int, default=20_000, help="of each table, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=cache() / "results")
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    for name in options.tables:
        prepared = find_dataset(options.datasets, name).prepared(options.rows, seed=options.seed)
        work = _Work(prepared, default_metric(prepared.task.kind), options.seed)
        with threadpool_limits(1):
            rows += rows_of(work.tabulated(), name, len(prepared.rows.rest))
        write(options.output, "validation", shown(rows), {"machine": machine(), "rows": rows})


def shown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The held-out error of each way relative to the first, over the tables."""
    first, *_ = WAYS
    lines = []
    for budget in BUDGETS:
        here = [row for row in rows if row["budget"] == budget]
        errors = {way: np.array([r["error"] for r in here if r["way"] == way]) for way in WAYS}
        for way in WAYS:
            logs = np.log(errors[way] / errors[first])
            low, high = np.exp(interval(logs, np.mean))
            trials = np.mean([row["trials"] for row in here if row["way"] == way])
            ratio = interval_text(float(np.exp(logs.mean())), float(low), float(high), 3)
            better = f"{100 * np.mean(logs < 0):.0f} % of tables"
            lines.append([f"{budget} s", way, ratio, better, f"{trials:.0f}"])
    header = ["CPU", "way", f"error relative to {first}", "better on", "trials"]
    return table(header, lines)
