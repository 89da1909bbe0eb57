"""The standings of a study: losses and seconds by trial and rung, for schedulers and samplers."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hpo.arrays import BoolArray, FloatArray
from hpo.goals import Goals, order
from hpo.history import History
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
        self._goals = None if goals is None or goals.is_single else goals
        # with several goals, what the places at each rung follow from: `Goals.values` by trial
        self._values: list[dict[int, tuple[float, ...]]] = [{} for _ in rungs]
        self._changed: set[int] = set()  # rungs whose places are out of date

    def __len__(self) -> int:
        return self._n

    @property
    def x(self) -> FloatArray:
        """`(n, d)` unit codes, `nan` where inactive."""
        return self._x[: self._n]

    @property
    def losses(self) -> FloatArray:
        """`(n, r)` loss at each rung; `nan` where there is none (yet)."""
        while self._changed:
            self._place(self._changed.pop())
        return self._losses[:, : self._n].T

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

    def rung_below(self, budget: float) -> float:
        """The budget of the rung below that of `budget`, or the lowest one."""
        return self.rungs[max(self.rung(budget) - 1, 0)]

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
            if self._goals is None:
                self._losses[rung, row] = report.loss
            else:
                self._values[rung][row] = self._goals.values(report)
                self._changed.add(rung)

    def history(self, min_results: int, n_sampled: int) -> History:
        """The history at one rung: the highest with at least `min_results` finite losses.

        If no rung has that many, it is the one with the most. Trials that failed at that rung or on
        the way to it have an infinite loss, running trials are pending, and trials that stopped at
        a lower rung are left out.
        """
        rung = self._model_rung(min_results)
        losses = np.where(
            self.failed & np.isnan(self.losses[:, rung]), np.inf, self.losses[:, rung]
        )
        unseen, seconds = np.isnan(losses), self._seconds[rung, : self._n]
        if not unseen.any():  # no rows to leave out, so no copies
            return History.of(self.space, self.x, losses, seconds, self.x[:0], n_sampled)
        seen, pending = np.flatnonzero(~unseen), np.flatnonzero(unseen & ~self.finished)
        return History.of(
            self.space, self.x[seen], losses[seen], seconds[seen], self.x[pending], n_sampled
        )

    def _model_rung(self, min_results: int) -> int:
        """The highest rung with `min_results` finite losses, or the lowest with the most."""
        counts = np.count_nonzero(np.isfinite(self.losses), axis=0)
        enough = np.flatnonzero(counts >= min_results)
        return int(enough[-1]) if len(enough) else int(np.argmax(counts))

    def _place(self, rung: int) -> None:
        """Set the losses of a rung to the places of its trials."""
        numbers = np.fromiter(self._values[rung], dtype=np.intp)
        places = order(np.array([*self._values[rung].values()]))
        self._losses[rung, numbers[places]] = np.arange(len(numbers), dtype=float)

    def _grow(self) -> None:
        self._x = np.concatenate([self._x, np.empty_like(self._x)])
        self._losses = np.concatenate([self._losses, np.full_like(self._losses, np.nan)], axis=1)
        self._seconds = np.concatenate([self._seconds, np.full_like(self._seconds, np.nan)], axis=1)
        self._granted = np.concatenate([self._granted, np.zeros_like(self._granted)])
        self._failed = np.concatenate([self._failed, np.zeros_like(self._failed)])
        self._parents = np.concatenate([self._parents, np.full_like(self._parents, -1)])
