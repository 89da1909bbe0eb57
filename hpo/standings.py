"""Where every trial stands, as columns that schedulers and samplers compute with."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hpo.arrays import FloatArray
from hpo.history import History
from hpo.space import Params, SearchSpace
from hpo.trial import Trial


class Standings:
    """One row a trial, in order of the numbers, one column a rung.

    Rows are added when a trial is granted, and filled when its legs are told; a row that is granted
    more than it has reached is running.
    """

    def __init__(self, space: SearchSpace, rungs: Sequence[float]) -> None:
        self.space = space
        self.rungs = tuple(rungs)
        self._n = 0
        self._x = np.empty((16, len(space)))
        self._losses = np.full((len(rungs), 16), np.nan)  # a rung is looked at as a whole
        self._granted = np.zeros(16, dtype=np.intp)
        self._failed = np.zeros(16, dtype=bool)

    def __len__(self) -> int:
        return self._n

    @property
    def x(self) -> FloatArray:
        """`(n, d)` unit codes, `nan` where inactive."""
        return self._x[: self._n]

    @property
    def losses(self) -> FloatArray:
        """`(n, r)` loss at each rung; `nan` where there is none (yet)."""
        return self._losses[:, : self._n].T

    @property
    def granted(self) -> NDArray[np.intp]:
        """`(n,)` the highest rung that was granted."""
        return self._granted[: self._n]

    @property
    def failed(self) -> NDArray[np.bool_]:
        """`(n,)` whether the leg to the granted rung failed."""
        return self._failed[: self._n]

    @property
    def told(self) -> NDArray[np.bool_]:
        """`(n,)` whether the leg to the granted rung is told; the others are running."""
        return self.failed | ~np.isnan(self.losses[np.arange(self._n), self.granted])

    @property
    def waiting(self) -> NDArray[np.bool_]:
        """`(n,)` whether a trial stands at its granted rung and may go on from there."""
        return self.told & ~self.failed

    def ranked(self, rung: int, which: NDArray[np.bool_]) -> NDArray[np.intp]:
        """The numbers of the trials `which` `(n,)` by their losses at a rung, best first, those without one last."""
        numbers = np.flatnonzero(which)
        ordered: NDArray[np.intp] = numbers[np.argsort(self.losses[numbers, rung], kind="stable")]
        return ordered

    def rung(self, budget: float) -> int:
        """The highest rung whose budget is not above `budget` (the lowest when all are)."""
        return max(int(np.searchsorted(self.rungs, budget, side="right")) - 1, 0)

    def add(self, params: Params, budget: float) -> None:
        """A new trial."""
        if self._n == len(self._x):
            self._grow()
        self._x[self._n] = self.space.encode(params)
        self._granted[self._n] = self.rung(budget)
        self._n += 1

    def update(self, trial: Trial) -> None:
        """What was granted to a trial, and what is known of it."""
        row = trial.number
        self._granted[row] = self.rung(trial.budget)
        self._failed[row] = trial.failure is not None
        for report in trial.reports:
            self._losses[self.rung(report.budget), row] = report.loss

    def history(self, least: int, n_sampled: int) -> History:
        """What a sampler sees: the highest rung with `least` results or more, or the one with the most.

        Trials that failed at that rung or on the way to it count as infinitely bad; those that run
        are pending, wherever they stand. A trial that was left at a lower rung says nothing here.
        """
        level = self._level(least)
        losses = np.where(
            self.failed & np.isnan(self.losses[:, level]), np.inf, self.losses[:, level]
        )
        unseen = np.isnan(losses)
        if not unseen.any():  # nothing to leave out, so nothing to copy
            return History.of(self.space, self.x, losses, self.x[:0], n_sampled)
        seen, pending = np.flatnonzero(~unseen), np.flatnonzero(unseen & ~self.told)
        return History.of(self.space, self.x[seen], losses[seen], self.x[pending], n_sampled)

    def _level(self, least: int) -> int:
        """The highest rung with `least` finite losses or more, or the one with the most (the lowest of equals)."""
        counts: list[int] = []
        for level in reversed(range(len(self.rungs))):
            counts.append(int(np.count_nonzero(np.isfinite(self.losses[:, level]))))
            if counts[-1] >= least:
                return level
        return int(np.argmax(counts[::-1]))

    def _grow(self) -> None:
        self._x = np.concatenate([self._x, np.empty_like(self._x)])
        self._losses = np.concatenate([self._losses, np.full_like(self._losses, np.nan)], axis=1)
        self._granted = np.concatenate([self._granted, np.zeros_like(self._granted)])
        self._failed = np.concatenate([self._failed, np.zeros_like(self._failed)])
