"""Population-based training: the worst of a population continue from the best, with new values.

Jaderberg et al. (2017), "Population based training of neural networks", arXiv 1711.09846,
algorithm 1, with truncation selection and the perturbation of section 4.1. What differs:

- A generation is complete before the next one is chosen, so that a study repeats from its seed with
  any number of workers. Workers may wait for the slowest member.
- The members that are copied are taken in turn from the best, not drawn, so that the population
  stays diverse.
- A value is multiplied or divided by one factor. With 1.2 and 0.8, it would shrink over time.

A member that is replaced is a trial that ends. What replaces it is a new trial, whose `parent` is
the better one and whose first leg starts from the parent's checkpoint. So who belongs to which
generation follows from the trials, and there is no state of its own.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hpo.arrays import BoolArray
from hpo.samplers.settings import Range, Settings, setting
from hpo.schedulers import Explore, Promote, Sample
from hpo.space import Params, SearchSpace, Value
from hpo.space.parameters import Categorical
from hpo.standings import Standings

_DRAWS = 100  # tries to find an allowed configuration


@dataclass(frozen=True)
class PopulationBased(Settings):
    """Populations of `population` trials, one after the other.

    Attributes:
        rungs: the budgets after which members are compared, ascending.
        population: members of a population.
        quantile: the share of the members that is replaced at each rung, and of those that are
            copied.
        factor: what a number is multiplied with or divided by.
        resample: the probability that a value is drawn anew instead.
        inherited: names of parameters that a running training cannot change; a copy has its
            parent's values.
    """

    rungs: tuple[float, ...] = (1.0,)
    population: int = setting(8, Range(at_least=2, at_most=1000))
    quantile: float = setting(0.25, Range(above=0))
    factor: float = setting(1.25, Range(above=1))
    resample: float = setting(0.25, Range(at_least=0, at_most=1))
    inherited: Collection[str] = ()

    def mistakes(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from super().mistakes()
        if isinstance(self.quantile, float) and self.quantile > 0.5:
            yield f"quantile={self.quantile} must be 0.5 or less; the others are not replaced"

    @property
    def replaced(self) -> int:
        """How many members are replaced at a rung, if all have a result."""
        return max(int(self.quantile * self.population), 1)

    @property
    def _trials(self) -> int:
        """The trials of one population."""
        return self.population + (len(self.rungs) - 1) * self.replaced

    @property
    def reaching(self) -> tuple[float, ...]:
        """The share of the trials that reach each rung."""
        return (self.population / self._trials,) * len(self.rungs)

    @property
    def costs(self) -> tuple[float, ...]:
        """The mean cost of a trial at each rung, in full trainings."""
        steps = np.diff(self.rungs, prepend=0.0) / self.rungs[-1]
        return tuple((self.population / self._trials * steps).tolist())

    @property
    def cost(self) -> float:
        """The mean cost of a trial, in full trainings."""
        return sum(self.costs)

    def next(self, standings: Standings, *, closing: bool) -> Sample | Promote | Explore | None:
        """A new member while the population is not complete, then the legs of its generations."""
        members = self._latest(standings)
        roots = int(np.count_nonzero(members & (standings.parents < 0)))
        if not closing and roots < self.population:
            return Sample(self.rungs[0])
        for rung in range(len(self.rungs)):
            here = self._generation(standings, members, rung)
            if not (self._done(standings, rung) | ~here).all():
                return None
            if rung + 1 < len(self.rungs):
                step = self._step(standings, members, here, rung, closing=closing)
                if step is not None:
                    return step
        return None if closing else Sample(self.rungs[0])

    def promotable(self, standings: Standings, limit: int) -> dict[float, list[int]]:
        """The members with a result of the last two generations: any may go on or be copied."""
        members = self._latest(standings)
        found = {
            budget: np.flatnonzero(
                self._generation(standings, members, rung) & ~np.isnan(standings.losses[:, rung])
            ).tolist()
            for rung, budget in enumerate(self.rungs[:-1])
        }
        top = int(standings.granted[members].max(initial=0))
        return {b: numbers if i >= top - 1 else [] for i, (b, numbers) in enumerate(found.items())}

    def _step(
        self,
        standings: Standings,
        members: BoolArray,
        here: BoolArray,
        rung: int,
        *,
        closing: bool,
    ) -> Promote | Explore | None:
        """What is missing of the next generation."""
        ranked = standings.ranked(rung, here & ~np.isnan(standings.losses[:, rung]))
        lost = int(np.count_nonzero(here)) - len(ranked)  # failed legs
        worst = min(max(self.replaced - lost, 0), len(ranked) // 2)
        kept = ranked[: len(ranked) - worst]
        waiting = kept[(standings.granted[kept] == rung) & ~standings.failed[kept]]
        if len(waiting):
            return Promote(int(waiting[0]), self.rungs[rung + 1])
        copied = kept[: self.replaced]
        children = members & (standings.parents >= 0) & (self._first(standings) == rung + 1)
        n_children = int(np.count_nonzero(children))
        if closing or not len(copied) or n_children >= lost + worst:
            return None
        parent = int(copied[n_children % len(copied)])
        return Explore(parent, self.rungs[rung + 1], partial(explored, self))

    def _latest(self, standings: Standings) -> BoolArray:
        """`(n,)` whether a trial belongs to the latest population that has begun."""
        parents = standings.parents
        own = np.cumsum(parents < 0) - 1  # the number of a root among the roots
        for number in np.flatnonzero(parents >= 0):
            own[number] = own[parents[number]]
        populations = own // self.population
        latest: BoolArray = populations == populations.max(initial=-1)
        if len(latest) and self._is_over(standings, latest):
            return np.zeros_like(latest)
        return latest

    def _is_over(self, standings: Standings, members: BoolArray) -> bool:
        """Whether a complete population has nothing left to run."""
        if np.count_nonzero(members & (standings.parents < 0)) < self.population:
            return False
        for rung in range(len(self.rungs)):
            here = self._generation(standings, members, rung)
            if not (self._done(standings, rung) | ~here).all():
                return False
            last = rung + 1 == len(self.rungs)
            if not last and self._step(standings, members, here, rung, closing=False) is not None:
                return False
        return True

    def _generation(self, standings: Standings, members: BoolArray, rung: int) -> BoolArray:
        """`(n,)` whether a member was granted a rung."""
        found: BoolArray = members & (self._first(standings) <= rung) & (standings.granted >= rung)
        return found

    def _first(self, standings: Standings) -> NDArray[np.intp]:
        """`(n,)` the rung of each trial's first leg."""
        known = ~np.isnan(standings.losses)
        first = np.where(known.any(axis=1), known.argmax(axis=1), standings.granted)
        return np.where(standings.parents < 0, 0, first)

    def _done(self, standings: Standings, rung: int) -> BoolArray:
        """`(n,)` whether a trial has ended its leg to a rung."""
        return (standings.granted > rung) | standings.finished


def explored(
    scheduler: PopulationBased, space: SearchSpace, params: Params, rng: np.random.Generator
) -> dict[str, Value]:
    """The configuration of a copied trial, changed: each value is perturbed or drawn anew.

    A choice is kept unless it is drawn anew. Conditions and forbidden combinations hold. Inherited
    parameters are drawn only where a change makes them active.
    """
    for _ in range(_DRAWS):
        found = _changed(space, params, rng, scheduler)
        if space.allowed(found):
            return found
    return dict(params)


def _changed(
    space: SearchSpace, params: Params, rng: np.random.Generator, scheduler: PopulationBased
) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for parameter in space:
        name = parameter.name
        if name not in space.active(found):
            continue
        value = params.get(name)
        if value is not None and name in scheduler.inherited:
            found[name] = value
        elif value is None or rng.random() < scheduler.resample:
            found[name] = parameter.from_unit(rng.random())
        elif isinstance(parameter, Categorical):
            found[name] = value
        else:
            factor = scheduler.factor if rng.random() < 0.5 else 1 / scheduler.factor
            found[name] = parameter.from_unit(parameter.to_unit(float(value) * factor))
    return found
