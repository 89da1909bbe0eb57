"""The best trials so far: one, or with several goals a front."""

from collections.abc import Mapping, Sequence

import numpy as np

from hpo.goals import Goals, hypervolume, nearest, order
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
    def leading(self) -> tuple[int, ...]:
        """The numbers of the leading trials, ascending; they may break limits."""
        return tuple(sorted(self._front))

    @property
    def front(self) -> tuple[int, ...]:
        """The numbers of the leading trials that keep the limits, ascending."""
        return tuple(number for number in self.leading if self._front[number][0] == 0)

    @property
    def values(self) -> tuple[_Values, ...]:
        """The excess and the losses of the leading trials (`Goals.values`)."""
        return tuple(self._front[number] for number in self.leading)

    @property
    def best(self) -> int | None:
        """The number of the leading trial that the goals' weights choose; None without a result."""
        if self._best is None and self._front:
            numbers = self.leading
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


def ranked(trials: Sequence[Trial], goals: Goals) -> tuple[Trial, ...]:
    """The trials with a result, best first; of equal ones the earliest first."""
    if goals.is_single:
        done = (trial for trial in trials if trial.reports)
        return tuple(sorted(done, key=lambda trial: (trial.loss, trial.number)))
    numbered, values = _values(trials, goals)
    return tuple(numbered[row] for row in order(np.array(values))) if values else ()


def leaders(trials: Sequence[Trial], goals: Goals) -> Leaders:
    """The leading ones of these trials."""
    found = Leaders(goals)
    for trial in sorted(trials, key=lambda trial: trial.number):
        found.update(trial)
    return found


def hypervolumes(trials: Sequence[Trial], goals: Goals, scale: int | None = None) -> list[float]:
    """The hypervolume that the first trials dominate, after each of them.

    The unit is the box from the best to the worst value of each goal among the first `scale` trials
    with a result (None for all) that keep the limits. Later trials may dominate more than that box;
    those that break limits add nothing.
    """
    numbered, values = _values(trials, goals)
    rows = np.array([row[1:] for row in values[:scale] if row[0] == 0])
    if not len(rows):
        return [0.0] * len(values)
    low, high = rows.min(axis=0), rows.max(axis=0)
    front, found = Leaders(goals), [0.0]
    for trial in numbered:
        if front.update(trial):
            leading = np.array([row[1:] for row in front.values if row[0] == 0])
            found.append(hypervolume(leading, low, high))
        else:
            found.append(found[-1])
    return found[1:]


def _values(trials: Sequence[Trial], goals: Goals) -> tuple[list[Trial], list[_Values]]:
    """The trials with a result in the order of their numbers, and what they are ordered by."""
    numbered = sorted((t for t in trials if t.best), key=lambda trial: trial.number)
    return numbered, [goals.values(trial.best) for trial in numbered if trial.best]
