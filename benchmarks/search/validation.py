"""Hold-out, k-fold and repeated k-fold validation for the same CPU seconds, on real tables.

Random configurations of a family are trained once on every fold. Searches are then replayed in
many orders: a way to validate sees as many configurations as its seconds allow, names the one with
the best mean, and the held-out rows score what would be served: after a hold-out one model of all
rows but these, after k folds the mean of the k models. `racing` trains fold by fold and stops a
configuration whose mean is worse than that of the third best on the same folds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.datasets import add_datasets_option, find_dataset
from benchmarks.environments import cache
from benchmarks.markdown import table
from benchmarks.report import machine, write
from hpo.arrays import FloatArray, IntArray
from hpo.space.parameters import Params
from pipelines.models import FamilyOptions
from pipelines.models.catalog import family, settings
from pipelines.table.data import Fold, Prepared
from pipelines.table.folds import EncodedRows
from pipelines.table.scores.metrics import Metric, default_metric

TABLES = ("titanic", "german_credit", "cmc_contraceptive", "wage_midatlantic", "phone_churn")
FOLDS, REPEATS, SHARE = 4, 2, 5  # a hold-out is one of `SHARE` parts
HORIZON = 300  # rounds
BUDGETS = (16, 64, 200)  # in trainings on the rows of a hold-out
ORDERS = 20
THIRD = 3  # of the best configurations, which a racing one must keep up with


@dataclass
class Tabulated:
    """The trainings of n configurations on all folds of one table.

    The first fold is the hold-out; then follow the folds of all repeats.

    Attributes:
        losses: `(n, folds)` on the validation rows.
        seconds: `(n, folds)` of CPU.
        test: predictions of the held-out rows by configuration and fold.
        refits: losses on the held-out rows of a model of all other rows, where asked for.
    """

    work: _Work
    losses: FloatArray
    seconds: FloatArray
    test: list[list[FloatArray]]
    refits: dict[int, float] = field(default_factory=dict)

    def held_out(self, configuration: int, folds: Sequence[int]) -> float:
        """The loss on the held-out rows of what is served."""
        if len(folds) == 1:
            if configuration not in self.refits:
                self.refits[configuration] = self.work.refit(configuration)
            return self.refits[configuration]
        return self.work.test_loss(np.mean([self.test[configuration][i] for i in folds], axis=0))


@dataclass
class _Work:
    """The trainings on one table."""

    name: str
    prepared: Prepared
    metric: Metric
    params: Sequence[Params]
    best: dict[int, int] = field(default_factory=dict)  # rounds on the rows of the hold-out

    def folds(self, seed: int) -> list[Fold]:
        """The hold-out, and the folds of all repeats."""
        once = self.prepared.resampled(repeats=1, folds=SHARE, seed=seed).folds[:1]
        again = self.prepared.resampled(repeats=REPEATS, folds=FOLDS, seed=seed).folds
        return [self.fold(train, valid) for train, valid in (*once, *again)]

    def fold(self, train: IntArray, valid: IntArray) -> Fold:
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
        return EncodedRows(
            features, prepared.target.encode(prepared.frame[prepared.target_name])[rows]
        )

    def test_loss(self, prediction: FloatArray) -> float:
        """The loss of a prediction of the held-out rows."""
        return self.metric.goal.to_loss(self.metric(self.prepared.y_test, prediction))

    def predict(self, model: Any) -> FloatArray:
        """A model's prediction of the held-out rows, in original units."""
        rows = self.prepared.features.transform(self.prepared.test_frame)
        return np.asarray(self.prepared.target.original(model.predict(rows)))

    def tabulated(self, model: str, seed: int) -> Tabulated:
        """Train every configuration on every fold."""
        folds = self.folds(seed)
        families = [
            family(model)(fold, FamilyOptions(self.metric, 1, horizon=HORIZON)) for fold in folds
        ]
        losses, seconds = np.empty((2, len(self.params), len(folds)))
        test: list[list[FloatArray]] = []
        for i, params in enumerate(self.params):
            test.append([])
            for j, (fold, trainer) in enumerate(zip(folds, families, strict=True)):
                began = time.process_time()
                trained = trainer.start(params, seed)
                trained.train(HORIZON)
                prediction = trained.predict(fold.valid)
                seconds[i, j] = time.process_time() - began
                losses[i, j] = self.metric.goal.to_loss(fold.score(self.metric, prediction))
                test[-1].append(self.predict(trained))
                if j == 0:
                    self.best[i] = trained.best
        return Tabulated(self, losses, seconds, test)

    def refit(self, configuration: int) -> float:
        """The held-out loss of a model of all other rows, after as many rounds as were best."""
        rest = self.prepared.rows.rest
        fold = replace(self.fold(rest, rest), fixed=True)  # no row is left to stop by
        model = family("lightgbm")(fold, FamilyOptions(self.metric, 1, horizon=HORIZON))
        trained = model.start(self.params[configuration], 0)
        trained.train(max(1, self.best[configuration]))
        return self.test_loss(self.predict(trained))


