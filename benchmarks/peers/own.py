"""This project's samplers, asked through `Study` as every user does."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks.peers.timing import Seconds, timed
from benchmarks.search import goals
from benchmarks.search.problems import Problem
from hpo.algorithms import sampler_of
from hpo.samplers import Sampler
from hpo.schedulers.full import Full
from hpo.space import Params, SearchSpace
from hpo.storage import MemoryStorage
from hpo.study import FirstPoint, Study, StudySettings
from hpo.trial import Report, Trial


def sampler(name: str, **settings: Any) -> Sampler:
    """The sampler of that name; `settings` replace its defaults."""
    made = sampler_of(name)
    return type(made)(**settings)


def _study(
    space: SearchSpace, seed: int, trials: int, of_sampler: Mapping[str, Any], **more: Any
) -> Study:
    chosen = sampler(**of_sampler)
    return Study(space, chosen, Full(1), MemoryStorage(), seed=seed, max_trials=trials, **more)


def minimise(problem: Problem, seed: int, trials: int, first: bool, **settings: Any) -> list[float]:
    """The losses of one search, in order."""
    points = (FirstPoint(problem.default, "default"),) if first else ()
    study = _study(problem.space, seed, trials, settings, settings=StudySettings(points))
    losses: list[float] = []
    while trial := study.ask():
        losses.append(problem.loss(trial.params))
        study.tell(trial.number, Report(1, losses[-1]))
    return losses


def front(
    problem: goals.Problem, seed: int, trials: int, **settings: Any
) -> list[tuple[float, ...]]:
    """The losses of all goals of one search, in order."""
    study = _study(problem.space, seed, trials, settings, goals=problem.goals)
    found: list[tuple[float, ...]] = []
    while trial := study.ask():
        found.append(problem.losses(trial.params))
        metrics = dict(zip(problem.goals.names, found[-1], strict=True))
        study.tell(trial.number, Report(1, found[-1][0], metrics))
    return found


def stepper(
    space: SearchSpace, history: Sequence[tuple[Params, float]], seed: int, **settings: Any
) -> Callable[[], Seconds]:
    """One ask and tell on top of `history`."""
    storage = MemoryStorage()
    for number, (params, loss) in enumerate(history):
        storage.add(Trial(number, params, 1, reports=(Report(1, loss),)))
    study = Study(space, sampler(**settings), Full(1), storage, seed=seed)
    rng = np.random.default_rng(seed)

    def step(loss: float) -> None:
        trial = study.ask()
        if trial is not None:
            study.tell(trial.number, Report(1, loss))

    return lambda: timed(partial(step, float(rng.random())))
