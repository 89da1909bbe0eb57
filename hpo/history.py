"""The history that a sampler sees: encoded configurations and their losses, as columns."""

import math
from collections.abc import Sequence

import numpy as np

from hpo.arrays import FloatArray
from hpo.space import Params, SearchSpace
from hpo.standings import Standings


class History:
    """Observed and pending configurations of one study at one budget, in the unit cube.

    A failed trial is an observation with an infinite loss.

    Attributes:
        space: the search space.
        n_sampled: how many trials the sampler has proposed so far, pending ones included.
        pending: `(m, d)` unit codes of the configurations that have no result yet.
    """

    def __init__(self, space: SearchSpace, n_sampled: int = 0) -> None:
        self.space = space
        self.n_sampled = n_sampled
        self._n = 0
        self._x = np.empty((16, len(space)))
        self._columns = np.empty((16, 3))
        self.pending: FloatArray = np.empty((0, len(space)))

    @classmethod
    def of(
        cls,
        space: SearchSpace,
        x: FloatArray,
        losses: FloatArray,
        seconds: FloatArray,
        pending: FloatArray,
        n_sampled: int,
    ) -> "History":
        """The history of codes `(n, d)`, losses and seconds `(n,)`, and pending codes `(m, d)`."""
        self = cls(space, n_sampled)
        self._n, self._x = len(x), x
        self._columns = np.stack([losses, np.ones(len(x)), seconds], axis=1)
        self.pending = pending
        return self

    @classmethod
    def at_rung(cls, standings: Standings, min_results: int, n_sampled: int) -> "History":
        """The history at one rung: the highest with at least `min_results` finite losses.

        If no rung has that many, it is the one with the most. Trials that failed at that rung or on
        the way to it have an infinite loss, running trials are pending, and trials that stopped at
        a lower rung are left out.
        """
        space, x = standings.space, standings.x
        rung = _model_rung(standings.losses, min_results)
        losses, seconds = standings.losses[:, rung], standings.seconds[:, rung]
        losses = np.where(standings.failed & np.isnan(losses), np.inf, losses)
        unseen = np.isnan(losses)
        if not unseen.any():  # no rows to leave out, so no copies
            return cls.of(space, x, losses, seconds, x[:0], n_sampled)
        seen, pending = np.flatnonzero(~unseen), np.flatnonzero(unseen & ~standings.finished)
        return cls.of(space, x[seen], losses[seen], seconds[seen], x[pending], n_sampled)

    def __len__(self) -> int:
        return self._n

    @property
    def x(self) -> FloatArray:
        """`(n, d)` unit codes, `nan` where inactive."""
        return self._x[: self._n]

    @property
    def losses(self) -> FloatArray:
        """`(n,)` losses, infinite where the trial failed."""
        return self._columns[: self._n, 0]

    @property
    def weights(self) -> FloatArray:
        """`(n,)` weights; 1 for the study's own observations."""
        return self._columns[: self._n, 1]

    @property
    def seconds(self) -> FloatArray:
        """`(n,)` training seconds, `nan` where unknown."""
        return self._columns[: self._n, 2]

    def observe(
        self, params: Params, loss: float, weight: float = 1.0, seconds: float = math.nan
    ) -> None:
        """Append one observation; a loss that is not finite counts as failed."""
        if self._n == len(self._x):
            spare = max(self._n, 16)
            self._x = np.concatenate([self._x, np.empty((spare, len(self.space)))])
            self._columns = np.concatenate([self._columns, np.empty((spare, 3))])
        self._x[self._n] = self.space.encode(params)
        self._columns[self._n] = loss if np.isfinite(loss) else np.inf, weight, seconds
        self._n += 1

    def set_pending(self, pending: Sequence[Params]) -> None:
        """Replace the configurations that have no result yet."""
        self.pending = np.empty((len(pending), len(self.space)))
        for row, params in enumerate(pending):
            self.pending[row] = self.space.encode(params)


def _model_rung(losses: FloatArray, min_results: int) -> int:
    """The highest rung of `(n, r)` with `min_results` finite losses; else one with the most."""
    counts = np.count_nonzero(np.isfinite(losses), axis=0)
    enough = np.flatnonzero(counts >= min_results)
    return int(enough[-1]) if len(enough) else int(np.argmax(counts))
