"""When more trials are not worth it: how long none was better, and what the next may gain."""

import math
from collections.abc import Sequence

import numpy as np

from hpo.arrays import FloatArray
from hpo.goals.forecast import expected_gain, gains_little
from hpo.goals.leaders import Leaders
from hpo.trial import Trial


class Stagnation:
    """Counts the trials since the last better one, and forecasts the gain of the next ones.

    Args:
        leaders: the best trials; they take in a trial before this does.
        trials: those that are there already.
        patience: how many trials in a row may bring no better result; None for any number.
        min_gain: the least gain that is to be expected of the next trials; None for any.
        races: whether trials stop at several budgets, so that their losses say nothing of the next.
    """

    def __init__(
        self,
        leaders: Leaders,
        trials: Sequence[Trial],
        patience: int | None,
        min_gain: float | None,
        *,
        races: bool,
    ) -> None:
        self._leaders = leaders
        self._forecasts = leaders.goals.is_single and not races
        self._patience = patience
        self._min_gain = min_gain
        self._losses: list[float] = []  # by number; nan until the trial has finished
        self._reported: list[bool] = []
        for trial in trials:
            self._note(trial)
        self._since_best = self._count()
        self._gains_little = self._expects_little()

    def update(self, trial: Trial, *, leads: bool) -> None:
        """Take in the outcome of a trial; `leads` says whether the best trials have changed."""
        is_first = self._note(trial)
        leading = self._leaders.leading
        if leads:
            self._since_best = self._count()
        elif leading and trial.number > leading[-1]:
            self._since_best += is_first
        self._gains_little = self._expects_little()

    @property
    def stalled(self) -> bool:
        """Whether the trials so far say that more of them are not worth it.

        The last ones, as many as `patience`, have brought no better result, or the next ones have
        been expected for a while to improve it by less than `min_gain`.
        """
        is_out_of_patience = self._patience is not None and self._since_best >= self._patience
        return is_out_of_patience or self._gains_little

    @property
    def expected_gain(self) -> float | None:
        """How much the next trials are expected to improve the best loss (`hpo.goals.forecast`).

        None while that is unknown, in races, and with several goals or limits.
        """
        return expected_gain(self._known) if self._forecasts else None

    @property
    def _known(self) -> FloatArray:
        """`(n,)` the losses of the finished trials, infinite for those that failed."""
        losses = np.array(self._losses)
        return np.asarray(losses[~np.isnan(losses)])

    def _note(self, trial: Trial) -> bool:
        """Note the outcome of a trial; return whether it is its first."""
        new = trial.number + 1 - len(self._losses)
        self._losses.extend([math.nan] * new)
        self._reported.extend([False] * new)
        if trial.finished:
            self._losses[trial.number] = trial.loss
        was, has = self._reported[trial.number], bool(trial.reports or trial.failure)
        self._reported[trial.number] = has
        return has and not was

    def _count(self) -> int:
        """How many trials after the last one that leads have reported."""
        leading = self._leaders.leading
        return sum(self._reported[leading[-1] + 1 :]) if leading else 0

    def _expects_little(self) -> bool:
        return self._min_gain is not None and gains_little(self._known, self._min_gain)
