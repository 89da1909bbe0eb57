"""Random search.

Bergstra & Bengio (2012), "Random search for hyper-parameter optimization", JMLR 13.
"""

from dataclasses import dataclass

import numpy as np

from hpo.history import History
from hpo.space import SearchSpace, Value


@dataclass(frozen=True)
class RandomSampler:
    """Independent draws, uniform in the unit cube (so log-uniform where a scale is logarithmic)."""

    def least(self, space: SearchSpace) -> int:
        """Results are not looked at."""
        return 0

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Value]:
        """One draw; observations are not looked at."""
        return history.space.sample(rng)
