"""What samplers with a population share: it is spread out first, then it has children."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from hpo.history import History
from hpo.samplers.settings import Range, Settings, setting
from hpo.samplers.tpe import start_up
from hpo.space import SearchSpace, Value


@dataclass(frozen=True)
class PopulationSampler(Settings, ABC):
    """Spreads out a first population, and then proposes children.

    Attributes:
        population: how many results there are before the first child.
    """

    population: int = setting(10, Range(at_least=2))

    def min_results(self, space: SearchSpace) -> int:
        """A whole population."""
        return self.population

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Value]:
        """The next configuration."""
        if len(history) < self.population:
            return start_up(history, rng)
        return self.child(history, rng)

    @abstractmethod
    def child(self, history: History, rng: np.random.Generator) -> dict[str, Value]:
        """A configuration that is made of those of the population."""
