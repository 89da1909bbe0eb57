"""What a user's belief about good values is worth, and what a wrong one costs.

Each parameter of a space gets a prior: `good` around the best of 1,000 random configurations,
`near` around one that is among the best tenth, `bad` around the worst. Searches are simulated on
learning curves as in `replay`, with one worker. Losses are normalised: 0 is the optimum, 1 the
median.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.environments import cache
from benchmarks.markdown import table
from benchmarks.report import machine, write
from benchmarks.search.races import full_training
from benchmarks.search.simulation import SimulatedExecutor
from benchmarks.tabulated.curves import Curves, load_curves, tabulated_curves
from hpo.algorithms import algorithm, grants_budgets
from hpo.arrays import FloatArray
from hpo.loop import Stop, run
from hpo.space import Params, Prior, SearchSpace
from hpo.space.center import center
from hpo.storage import MemoryStorage
from hpo.study import FirstPoint, Study, StudySettings

KINDS = ("none", "good", "near", "bad")
AT = (2.0, 5.0, 10.0, 25.0)  # full trainings
_DRAWN = 1000


def modes(curves: Curves, seed: int) -> dict[str, Params]:
    """The configuration around which each kind of prior is."""
    space = curves.space
    drawn = [
        space.decode(row) for row in space.codes.sample(np.random.default_rng([7, seed]), _DRAWN)
    ]
    order = np.argsort([curves.losses(params)[-1] for params in drawn])
    ranks = {"good": 0, "near": _DRAWN // 10, "bad": _DRAWN - 1}
    return {kind: drawn[order[rank]] for kind, rank in ranks.items()}


def believing(space: SearchSpace, mode: Params) -> SearchSpace:
    """The space with priors around a configuration."""
    priors = [
        replace(each, prior=Prior(mode[each.name])) if each.name in mode else each
        for each in space.parameters
    ]
    return SearchSpace(tuple(priors), space.forbidden)


def regrets(curves: Curves, name: str, mode: Params | None, seed: int) -> FloatArray:
    """`(len(AT),)` the regret of the incumbent after so many full trainings."""
    space = curves.space if mode is None else believing(curves.space, mode)
    points = [FirstPoint(curves.default, "default")]
    if mode is not None:
        points.append(FirstPoint(center(space), "prior"))
    eta = curves.budgets[1] / curves.budgets[0]
    races = grants_budgets(name)
    study = Study(
        space,
        *algorithm(name, curves.budgets if races else curves.budgets[-1:], eta),
        MemoryStorage(),
        seed=seed,
        settings=StudySettings(first_points=points),
    )
    unit = full_training(curves.name)
    executor = SimulatedExecutor(curves, 1)
    for _ in run(study, executor, stop=Stop(), deadline=AT[-1] * unit, clock=executor.now):
        pass
    found, best, scale = [], np.inf, curves.scale - curves.optimum
    incumbent, finishes = 1.0, iter(executor.finishes)
    finish = next(finishes, None)
    for at in AT:
        while finish is not None and finish.time <= at * unit:
            if finish.loss < best:
                best = finish.loss
                incumbent = (curves.losses(finish.leg.params)[-1] - curves.optimum) / scale
            finish = next(finishes, None)
        found.append(incumbent)
    return np.array(found)


def measured(names: Sequence[str], algorithms: Sequence[str], seeds: int) -> list[list[str]]:
    """The mean regrets as rows."""
    rows = []
    for algorithm_name in algorithms:
        for kind in KINDS:
            found = []
            for name in names:
                curves = load_curves(name)
                for seed in range(seeds):
                    mode = modes(curves, seed).get(kind)
                    found.append(regrets(curves, algorithm_name, mode, seed))
            mean = np.mean(found, axis=0)
            error = np.std(found, axis=0, ddof=1) / np.sqrt(len(found))
            cells = [f"{m:.3f} ± {e:.3f}" for m, e in zip(mean, error, strict=True)]
            rows.append([f"`{algorithm_name}`", kind, *cells])
            print(*rows[-1], flush=True)
    return rows


def main(arguments: Sequence[str]) -> None:
    """Search with each kind of prior, and print the table."""
    known = tabulated_curves()
    parser = argparse.ArgumentParser(prog="python -m benchmarks priors", description=__doc__)
    parser.add_argument("--curves", nargs="+", default=list(known), choices=known)
    parser.add_argument("--algorithms", nargs="+", default=["tpe", "gp", "bohb", "asha"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=None, help="folder of the results")
    options = parser.parse_args(arguments)
    rows = measured(options.curves, options.algorithms, options.seeds)
    head = ["algorithm", "prior", *(f"after {at:g} trainings" for at in AT)]
    text = f"{len(options.curves)} curves, {options.seeds} seeds\n\n{table(head, rows)}"
    values = {"rows": rows, "machine": machine()}
    write(options.output or cache() / "results", "priors", text, values)
