"""The order of the trials with a result at one budget, by several goals and limits."""

import numpy as np
from numpy.typing import NDArray

from hpo.goals import Goals, order
from hpo.trial import Report


class Places:
    """Orders trials; a new result changes the places of others, so they are computed when asked.

    Args:
        goals: several, or with limits.

    Attributes:
        changed: whether there are results since the last ranking.
    """

    def __init__(self, goals: Goals) -> None:
        self.changed = False
        self._goals = goals
        self._values: dict[int, tuple[float, ...]] = {}

    def update(self, number: int, report: Report) -> None:
        """Take in the result of a trial, or replace it."""
        self._values[number] = self._goals.values(report)
        self.changed = True

    def ranked(self) -> NDArray[np.intp]:
        """The numbers of the trials, best first."""
        self.changed = False
        numbers = np.fromiter(self._values, dtype=np.intp)
        return np.asarray(numbers[order(np.array([*self._values.values()]))])
