"""Syne Tune's ASHA, and its BOHB (ASHA with kernel densities), over simulated workers.

Both are of the stopping kind: a trial goes on from rung to rung until it is stopped. Spaces are
searched flat, since Syne Tune has no conditions.
"""

import datetime
import logging
import math
from dataclasses import replace
from typing import Any

import numpy as np
from syne_tune import config_space as domains  # type: ignore[import-not-found]
from syne_tune.backend.trial_status import Trial  # type: ignore[import-not-found]
from syne_tune.optimizer.baselines import ASHA, BOHB  # type: ignore[import-not-found]
from syne_tune.optimizer.scheduler import SchedulerDecision, TrialScheduler  # type: ignore[import-not-found]

from benchmarks.peers.flat import flat
from benchmarks.search.simulation import Finish, Leg, rung_of, simulate
from benchmarks.tabulated.curves import Curves
from hpo.space import Categorical, Integer, Parameter

SCHEDULERS = {"asha": ASHA, "bohb": BOHB}
_START = datetime.datetime(2025, 1, 1)
logging.getLogger("syne_tune").setLevel(logging.ERROR)


class Racer:
    """A scheduler driven as Syne Tune's `Tuner` does."""

    def __init__(self, curves: Curves, scheduler: TrialScheduler) -> None:
        self._curves = curves
        self._scheduler = scheduler
        self._started = 0
        self._next: list[Leg] = []

    def ask(self) -> Leg:
        """The trial that goes on, else a new one."""
        if self._next:
            return self._next.pop()
        suggestion = self._scheduler.suggest()
        trial = Trial(self._started, suggestion.config, _START)
        self._started += 1
        self._scheduler.on_trial_add(trial)
        params = flat(suggestion.config, self._curves.space)
        return Leg(trial.trial_id, params, self._curves.budgets[0], trial)

    def tell(self, finish: Finish) -> None:
        """Stop the trial, or let it go on to the next rung."""
        leg, budgets = finish.leg, self._curves.budgets
        trial = leg.job
        if math.isnan(finish.loss):
            self._scheduler.on_trial_error(trial)
            return
        result = {"loss": finish.loss, "budget": round(leg.budget)}
        decision = self._scheduler.on_trial_result(trial, result)
        if decision == SchedulerDecision.CONTINUE:
            self._next.append(replace(leg, budget=budgets[rung_of(budgets, leg.budget) + 1]))
        else:
            self._scheduler.on_trial_remove(trial)


def race(curves: Curves, seed: int, workers: int, seconds: float, scheduler: str) -> list[Finish]:
    """The legs of one search, in order."""
    np.random.seed(seed)  # noqa: NPY002 - brackets and random configurations come from the global generator
    made = SCHEDULERS[scheduler](
        {parameter.name: domain(parameter) for parameter in curves.space},
        metric="loss",
        time_attr="budget",
        max_t=round(curves.budgets[-1]),
        grace_period=round(curves.budgets[0]),
        reduction_factor=curves.budgets[1] / curves.budgets[0],
        random_seed=seed,
    )
    return simulate(Racer(curves, made), curves, workers, seconds)


def domain(parameter: Parameter) -> Any:
    """The same parameter in Syne Tune's words."""
    if isinstance(parameter, Categorical):
        return domains.choice(list(parameter.choices))
    low, high = parameter.low, parameter.high
    if isinstance(parameter, Integer):
        return domains.lograndint(low, high) if parameter.log else domains.randint(low, high)
    return domains.loguniform(low, high) if parameter.log else domains.uniform(low, high)
