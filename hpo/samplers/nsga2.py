"""NSGA-II: evolution of the trials that are best in one way or another.

Deb, Pratap, Agarwal & Meyarivan (2002), "A fast and elitist multiobjective genetic algorithm:
NSGA-II", IEEE Transactions on Evolutionary Computation 6.

Trials come in the order of `hpo.goals`: layers of non-dominated trials, and within a layer those
first that add most hypervolume (Beume, Naujoks & Emmerich, 2007, in place of the crowding
distance). The parents are the best `population` trials so far, so each result is used at once
(steady state) and there are no generations to wait for. Parameters that are inactive in a parent
are drawn at random, which makes it work on conditional spaces. With one goal it is an elitist
genetic algorithm.
"""

from dataclasses import dataclass

import numpy as np

from hpo.arrays import BoolArray, FloatArray
from hpo.history import History
from hpo.samplers.population import PopulationSampler
from hpo.samplers.settings import Range, setting
from hpo.samplers.tpe import ranked
from hpo.space import Value


@dataclass(frozen=True)
class NSGA2Sampler(PopulationSampler):
    """Crosses two of the best trials, and mutates the child.

    Attributes:
        population: how many of the best trials are parents; as many are spread out at first.
        crossover: the probability that a child has two parents.
        spread: the index of the crossover's distribution; larger keeps children near a parent.
        step: the index of the mutation's distribution; larger mutates less.
    """

    population: int = setting(16, Range(at_least=2))
    crossover: float = setting(0.9, Range(at_least=0, at_most=1))
    spread: float = setting(10.0, Range(above=0))
    step: float = setting(10.0, Range(above=0))

    def child(self, history: History, rng: np.random.Generator) -> dict[str, Value]:
        """A mutated child of two of the best trials."""
        space = history.space
        best = ranked(history.losses)[: self.population]
        best = best[np.isfinite(history.losses[best])]
        if not len(best):
            return space.sample(rng)
        # Codes in all dimensions, since a child may have conditions that no parent has.
        fresh = rng.random((3, len(space)))
        # A tournament of two: the better of two random places.
        first, second = rng.integers(len(best), size=(2, 2)).min(axis=1)
        parents = [self._filled(history.x[best[n]], fresh[i]) for i, n in ((0, first), (1, second))]
        is_range = np.zeros(len(space), dtype=bool)
        is_range[space.layout.ranges] = True
        child = parents[0]
        if rng.random() < self.crossover:
            child = self._crossed(parents[0], parents[1], is_range, rng)
        child = self._mutated(child, fresh[2], is_range, rng)
        return space.decode(space.codes.snap(child[None])[0])

    @staticmethod
    def _filled(code: FloatArray, fresh: FloatArray) -> FloatArray:
        return np.where(np.isnan(code), fresh, code)

    def _crossed(
        self, one: FloatArray, other: FloatArray, is_range: BoolArray, rng: np.random.Generator
    ) -> FloatArray:
        """Simulated binary crossover of ranges (Deb & Agrawal, 1995), uniform of choices."""
        u, takes_other = rng.random((2, len(one)))
        power = 1 / (self.spread + 1)
        beta = np.where(u < 0.5, (2 * u) ** power, (2 * (1 - u)) ** -power)
        sign = np.where(takes_other < 0.5, 1.0, -1.0)
        blended = np.clip(0.5 * ((one + other) + sign * beta * (one - other)), 0.0, 1.0)
        return np.where(is_range, blended, np.where(takes_other < 0.5, one, other))

    def _mutated(
        self, child: FloatArray, fresh: FloatArray, is_range: BoolArray, rng: np.random.Generator
    ) -> FloatArray:
        """Polynomial mutation of ranges, another choice of choices; of at least one."""
        u, chosen = rng.random((2, len(child)))
        power = 1 / (self.step + 1)
        change = np.where(u < 0.5, (2 * u) ** power - 1, 1 - (2 * (1 - u)) ** power)
        moved = np.where(is_range, np.clip(child + change, 0.0, 1.0), fresh)
        mutates = chosen < 1 / len(child)
        if not mutates.any():  # a child that equals its parent teaches nothing
            mutates[rng.integers(len(child))] = True
        return np.where(mutates, moved, child)
