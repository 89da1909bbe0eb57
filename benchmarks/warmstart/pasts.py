"""Tabulated surfaces of real trainings, and past studies on them that warm starts learn from.

The past studies of a table are searches on the other tables, by default with `tpe` and the defaults
as first points, as a user would have run them. The surfaces come from the curves that
`python -m benchmarks curves --set past` makes. Meta-features are those of the rows that the curves
were trained and validated on.
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
from hpo.study import FirstPoint, Study, StudySettings
from hpo.trial import Report, Trial
from warmstart.metafeatures import MetaFeatures
from warmstart.past import PastStudy, StudyFacts, summary

TRIALS = 50
METRIC = {"regression": "rmse", "classification": "log_loss"}


def kind(features: MetaFeatures) -> str:
    """`regression` or `classification`."""
    return "regression" if features.values.get("task.regression") else "classification"


@dataclass(frozen=True, eq=False)
class Table:
    """One table with the losses of a model on it.

    `first_points` are the library's default and the tuned default. `optimum` is the lowest loss,
    `scale` the median loss of random configurations; they normalise regrets.
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
        """The loss of a configuration at the full budget."""
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
    """The trials of a study by an algorithm that ends after a cost in full trainings."""
    sampler, scheduler = algorithm(by, table.budgets if grants_budgets(by) else table.budgets[-1:])
    study = Study(
        table.space,
        sampler,
        scheduler,
        MemoryStorage(),
        seed=seed,
        settings=StudySettings(first_points=table.first_points),
    )
    spent = 0.0
    while spent < cost and (trial := study.ask()) is not None:
        spent += (trial.budget - trial.reached) / table.budgets[-1]
        study.tell(trial.number, Report(trial.budget, table.loss_at(trial.params, trial.budget)))
    return study.trials


@cache
def left_by(table: Table, seed: int, by: str = "tpe", cost: float = TRIALS) -> PastStudy:
    """The summary of a study of the table, from which later studies learn."""
    facts = StudyFacts(
        run_id=f"{table.model}/{table.name}",
        name=table.name,
        model=table.model,
        metric=METRIC[kind(table.features)],
        task=kind(table.features),
        digest=table.name,
        features=table.features,
        space=table.space,
    )
    found = summary(searched(table, seed, by, cost), facts)
    if found is None:
        raise ValueError(f"the study of {table.name} has no trial")
    return found


def past_of(
    table: Table,
    seed: int,
    most: int | None = None,
    others: Sequence[str] = (),
    by: str = "tpe",
    cost: float = TRIALS,
) -> Sequence[PastStudy]:
    """Studies of the other tables.

    Args:
        table: the table to leave out.
        seed: of the studies and of the draw.
        most: the number of studies, drawn at random; None for all.
        others: further model families whose studies are included.
        by: the algorithm of the studies.
        cost: of each study, in full trainings.
    """
    known = [
        other
        for model in (table.model, *others)
        for other in tables(model)
        if other.name != table.name
    ]
    order = np.random.default_rng([seed, len(table.name)]).permutation(len(known))[:most]
    return [left_by(known[i], 1_000 + seed, by, cost) for i in order]


def same_table(table: Table, seed: int, model: str) -> Sequence[PastStudy]:
    """The study of the same table by another model family, if there is one."""
    return [left_by(other, 1_000 + seed) for other in tables(model) if other.name == table.name]
