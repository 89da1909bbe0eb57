"""Regularised (ageing) evolution.

Real, Aggarwal, Huang & Le (2019), "Regularized evolution for image classifier architecture search",
AAAI 33, algorithm 1.

The population are the last results, so every configuration dies of age, however good it is. Of a
random sample of the population, the best has a child that differs in one parameter. The state is
rebuilt from the results, in order of their trials.
"""

from dataclasses import dataclass

import numpy as np

from hpo.arrays import FloatArray
from hpo.history import History
from hpo.samplers.population import PopulationSampler
from hpo.samplers.settings import Range, setting
from hpo.space import SearchSpace, Value


@dataclass(frozen=True)
class EvolutionSampler(PopulationSampler):
    """Proposes a mutation of the best of a few configurations of the population.

    Attributes:
        population: results that are alive; until there are so many, configurations are random.
        sample: configurations that compete to be the parent; the paper has a quarter of the
            population.
        step: standard deviation of a mutation of a range, in edges of the unit cube.
    """

    sample: int = setting(10, Range(at_least=1))
    step: float = setting(0.2, Range(above=0))

    def child(self, history: History, rng: np.random.Generator) -> dict[str, Value]:
        """A mutation of the best of a few members."""
        space = history.space
        alive = np.arange(len(history) - self.population, len(history))
        rivals = rng.choice(alive, min(self.sample, self.population), replace=False)
        parent = history.x[rivals[np.argmin(history.losses[rivals])]]
        return space.decode(self._mutated(space, parent, rng))

    def _mutated(
        self, space: SearchSpace, parent: FloatArray, rng: np.random.Generator
    ) -> FloatArray:
        """The parent's codes `(d,)` with another value in one of its active dimensions."""
        several = np.array([parameter.n_levels != 1 for parameter in space])
        columns = np.flatnonzero(~np.isnan(parent) & several)
        child = np.where(np.isnan(parent), rng.random(len(parent)), parent)
        if not len(columns):
            return child
        column = rng.choice(columns)
        is_choice = column in space.layout.choices
        for _ in range(100):  # a small step may lead to the same level
            to = rng.random() if is_choice else parent[column] + self.step * rng.normal()
            child[column] = min(max(to, 0.0), 1.0)
            if space.codes.snap(child[None])[0, column] != parent[column]:
                break
        return child
