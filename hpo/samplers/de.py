"""Differential evolution.

Storn & Price (1997), "Differential evolution: a simple and efficient heuristic for global
optimization over continuous spaces", Journal of Global Optimization 11 (rand/1/bin); Awad, Mallik &
Hutter (2021), "DEHB: Evolutionary Hyperband for scalable, robust and efficient hyperparameter
optimization", IJCAI, section 3 (codes of the unit cube for all kinds of parameters, mutants outside
drawn anew; `de+hyperband` is its combination with races).

The population has so many slots, and the results take turns: each slot keeps its best one. So the
state is rebuilt from the results, in order of their trials, and no worker waits for a generation.
"""

from dataclasses import dataclass

import numpy as np

from hpo.arrays import FloatArray
from hpo.history import History
from hpo.samplers.population import PopulationSampler
from hpo.samplers.settings import Range, setting
from hpo.space import Value


@dataclass(frozen=True)
class DESampler(PopulationSampler):
    """Proposes a slot's configuration, crossed with a + factor * (b - c) of three other slots.

    Attributes:
        population: slots; until there are so many results, points are spread out.
        factor: of the difference.
        crossover: the share of dimensions that come from the mutant.
    """

    population: int = setting(8, Range(at_least=4))
    factor: float = setting(0.5, Range(above=0, at_most=2))
    crossover: float = setting(0.8, Range(at_least=0, at_most=1))

    def child(self, history: History, rng: np.random.Generator) -> dict[str, Value]:
        """A member, crossed with a mutant of three others."""
        space = history.space
        members = self._members(history, rng)
        slot = (len(history) + len(history.pending)) % self.population
        others = np.delete(np.arange(self.population), slot)
        a, b, c = members[rng.choice(others, 3, replace=False)]
        mutant = a + self.factor * (b - c)
        mutant = np.where((mutant < 0) | (mutant > 1), rng.random(len(mutant)), mutant)
        crossed = rng.random(len(mutant)) < self.crossover
        crossed[rng.integers(len(mutant))] = True
        return space.decode(np.where(crossed, mutant, members[slot]))

    def _members(self, history: History, rng: np.random.Generator) -> FloatArray:
        """`(population, d)` the best codes of each slot; inactive dimensions are drawn."""
        rows = np.arange(len(history))
        best = [
            mine[np.argmin(history.losses[mine])]
            for mine in (rows[slot :: self.population] for slot in range(self.population))
        ]
        members = history.x[best]
        return np.where(np.isnan(members), rng.random(members.shape), members)
