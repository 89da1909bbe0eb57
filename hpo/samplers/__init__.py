"""Samplers decide which configuration to try next.

A sampler is a frozen dataclass of settings. Its answer is a function of the history and a random
generator, so there is no state to save. `random`, `grid`, `tpe`, `gp`, `evolution`, `de`, `cmaes`,
`kde` (of BOHB), `llm` and `hyperopt` are in the modules of those names.
"""

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from hpo.space import SearchSpace, Value

if TYPE_CHECKING:
    import numpy as np

    from hpo.history import History


@runtime_checkable
class Sampler(Protocol):
    """Proposes configurations."""

    def min_results(self, space: SearchSpace) -> int:
        """How many results at one budget the model needs; 0 if the sampler uses no results."""

    def suggest(self, history: "History", rng: "np.random.Generator") -> dict[str, Value] | None:
        """The next configuration, or None when the space is exhausted.

        Args:
            history: the results so far; must not be changed.
            rng: the only source of randomness.
        """
