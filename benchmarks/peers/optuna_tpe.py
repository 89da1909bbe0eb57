"""Optuna's TPE, as `optuna.create_study` makes it, and multivariate with groups."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import numpy as np
import optuna

from benchmarks.peers.timing import Seconds, timed
from benchmarks.search import goals
from benchmarks.search.problems import Problem
from hpo.space import Categorical, Float, Integer, Parameter, Params, SearchSpace, Value

optuna.logging.set_verbosity(logging.ERROR)


def sampler(seed: int, multivariate: bool = False) -> optuna.samplers.BaseSampler:
    """The sampler that is measured."""
    if multivariate:
        return optuna.samplers.TPESampler(
            seed=seed, multivariate=True, group=True, warn_independent_sampling=False
        )
    return optuna.samplers.TPESampler(seed=seed)


def suggest(space: SearchSpace, trial: optuna.Trial) -> Params:
    """Ask `trial` for every parameter that is active, parents first."""
    params: dict[str, Value] = {}
    for parameter in space:
        if all(params.get(parent) in values for parent, values in parameter.when.items()):
            params[parameter.name] = _value(parameter, trial)
    return params


def distribution(parameter: Parameter) -> optuna.distributions.BaseDistribution:
    """The same parameter in Optuna's words."""
    if isinstance(parameter, Categorical):
        return optuna.distributions.CategoricalDistribution(parameter.choices)
    if isinstance(parameter, Integer):
        return optuna.distributions.IntDistribution(
            parameter.low, parameter.high, log=parameter.log, step=parameter.step
        )
    return optuna.distributions.FloatDistribution(
        parameter.low, parameter.high, log=parameter.log, step=parameter.step
    )


def minimise(
    problem: Problem, seed: int, trials: int, first: bool, multivariate: bool = False
) -> list[float]:
    """The losses of one search, in order."""
    study = optuna.create_study(sampler=sampler(seed, multivariate))
    if first:
        study.enqueue_trial(dict(problem.default))
    losses: list[float] = []

    def objective(trial: optuna.Trial) -> float:
        losses.append(problem.loss(suggest(problem.space, trial)))
        return losses[-1]

    study.optimize(objective, n_trials=trials)
    return losses


def front(
    problem: goals.Problem, seed: int, trials: int, evolves: bool = False
) -> list[tuple[float, ...]]:
    """The losses of all goals of one search, in order."""
    how = optuna.samplers.NSGAIISampler(seed=seed) if evolves else sampler(seed)
    study = optuna.create_study(directions=["minimize"] * len(problem.low), sampler=how)
    found: list[tuple[float, ...]] = []

    def objective(trial: optuna.Trial) -> tuple[float, ...]:
        found.append(problem.losses(suggest(problem.space, trial)))
        return found[-1]

    study.optimize(objective, n_trials=trials)
    return found


def stepper(
    space: SearchSpace,
    history: Sequence[tuple[Params, float]],
    seed: int,
    multivariate: bool = False,
) -> Callable[[], Seconds]:
    """One ask and tell on top of `history`."""
    study = optuna.create_study(sampler=sampler(seed, multivariate))
    study.add_trials(
        optuna.trial.create_trial(
            params=dict(params),
            distributions={name: distribution(space[name]) for name in params},
            value=loss,
        )
        for params, loss in history
    )
    rng = np.random.default_rng(seed)

    def step(loss: float) -> None:
        trial = study.ask()
        suggest(space, trial)
        study.tell(trial, loss)

    return lambda: timed(partial(step, float(rng.random())))


def _value(parameter: Parameter, trial: optuna.Trial) -> Value:
    if isinstance(parameter, Categorical):
        return cast(Value, trial.suggest_categorical(parameter.name, parameter.choices))
    if isinstance(parameter, Float):
        return float(
            trial.suggest_float(
                parameter.name,
                parameter.low,
                parameter.high,
                log=parameter.log,
                step=parameter.step,
            )
        )
    return int(
        trial.suggest_int(
            parameter.name, parameter.low, parameter.high, log=parameter.log, step=parameter.step
        )
    )
