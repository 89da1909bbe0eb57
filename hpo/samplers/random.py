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
    """Independent draws, uniform in the unit cube (log-uniform for logarithmic scales).

    Where the user believes something of the space (`hpo.space.prior`), half of them are from there.
    """

    def min_results(self, space: SearchSpace) -> int:
        """Results are not used."""
        return 0

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Value]:
        """One draw from the space."""
        space = history.space
        if space.belief is not None and rng.random() < 0.5:
            return space.decode(space.belief.sample(rng, 1)[0])
        return space.sample(rng)