WAYS: Mapping[str, tuple[slice, bool]] = {
    "holdout": (slice(0, 1), False),
    f"cv:{FOLDS}": (slice(1, 1 + FOLDS), False),
    f"cv:{FOLDS} racing": (slice(1, 1 + FOLDS), True),
    f"cv:{FOLDS}x{REPEATS}": (slice(1, 1 + FOLDS * REPEATS), False),
    f"cv:{FOLDS}x{REPEATS} racing": (slice(1, 1 + FOLDS * REPEATS), True),
}


def replayed(
    losses: FloatArray, seconds: FloatArray, order: IntArray, limit: float, *, racing: bool
) -> tuple[int, int]:
    """A search over configurations in an order, for so many seconds.

    Args:
        losses: `(n, folds)`.
        seconds: `(n, folds)`.
        order: in which configurations are tried.
        limit: of the seconds; the first configuration is always trained to its end.
        racing: whether hopeless configurations are stopped.

    Returns:
        The best configuration, and how many were tried.
    """
    spent, done = 0.0, list[int]()
    for tried, i in enumerate(order):
        for j in range(losses.shape[1]):
            spent += seconds[i, j]
            if done and spent > limit:
                return min(done, key=lambda k: float(losses[k].mean())), tried
            if racing and len(done) >= THIRD and _hopeless(losses, done, int(i), j + 1):
                break
        else:
            done.append(int(i))
    return min(done, key=lambda k: float(losses[k].mean())), len(order)


def _hopeless(losses: FloatArray, done: Sequence[int], i: int, folds: int) -> bool:
    best = sorted(done, key=lambda k: float(losses[k].mean()))[:THIRD]
    return bool(losses[i, :folds].mean() > max(losses[k, :folds].mean() for k in best))


def rows_of(found: Tabulated, name: str, seed: int) -> Iterator[dict[str, Any]]:
    """The mean held-out loss of each way at each budget, over many orders."""
    unit = float(found.seconds[:, 0].mean())
    for budget in BUDGETS:
        for way, (folds, racing) in WAYS.items():
            chosen = range(*folds.indices(found.losses.shape[1]))
            outcomes = []
            for i in range(ORDERS):
                order = np.random.default_rng([seed, i]).permutation(len(found.losses))
                winner, tried = replayed(
                    found.losses[:, folds],
                    found.seconds[:, folds],
                    order,
                    budget * unit,
                    racing=racing,
                )
                outcomes.append((found.held_out(winner, chosen), tried))
            loss, tried = np.mean(outcomes, axis=0)
            yield {
                "table": name,
                "rows": len(found.work.prepared.rows.rest),
                "seed": seed,
                "budget": budget,
                "way": way,
                "loss": float(loss),
                "tried": float(tried),
            }


def main(arguments: Sequence[str]) -> None:
    """Train the configurations, replay the searches and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks validation", description=__doc__)
    add_datasets_option(parser)
    parser.add_argument("--tables", nargs="+", default=list(TABLES))
    parser.add_argument("--rows", type=int, default=20_000, help="of each table, at most")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--configurations", type=int, default=50)
    parser.add_argument("--output", type=Path, default=cache() / "results")
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    for name in options.tables:
        for seed in range(options.seeds):
            prepared = find_dataset(options.datasets, name).prepared(options.rows, seed=seed)
            kind = prepared.task.kind
            categorical = bool(prepared.features.cardinalities)
            space = settings("lightgbm", kind=kind, has_categorical=categorical).space
            drawn = [
                space.sample(np.random.default_rng([seed, i]))
                for i in range(options.configurations)
            ]
            work = _Work(name, prepared, default_metric(kind), drawn)
            rows += rows_of(work.tabulated("lightgbm", seed), name, seed)
            write(options.output, "validation", _shown(rows), {"machine": machine(), "rows": rows})


def _shown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The held-out error relative to the hold-out's, by table and budget."""
    lines = []
    for name, budget in dict.fromkeys((row["table"], row["budget"]) for row in rows):
        mine = [row for row in rows if (row["table"], row["budget"]) == (name, budget)]
        errors = {
            way: np.array([_error(row["loss"]) for row in mine if row["way"] == way])
            for way in WAYS
        }
        tried = {way: np.mean([row["tried"] for row in mine if row["way"] == way]) for way in WAYS}
        cells = [
            f"{np.exp(np.mean(np.log(errors[way] / errors['holdout']))):.3f} ({tried[way]:.0f})"
            for way in WAYS
        ]
        lines.append([name, f"{mine[0]['rows']:,}", f"{budget}", *cells])
    return table(["table", "rows", "trainings", *WAYS], lines)


def _error(loss: float) -> float:
    """1 - AUC of a negated AUC; other losses are errors already."""
    return 1 + loss if loss < 0 else loss
