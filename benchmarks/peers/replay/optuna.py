"""Optuna's TPE over simulated workers: whole trainings, or pruned by its `HyperbandPruner`.

A trial reports at every rung and goes on where it stands unless the pruner says no; Optuna cannot
pause and take up.
"""

import math
from dataclasses import replace

import optuna

from benchmarks.peers.optuna_tpe import sampler, suggest
from benchmarks.search.simulation import Finish, Leg, rung_of, simulate
from benchmarks.tabulated.curves import Curves


class Racer:
    """A study that is asked and told."""

    def __init__(self, curves: Curves, study: optuna.Study, prunes: bool) -> None:
        self._curves = curves
        self._study = study
        self._prunes = prunes
        self._next: list[Leg] = []

    def ask(self) -> Leg:
        """The trial that goes on, else a new one."""
        if self._next:
            return self._next.pop()
        trial = self._study.ask()
        params = suggest(self._curves.space, trial)
        return Leg(trial.number, params, self._curves.budgets[0 if self._prunes else -1], trial)

    def tell(self, finish: Finish) -> None:
        """End the trial, or let it go on to the next rung."""
        leg, budgets = finish.leg, self._curves.budgets
        trial = leg.job
        if math.isnan(finish.loss):
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        elif leg.budget >= budgets[-1]:
            self._study.tell(trial, finish.loss)
        else:
            trial.report(finish.loss, step=round(leg.budget))
            if trial.should_prune():
                self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            else:
                self._next.append(replace(leg, budget=budgets[rung_of(budgets, leg.budget) + 1]))


def race(
    curves: Curves,
    seed: int,
    workers: int,
    seconds: float,
    prunes: bool = False,
    multivariate: bool = False,
) -> list[Finish]:
    """The legs of one search, in order."""
    pruner = optuna.pruners.HyperbandPruner(
        min_resource=round(curves.budgets[0]),
        max_resource=round(curves.budgets[-1]),
        reduction_factor=round(curves.budgets[1] / curves.budgets[0]),
    )
    study = optuna.create_study(
        sampler=sampler(seed, multivariate), pruner=pruner if prunes else optuna.pruners.NopPruner()
    )
    return simulate(Racer(curves, study, prunes), curves, workers, seconds)
