"""The best trials so far: one, or with several goals a front."""

from collections.abc import Mapping

import numpy as np

from hpo.goals import Goals, nearest
from hpo.trial import Trial

_Values = tuple[float, ...]


class Leaders:
    """The trials that no other trial dominates, of equal ones the earliest.

    With one goal there is one. A trial that breaks a limit leads only until one breaks it less.
    """

    def __init__(self, goals: Goals) -> None:
        self.goals = goals
        self._front: dict[int, _Values] = {}
        # Only with several goals may a trial's later leg be worse than an earlier one.
        self._all: dict[int, _Values] | None = None if goals.is_single else {}
        self._best: int | None = None

    @property
    def front(self) -> tuple[int, ...]:
        """The numbers of the leading trials, ascending."""
        return tuple(sorted(self._front))

    @property
    def best(self) -> int | None:
        """The number of the leading trial that the goals' weights choose; None without a result."""
        if self._best is None and self._front:
            numbers = self.front
            losses = np.array([self._front[number][1:] for number in numbers])
            weights = self.goals.weights
            wanted = [weights.get(goal.name, 0.0) for goal in self.goals.goals] if weights else None
            self._best = numbers[nearest(losses, wanted)]
        return self._best

    def update(self, trial: Trial) -> bool:
        """Take in a trial's results; return whether it leads now and its results are new."""
        if trial.best is None:
            return False
        number, values = trial.number, self.goals.values(trial.best)
        if self._front.get(number) == values:
            return False
        if self._all is not None:
            known = self._all.get(number)
            self._all[number] = values
            if known is not None and not _dominates(values, known):
                self._rebuild(self._all)
                return number in self._front
        self._front.pop(number, None)
        return self._enter(number, values)

    def _rebuild(self, values: Mapping[int, _Values]) -> None:
        self._front = {}
        for number in sorted(values):
            self._enter(number, values[number])

    def _enter(self, number: int, values: _Values) -> bool:
        for other, theirs in self._front.items():
            earlier = other < number if theirs == values else True
            if _dominates(theirs, values) and earlier:
                return False
        beaten = [other for other, theirs in self._front.items() if _dominates(values, theirs)]
        for other in beaten:
            del self._front[other]
        self._front[number] = values
        self._best = None
        return True


def _dominates(a: _Values, b: _Values) -> bool:
    """Whether `a` breaks the limits less than `b`, or as much and is nowhere worse."""
    if a[0] != b[0]:
        return a[0] < b[0]
    return all(mine <= theirs for mine, theirs in zip(a[1:], b[1:], strict=True))
