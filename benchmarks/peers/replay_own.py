"""This project's algorithms over simulated workers, through `Study` and `hpo.loop.run` as every study."""

from benchmarks.curves_data import Curves
from benchmarks.simulation import Finish, SimulatedExecutor
from hpo.algorithms import algorithm, grants_budgets
from hpo.loop import Stop, run
from hpo.storage import MemoryStorage
from hpo.study import Study


def study_of(curves: Curves, seed: int, workers: int, name: str) -> Study:
    """A study of these curves without end, as `tune` starts it with so many workers."""
    lag = 2 * workers if workers > 1 else 1
    return Study(
        curves.space,
        *algorithm(name, curves.budgets, curves.budgets[1] / curves.budgets[0]),
        MemoryStorage(),
        seed=seed,
        lag=0 if grants_budgets(name) else lag,
    )


def race(curves: Curves, seed: int, workers: int, seconds: float, name: str) -> list[Finish]:
    """The legs of one search, in order."""
    study = study_of(curves, seed, workers, name)
    executor = SimulatedExecutor(curves, workers)
    for _ in run(study, executor, stop=Stop(), deadline=seconds, clock=executor.now):
        pass
    return [finish for finish in executor.finishes if finish.time <= seconds]
