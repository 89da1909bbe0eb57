"""Searches over several families whose options race, against ones where they do not.

Each table has a surface of losses and seconds for each family, from real trainings
(`benchmarks.warmstart.pasts`). A search gets so many times the median seconds of a LightGBM
training on that table. Regret is 0 at the lowest loss of all families, and 1 at the median of
random LightGBM configurations.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.environments import cache
from benchmarks.markdown import interval_text, table
from benchmarks.report import machine, write
from benchmarks.statistics import paired_ratio
from benchmarks.warmstart.pasts import Table, tables
from hpo.algorithms import algorithm
from hpo.arrays import FloatArray
from hpo.configurations import raced
from hpo.space import Params, SearchSpace
from hpo.storage import MemoryStorage
from hpo.study import FirstPoint, Study, StudySettings
from hpo.trial import Report
from pipelines.models.joint import MODEL, nested, nested_point

ALONE = "lightgbm"
SETS = (("lightgbm", "xgboost"), ("lightgbm", "xgboost", "mlp"))
TIMES = (15, 30, 60, 150)  # median seconds of a LightGBM training
METHODS = ("no race", "race", "LightGBM alone")
DRAWS = 200  # random configurations, for the median seconds


@dataclass(frozen=True, eq=False)
class Families:
    """The surfaces of several families on one table."""

    members: Mapping[str, Table]

    @cached_property
    def space(self) -> SearchSpace:
        """One space over all families."""
        return nested({name: member.space for name, member in self.members.items()})

    @cached_property
    def first_points(self) -> tuple[FirstPoint, ...]:
        """The default of the first family, and the tuned default of each."""
        first, *_ = self.members.values()
        chosen = [(first.model, first.first_points[0])]
        chosen += [(name, member.first_points[1]) for name, member in self.members.items()]
        return tuple(
            FirstPoint(nested_point(name, point.params), point.origin) for name, point in chosen
        )

    @cached_property
    def unit(self) -> float:
        """The median seconds of a LightGBM training."""
        surface = self.members[ALONE].surface
        codes = surface.space.codes.sample(np.random.default_rng(0), DRAWS)
        return float(np.median(surface.seconds_at(codes)[:, -1]))

    def regret(self, loss: float) -> float:
        """The normalised regret of a loss."""
        optimum = min(member.optimum for member in self.members.values())
        return (loss - optimum) / (self.members[ALONE].scale - optimum)

    def outcome(self, params: Params) -> tuple[float, float]:
        """The loss and the seconds of a configuration."""
        name = str(params[MODEL])
        prefix = f"{name}."
        own = {n.removeprefix(prefix): v for n, v in params.items() if n.startswith(prefix)}
        surface = self.members[name].surface
        return float(surface.losses(own)[-1]), float(surface.seconds(own)[-1])


def together(names: Sequence[str]) -> list[Families]:
    """The tables that have a surface for each of these families."""
    by_name = [{each.name: each for each in tables(name)} for name in names]
    shared = [each for each in by_name[0] if all(each in others for others in by_name)]
    return [
        Families({name: found[each] for name, found in zip(names, by_name, strict=True)})
        for each in shared
    ]


def best_losses(families: Families, seed: int, *, race: bool) -> FloatArray:
    """The best loss of one search after each of `TIMES`; infinite before its first trial."""
    points = families.first_points
    option = raced(families.space, (point.params for point in points)) if race else None
    sampler, scheduler = algorithm("tpe", (1.0,), in_limited_time=True, raced=option)
    settings = StudySettings(first_points=points)
    study = Study(families.space, sampler, scheduler, MemoryStorage(), seed=seed, settings=settings)
    ends, best = np.array(TIMES) * families.unit, np.full(len(TIMES), math.inf)
    spent = 0.0
    while (trial := study.ask()) is not None:
        loss, seconds = families.outcome(trial.params)
        spent += seconds
        best[spent <= ends] = np.minimum(best[spent <= ends], loss)
        if spent > ends[-1]:
            break
        study.tell(trial.number, Report(1.0, loss, seconds=seconds))
    return best


def measured(names: Sequence[str], seeds: int, most: int | None) -> FloatArray:
    """Regrets `(n_methods, n_tables, n_seeds, n_times)` of searches over these families."""
    return np.array(
        [
            [[regrets(method, families, seed) for seed in range(seeds)] for families in chosen]
            for chosen in [together(names)[:most]]
            for method in METHODS
        ]
    )


def regrets(method: str, families: Families, seed: int) -> list[float]:
    """The regret of one search after each of `TIMES`; 1 before its first trial."""
    alone = Families({ALONE: families.members[ALONE]})
    searched = alone if method == METHODS[-1] else families
    losses = best_losses(searched, seed, race=method == "race")
    return [families.regret(loss) if math.isfinite(loss) else 1.0 for loss in losses]


def report(names: Sequence[str], found: FloatArray) -> str:
    """A Markdown table: mean regrets over time, and their ratio to the search without a race."""
    by_table = found.mean(axis=2)
    rows = []
    for method, values in zip(METHODS, by_table, strict=True):
        ratios = [paired_ratio(values[:, i], by_table[0][:, i]) for i in range(len(TIMES))]
        cells = [
            f"{values[:, i].mean():.3f} · {interval_text(*ratio, 2)}"
            for i, ratio in enumerate(ratios)
        ]
        rows.append([method, *cells])
    title = f"{', '.join(names)}: {found.shape[1]} tables, {found.shape[2]} seeds"
    header = ["search", *(f"{each} trainings: regret · ratio" for each in TIMES)]
    return f"{title}\n\n{table(header, rows)}"


def main(arguments: Sequence[str]) -> None:
    """Run the searches and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks families", description=__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--quick", action="store_true", help="two tables, one seed")
    parser.add_argument("--output", type=Path, default=None, help="folder of the results")
    options = parser.parse_args(arguments)
    seeds, most = (1, 2) if options.quick else (options.seeds, None)
    found = {names: measured(names, seeds, most) for names in SETS}
    text = "\n\n".join(report(names, values) for names, values in found.items())
    values = {",".join(names): each.tolist() for names, each in found.items()}
    folder = options.output or cache() / "results"
    write(folder, "families", text, {"machine": machine(), "regrets": values})
