"""How long the training of a configuration takes, expected from earlier trainings.

The logarithm of the seconds is linear in the codes of ranges and in choices. The slopes are those
of a ridge regression. Past studies of the same family have much the same slopes, even if their
tables are larger or smaller, so the slopes are shrunk towards theirs; without past studies to 0.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from hpo.arrays import FloatArray
from hpo.history import History
from hpo.space import SearchSpace
from hpo.space.layout import Layout

_MOST = 200  # trials of a study that are used; more are thinned evenly
_TO_ZERO, _TO_PAST = 0.3, 1.0  # ridge penalties, for codes from -1/2 to 1/2


@dataclass(frozen=True, eq=False)
class Durations:
    """What is known of the seconds before the first trial.

    Attributes:
        slopes: `(n_ranges + all choices,)` of the log seconds in past studies; None without any.
    """

    slopes: FloatArray | None = None

    @classmethod
    def of(
        cls, space: SearchSpace, studies: Iterable[tuple[FloatArray, FloatArray]]
    ) -> "Durations":
        """What studies know together, each from its codes `(n, d)` and seconds `(n,)`."""
        known = [_differences(space.layout, x, seconds) for x, seconds in studies]
        known = [(x, y) for x, y in known if len(x) > 1]
        if not known:
            return cls()
        x, y = (np.concatenate(parts) for parts in zip(*known, strict=True))
        return cls(_ridge(x, y, _TO_PAST))

    def log_seconds(self, history: History, candidates: FloatArray) -> FloatArray:
        """`(m,)` the expected log seconds of codes `(m, d)`, up to a constant; 0 if unknown."""
        layout = history.space.layout
        x, y = _differences(layout, history.x, history.seconds)
        if self.slopes is None:
            slopes = _ridge(x, y, _TO_ZERO)
        else:
            slopes = self.slopes + _ridge(x, y - x @ self.slopes, _TO_PAST)
        return np.asarray(_terms(layout, candidates) @ slopes)


def _differences(
    layout: Layout, x: FloatArray, seconds: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Terms and log seconds of the trainings whose seconds are known, less their means."""
    known = np.flatnonzero(seconds > 0)
    if len(known) > _MOST:
        known = known[np.linspace(0, len(known) - 1, _MOST).round().astype(int)]
    if not len(known):
        return _terms(layout, x[:0]), np.empty(0)
    terms, logs = _terms(layout, x[known]), np.log(seconds[known])
    return terms - terms.mean(axis=0), logs - logs.mean()


def _terms(layout: Layout, x: FloatArray) -> FloatArray:
    """`(n, n_ranges + all choices)` codes from -1/2 to 1/2, and one-hot choices; 0 if inactive."""
    return np.hstack([np.nan_to_num(x[:, layout.ranges] - 0.5), layout.one_hot(x).T])


def _ridge(x: FloatArray, y: FloatArray, penalty: float) -> FloatArray:
    """The slopes `(p,)` of a ridge regression."""
    if len(x) < x.shape[1]:  # with many choices: the same slopes from the smaller system
        return np.asarray(x.T @ np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), y))
    return np.asarray(np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y))
