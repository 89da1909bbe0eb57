"""Tables with a past: surfaces of real trainings, and the studies that a warm start on one of them may learn from.

A table's past are studies of the other tables, each a search of its own by `tpe` with the defaults
first, as a user would have left it. Only full trainings are looked at: the last rung of the curves
that `python -m benchmarks curves --set past` makes. Meta-features are those of the rows that the
curves were trained and validated on.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from benchmarks.tabulated.curves import PAST_FOLDER, Tabulated, read_tabulated
from hpo.algorithms import algorithm, grants_budgets
from hpo.space import SearchSpace
from hpo.space.parameters import Params
from hpo.storage import MemoryStorage
from hpo.study import FirstPoint, Study
from hpo.trial import Report, Trial
from warmstart.metafeatures import MetaFeatures
from warmstart.past import PastStudy, summary

TRIALS = 50
METRIC = {"regression": "rmse", "classification": "log_loss"}


def kind(features: MetaFeatures) -> str:
    """Whether a table's target is numbers or classes."""
    return "regression" if features.values.get("task.regression") else "classification"


@dataclass(frozen=True, eq=False)
class Table:
    """One table as a model sees it: the surface of its losses at the full budget.

    `first_points` are the library's default and the tuned default; `optimum` and `scale` are the
    least loss and the median one of random configurations, so that regrets compare.
    """

    model: str
    name: str
    space: SearchSpace
    first_points: tuple[FirstPoint, ...]
    budgets: tuple[float, ...]
    optimum: float
    scale: float
    features: MetaFeatures
    surface: Tabulated

    def loss(self, params: Params) -> float:
        """The loss of a configuration."""
        return self.loss_at(params, self.budgets[-1])

    def loss_at(self, params: Params, budget: float) -> float:
        """The loss of a configuration at one of the budgets."""
        return float(self.surface.losses(params)[self.budgets.index(budget)])


@cache
def tables(model: str) -> tuple[Table, ...]:
    """All tables of a model."""
    return tuple(
        _read(model, path.stem.partition("-")[2])
        for path in sorted(PAST_FOLDER.glob(f"{model}-*.npz"))
    )


def _read(model: str, name: str) -> Table:
    about, surface, units = read_tabulated(PAST_FOLDER / f"{model}-{name}.npz")
    points = tuple(
        FirstPoint(surface.space.decode(unit), origin)
        for unit, origin in zip(units[:2], ("default", "tuned default"), strict=True)
    )
    features = MetaFeatures.from_dict(json.loads((PAST_FOLDER / "features.json").read_text())[name])
    budgets = tuple(about["budgets"])
    return Table(
        model,
        name,
        surface.space,
        points,
        budgets,
        about["optimum"],
        about["scale"],
        features,
        surface,
    )


def searched(table: Table, seed: int, by: str = "tpe", cost: float = TRIALS) -> tuple[Trial, ...]:
    """A study of a table by an algorithm, the defaults first, that ends at the cost of so many full trainings."""
    sampler, scheduler = algorithm(by, table.budgets if grants_budgets(by) else table.budgets[-1:])
    study = Study(
        table.space, sampler, scheduler, MemoryStorage(), seed=seed, first_points=table.first_points
    )
    spent = 0.0
    while spent < cost and (trial := study.ask()) is not None:
        spent += (trial.budget - trial.reached) / table.budgets[-1]
        study.tell(trial.number, Report(trial.budget, table.loss_at(trial.params, trial.budget)))
    return study.trials


@cache
def left_by(table: Table, seed: int, by: str = "tpe", cost: float = TRIALS) -> PastStudy:
    """What a study of the table leaves for others."""
    found = summary(
        searched(table, seed, by, cost),
        table.space,
        run_id=f"{table.model}/{table.name}",
        name=table.name,
        model=table.model,
        metric=METRIC[kind(table.features)],
        task=kind(table.features),
        digest=table.name,
        features=table.features,
    )
    if found is None:
        raise ValueError(f"a study of {table.name} without a trial")
    return found


def past_of(
    table: Table,
    seed: int,
    most: int | None = None,
    others: Sequence[str] = (),
    by: str = "tpe",
    cost: float = TRIALS,
) -> Sequence[PastStudy]:
    """The studies of the other tables, `most` of them drawn at random by the seed, also by families `others`."""
    known = [
        other
        for model in (table.model, *others)
        for other in tables(model)
        if other.name != table.name
    ]
    order = np.random.default_rng([seed, len(table.name)]).permutation(len(known))[:most]
    return [left_by(known[i], 1_000 + seed, by, cost) for i in order]


def same_table(table: Table, seed: int, model: str) -> Sequence[PastStudy]:
    """The study of the very same table by another family, if there is one."""
    return [left_by(other, 1_000 + seed) for other in tables(model) if other.name == table.name]
