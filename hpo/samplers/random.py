"""Random search.

Bergstra & Bengio (2012), "Random search for hyper-parameter optimization", JMLR 13.
"""

from dataclasses import dataclass

import numpy as np

from hpo.history import History
from hpo.samplers.settings import Settings
from hpo.space import SearchSpace, Value


@dataclass(frozen=True)
class RandomSampler(Settings):
    """Independent draws, uniform in the unit cube (log-uniform for logarithmic scales)."""

    def min_results(self, space: SearchSpace) -> int:
        """Results are not used."""
        return 0

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Value]:
        """One draw from the space."""
        return history.space.sample(rng)
