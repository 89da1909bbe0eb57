"""What a sampler sees: encoded configurations and their losses, as columns that only grow."""

from collections.abc import Sequence

import numpy as np

from hpo.space import Array, Params, SearchSpace


class History:
    """Observed and pending configurations of one study, in the unit cube.

    A failed trial is an observation with an infinite loss. `n_sampled` counts the trials that the sampler itself has
    proposed so far, pending ones included.
    """

    def __init__(self, space: SearchSpace, n_sampled: int = 0) -> None:
        self.space = space
        self.n_sampled = n_sampled
        self._n = 0
        self._x = np.empty((16, len(space)))
        self._columns = np.empty((16, 3))
        self.pending: Array = np.empty((0, len(space)))

    def __len__(self) -> int:
        return self._n

    @property
    def x(self) -> Array:
        """`(n, d)` unit codes, `nan` where inactive."""
        return self._x[: self._n]

    @property
    def losses(self) -> Array:
        """`(n,)` losses, infinite where the trial failed."""
        return self._columns[: self._n, 0]

    @property
    def budgets(self) -> Array:
        """`(n,)` budgets at which the losses were seen."""
        return self._columns[: self._n, 1]

    @property
    def weights(self) -> Array:
        """`(n,)` weights; 1 for the study's own observations."""
        return self._columns[: self._n, 2]

    def observe(self, params: Params, loss: float, budget: float, weight: float = 1.0) -> None:
        """Append one observation; a loss that is not finite counts as failed."""
        if self._n == len(self._x):
            self._x = np.concatenate([self._x, np.empty_like(self._x)])
            self._columns = np.concatenate([self._columns, np.empty_like(self._columns)])
        self._x[self._n] = self.space.encode(params)
        self._columns[self._n] = loss if np.isfinite(loss) else np.inf, budget, weight
        self._n += 1

    def suppose(self, pending: Sequence[Params]) -> None:
        """Replace the configurations whose losses are not known yet."""
        self.pending = np.array([self.space.encode(params) for params in pending]).reshape(
            -1, len(self.space)
        )
