"""How well a smaller budget foretells a larger one, as seen in the trials of a study."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from hpo.trial import Trial

LEAST = 5  # trials; fewer say nothing about an order


@dataclass(frozen=True)
class Agreement:
    """Spearman's rank correlation of the losses at two budgets, over the trials that reached both.

    Only promoted trials reached both, so the correlation is that of the better ones, and lower than
    over all.
    """

    low: float
    high: float
    correlation: float
    trials: int


def agreements(trials: Sequence[Trial]) -> list[Agreement]:
    """Each budget with the next larger one, ascending, where at least `LEAST` trials reached both."""
    losses = [{report.budget: report.loss for report in trial.reports} for trial in trials]
    budgets = sorted({budget for row in losses for budget in row})
    found = []
    for low, high in zip(budgets, budgets[1:], strict=False):
        both = np.array([(row[low], row[high]) for row in losses if low in row and high in row])
        if len(both) >= LEAST and (np.ptp(both, axis=0) > 0).all():
            found.append(Agreement(low, high, float(spearmanr(both)[0]), len(both)))
    return found


def shown(found: Sequence[Agreement], unit: str) -> str:
    """One line for the user."""
    parts = [
        f"{a.low:g} → {a.high:g} {unit}: {a.correlation:.2f} ({a.trials} trials)" for a in found
    ]
    return "How a rung ranks the trials that went on, against the next: " + "; ".join(parts)
