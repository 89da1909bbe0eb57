"""Samplers: which configuration to try next.

A sampler is a frozen dataclass of settings. Its answer is a function of the history and a random
generator, so it has no state to save: `random`, `grid`, `tpe`, `kde` (of BOHB) and `hyperopt` each
stand in the module of that name.
"""

from typing import TYPE_CHECKING, Protocol

from hpo.space import SearchSpace, Value

if TYPE_CHECKING:
    import numpy as np

    from hpo.history import History


class Sampler(Protocol):
    """Proposes configurations."""

    def least(self, space: SearchSpace) -> int:
        """How many results at one budget a model is worth building from; 0: results are never looked at."""

    def suggest(self, history: "History", rng: "np.random.Generator") -> dict[str, Value] | None:
        """The next configuration, or None when there is none left.

        A function of `history` and `rng` alone; `history` is only read.
        """
