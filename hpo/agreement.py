"""How well a smaller budget predicts the ranking at a larger one, measured on a study's trials."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.stats import spearmanr

from hpo.arrays import FloatArray
from hpo.trial import Trial

MIN_TRIALS = 5  # that reached both budgets; with fewer a rank correlation is meaningless


@dataclass(frozen=True)
class Agreement:
    """Spearman's rank correlation of the losses at two budgets, over the trials that reached both.

    Only promoted trials reach both, so it is the correlation among the better trials, which is
    lower than that among all.
    """

    low: float
    high: float
    correlation: float
    trials: int


def agreements(trials: Sequence[Trial]) -> list[Agreement]:
    """The agreement of each budget with the next larger one, in ascending order.

    Pairs of budgets that fewer than `MIN_TRIALS` trials reached, or at which all losses are equal,
    are left out.
    """
    budgets = sorted({report.budget for trial in trials for report in trial.reports})
    losses = _losses(trials, budgets)
    found = []
    for column, (low, high) in enumerate(pairwise(budgets)):
        both = losses[:, column : column + 2]
        both = both[~np.isnan(both).any(axis=1)]
        if len(both) >= MIN_TRIALS and np.ptp(both, axis=0).all():
            found.append(Agreement(low, high, float(spearmanr(both)[0]), len(both)))
    return found


def describe(found: Sequence[Agreement], unit: str) -> str:
    """The agreements as one line of text."""
    parts = [
        f"{a.low:g} → {a.high:g} {unit}: {a.correlation:.2f} ({a.trials} trials)" for a in found
    ]
    return "Rank correlation between rungs, among promoted trials: " + "; ".join(parts)


def _losses(trials: Sequence[Trial], budgets: Sequence[float]) -> FloatArray:
    """`(n_trials, n_budgets)` losses; `nan` where a trial has no report."""
    losses = np.full((len(trials), len(budgets)), np.nan)
    for row, trial in enumerate(trials):
        for report in trial.reports:
            losses[row, budgets.index(report.budget)] = report.loss
    return losses
