"""This project's algorithms over simulated workers, through `Study` and `hpo.loop.run`."""

import copy
import tracemalloc

import numpy as np

from benchmarks.peers.timing import Decider, timed_decision
from benchmarks.search.simulation import Finish, SimulatedExecutor, rung_of
from benchmarks.tabulated.curves import Curves
from hpo.algorithms import algorithm, grants_budgets, parts
from hpo.loop import Stop, run
from hpo.storage import MemoryStorage
from hpo.study import Study, StudySettings
from hpo.trial import Report, Trial


def study_of(curves: Curves, seed: int, workers: int, name: str) -> Study:
    """An unlimited study of these curves, as `tune` starts it for a number of workers."""
    return _study(curves, seed, workers, name, MemoryStorage())


def race(
    curves: Curves, seed: int, workers: int, seconds: float, name: str, skipped: int = 0
) -> list[Finish]:
    """The legs of one search, in order; `skipped` of the lowest rungs are not used."""
    study = _study(curves, seed, workers, name, MemoryStorage(), skipped)
    executor = SimulatedExecutor(curves, workers)
    for _ in run(study, executor, stop=Stop(), deadline=seconds, clock=executor.now):
        pass
    return [finish for finish in executor.finishes if finish.time <= seconds]


def decider(curves: Curves, seed: int, trials: int, complete: bool, name: str) -> Decider:
    """A study after a race with `trials` random configurations.

    With `complete`, all of them have reached every rung. The bytes are those of the trials and of
    all that the study stores in addition.
    """
    known = _complete(curves, seed, trials) if complete else _raced(curves, seed, trials, name)
    study_of(curves, seed, 1, name)  # imports the modules of the algorithm before measuring
    tracemalloc.start()
    storage = MemoryStorage()
    for trial in copy.deepcopy(known):
        storage.add(trial)
    study = _study(curves, seed, 1, name, storage)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    def decide() -> bool:
        trial = study.ask()
        if trial is None:
            return False
        study.tell(trial.number, _report(curves, trial))
        return not trial.reports

    return Decider(lambda: timed_decision(decide), used)


def _raced(curves: Curves, seed: int, trials: int, name: str) -> tuple[Trial, ...]:
    study = _study(curves, seed, 1, f"random+{parts(name)[1]}", MemoryStorage())
    while len(study.trials) < trials and (trial := study.ask()):
        study.tell(trial.number, _report(curves, trial))
    return study.trials


def _complete(curves: Curves, seed: int, trials: int) -> list[Trial]:
    rng = np.random.default_rng(seed)
    drawn = [curves.space.sample(rng) for _ in range(trials)]
    return [
        Trial(
            number,
            params,
            curves.budgets[-1],
            reports=tuple(map(Report, curves.budgets, map(float, curves.losses(params)))),
        )
        for number, params in enumerate(drawn)
    ]


def _report(curves: Curves, trial: Trial) -> Report:
    return Report(
        trial.budget, float(curves.losses(trial.params)[rung_of(curves.budgets, trial.budget)])
    )


def _study(
    curves: Curves, seed: int, workers: int, name: str, storage: MemoryStorage, skipped: int = 0
) -> Study:
    lag = 2 * workers if workers > 1 else 1
    return Study(
        curves.space,
        *algorithm(name, curves.budgets[skipped:], curves.budgets[1] / curves.budgets[0]),
        storage,
        seed=seed,
        settings=StudySettings(lag=0 if grants_budgets(name) else lag),
    )
