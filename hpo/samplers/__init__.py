"""Samplers: which configuration to try next.

A sampler is a frozen dataclass of settings. Its answer is a function of the history and a random generator, so
it has no state to save: `random`, `grid`, `tpe` and `hyperopt` each stand in the module of that name.
"""

from typing import TYPE_CHECKING, Protocol

from hpo.space import Value

if TYPE_CHECKING:
    import numpy as np

    from hpo.history import History


class Sampler(Protocol):
    """Proposes configurations."""

    @property
    def needs_history(self) -> bool:
        """Whether the answer depends on observations (False: never wait for results)."""

    def suggest(self, history: "History", rng: "np.random.Generator") -> dict[str, Value] | None:
        """The next configuration, or None when there is none left.

        A function of `history` and `rng` alone; `history` is only read.
        """
