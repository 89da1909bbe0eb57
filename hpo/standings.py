"""The standings of a study: losses and seconds by trial and rung, for schedulers and samplers."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hpo.arrays import BoolArray, FloatArray
from hpo.goals import Goals
from hpo.goals.places import Places
from hpo.space import Params, SearchSpace
from hpo.trial import Trial


class Standings:
    """One row per trial in order of the numbers, one column per rung.

    A trial is running while its granted rung has neither a loss nor a failure. With several goals
    or limits, the loss of a trial at a rung is its place among the trials there (`hpo.goals`).
    """

    def __init__(
        self, space: SearchSpace, rungs: Sequence[float], goals: Goals | None = None
    ) -> None:
        self.space = space
        self.rungs = tuple(rungs)
        self._n = 0
        self._x = np.empty((16, len(space)))
        self._losses = np.full((len(rungs), 16), np.nan)  # rungs first: each is read as a whole
        self._seconds = np.full((len(rungs), 16), np.nan)
        self._granted = np.zeros(16, dtype=np.intp)
        self._failed = np.zeros(16, dtype=bool)
        self._parents = np.full(16, -1, dtype=np.intp)
        single = goals is None or goals.is_single
        self._places = None if single or goals is None else [Places(goals) for _ in rungs]

    def __len__(self) -> int:
        return self._n

    @property
    def x(self) -> FloatArray:
        """`(n, d)` unit codes, `nan` where inactive."""
        return self._x[: self._n]

    @property
    def losses(self) -> FloatArray:
        """`(n, r)` loss at each rung; `nan` where there is none (yet)."""
        for rung, places in enumerate(self._places or ()):
            if places.changed:
                numbers = places.ranked()
                self._losses[rung, numbers] = np.arange(len(numbers), dtype=float)
        return self._losses[:, : self._n].T

    @property
    def seconds(self) -> FloatArray:
        """`(n, r)` training seconds until each rung; `nan` where the trial has no result there."""
        return self._seconds[:, : self._n].T

    @property
    def granted(self) -> NDArray[np.intp]:
        """`(n,)` the granted rung."""
        return self._granted[: self._n]

    @property
    def failed(self) -> BoolArray:
        """`(n,)` whether the leg to the granted rung failed."""
        return self._failed[: self._n]

    @property
    def parents(self) -> NDArray[np.intp]:
        """`(n,)` number of the trial that a trial was copied from; -1 for none."""
        return self._parents[: self._n]

    @property
    def finished(self) -> BoolArray:
        """`(n,)` whether the leg to the granted rung has ended; the other trials are running."""
        return self.failed | ~np.isnan(self.losses[np.arange(self._n), self.granted])

    @property
    def paused(self) -> BoolArray:
        """`(n,)` whether the trial has a result at its granted rung and could be promoted."""
        return self.finished & ~self.failed

    def ranked(self, rung: int, which: BoolArray) -> NDArray[np.intp]:
        """Numbers of the trials where `which` `(n,)` is true, by their loss at a rung, best first.

        Trials without a loss at the rung come last.
        """
        numbers = np.flatnonzero(which)
        ordered: NDArray[np.intp] = numbers[np.argsort(self.losses[numbers, rung], kind="stable")]
        return ordered

    def rung(self, budget: float) -> int:
        """The highest rung whose budget is at most `budget`, or the lowest rung."""
        return max(int(np.searchsorted(self.rungs, budget, side="right")) - 1, 0)

    def add(self, params: Params, budget: float, parent: int | None = None) -> None:
        """Add a row for a new trial."""
        if self._n == len(self._x):
            self._grow()
        self._x[self._n] = self.space.encode(params)
        self._granted[self._n] = self.rung(budget)
        self._parents[self._n] = -1 if parent is None else parent
        self._n += 1

    def update(self, trial: Trial) -> None:
        """Replace the budget and the outcomes of a trial."""
        row = trial.number
        self._granted[row] = self.rung(trial.budget)
        self._failed[row] = trial.failure is not None
        seconds = 0.0
        for report in trial.reports:
            rung = self.rung(report.budget)
            seconds += report.seconds
            self._seconds[rung, row] = seconds
            if self._places is None:
                self._losses[rung, row] = report.loss
            else:
                self._places[rung].update(row, report)

    def _grow(self) -> None:
        self._x = np.concatenate([self._x, np.empty_like(self._x)])
        self._losses = np.concatenate([self._losses, np.full_like(self._losses, np.nan)], axis=1)
        self._seconds = np.concatenate([self._seconds, np.full_like(self._seconds, np.nan)], axis=1)
        self._granted = np.concatenate([self._granted, np.zeros_like(self._granted)])
        self._failed = np.concatenate([self._failed, np.zeros_like(self._failed)])
        self._parents = np.concatenate([self._parents, np.full_like(self._parents, -1)])
