"""Which configurations a study has tried, and a new one in place of a known one.

Training is deterministic: a known configuration has a known result. So a sampler that proposes one
is asked again, and when it insists, another configuration takes its place. A space with few
configurations ends when all of them are known.

The same holds for a forbidden configuration. Every proposal of every sampler comes through here, so
samplers need to know nothing of it. A model sees the forbidden proposal as a pending trial when it
is asked again, and turns elsewhere.
"""

import itertools
import math
from collections.abc import Callable, Hashable, Iterable
from functools import cached_property

import numpy as np

from hpo.history import History
from hpo.samplers import Sampler
from hpo.samplers.grid import Grid, GridSampler, spread
from hpo.space import Params, SearchSpace, Value
from hpo.space.parameters import Categorical, identity, plain

Identity = Callable[[Params], Hashable]

LISTED = 4096  # configurations of a space that are listed
_ASKED = 16  # times that a model is asked again
_DRAWS = 4096  # of samplers without a model, and uniform ones in place of a model's


def by_value(params: Params) -> Hashable:
    """The identity of configurations of which each is a training of its own."""
    return frozenset((name, *identity(plain(value))) for name, value in params.items())


class Configurations:
    """The configurations of a study by their identity.

    Args:
        space: the search space.
        sampler: proposes configurations.
        identity: what two configurations that are the same training have in common; None if no two
            trainings are the same, so that a configuration may be tried again.
    """

    def __init__(self, space: SearchSpace, sampler: Sampler, identity: Identity | None) -> None:
        self._space = space
        self._sampler = sampler
        self._identity = identity
        self._known: set[Hashable] = set()

    def add(self, params: Params) -> bool:
        """Note a configuration; return whether it is new."""
        if self._identity is None:
            return True
        before = len(self._known)
        self._known.add(self._identity(params))
        return len(self._known) > before

    def total(self, others: Iterable[Params] = ()) -> int | None:
        """How many configurations there are, `others` included; None if they cannot be listed."""
        if self._identity is None or self._listed is None:
            return None
        points = (self._listed[i] for i in range(self._listed.size))
        allowed = filter(self._space.allowed, points)
        return len({*map(self._identity, allowed), *map(self._identity, others)})

    def propose(self, history: History, seed: list[int]) -> dict[str, Value] | None:
        """A configuration that is allowed and not known.

        Returns:
            None if all are known, or the sampler ends.
        """
        for attempt in self._attempts():
            rng = np.random.default_rng([*seed, attempt] if attempt else seed)
            params = self._sampler.suggest(history, rng)
            if params is None or self._is_new(params):
                return params
            history.n_sampled += 1  # a grid goes on behind it
            if not self._space.allowed(params):
                history.pending = np.vstack([history.pending, self._space.encode(params)])
        return self._other(np.random.default_rng([*seed, _DRAWS]))

    def _attempts(self) -> Iterable[int]:
        if isinstance(self._sampler, GridSampler):
            return itertools.count()  # it ends by itself
        has_model = self._sampler.min_results(self._space) > 0
        return range(_ASKED if has_model else _DRAWS)

    def _other(self, rng: np.random.Generator) -> dict[str, Value] | None:
        """A configuration that is not known, at random."""
        if self._listed is not None:
            n = self._listed.size
            start = int(rng.integers(n))
            points = (self._listed[(start + spread(k, n)) % n] for k in range(n))
        else:
            points = (self._space.sample(rng) for _ in range(_DRAWS))
        return next(filter(self._is_new, points), None)

    def _is_new(self, params: Params) -> bool:
        if not self._space.allowed(params):
            return False
        return self._identity is None or self._identity(params) not in self._known

    @cached_property
    def _listed(self) -> Grid | None:
        """All configurations that the sampler may propose; None if they are too many."""
        if isinstance(self._sampler, GridSampler):
            grid = Grid(self._space, self._sampler.resolution)
            return grid if grid.size <= LISTED else None
        levels = [parameter.n_levels or LISTED + 1 for parameter in self._space]
        if max(levels) > LISTED:
            return None
        grid = Grid(self._space, max(levels))
        return grid if grid.size <= LISTED else None


def n_searched(space: SearchSpace) -> int:
    """The number of parameters with more than one value."""
    return sum(parameter.n_levels != 1 for parameter in space)


def raced(space: SearchSpace, points: Iterable[Params]) -> str | None:
    """The first choice that decides which parameters are active, and has a point for each option.

    Such options, the families of a search over several models, each begin with a configuration that
    is good for them, so their first results say which of them is better.
    """
    tried = list(points)
    for parameter in space:
        decides = any(parameter.name in other.when for other in space)
        if isinstance(parameter, Categorical) and decides and not parameter.when:
            seen = {identity(plain(point[parameter.name])) for point in tried}
            if len(seen) == parameter.n_levels > 1:
                return parameter.name
    return None


def size(space: SearchSpace) -> int | None:
    """How many configurations a space has, forbidden ones included.

    Returns:
        None if a range is continuous, or branches are many.
    """
    if any(parameter.n_levels is None for parameter in space):
        return None
    names = set[str]().union(*(parameter.when for parameter in space))
    parents = SearchSpace(tuple(p for p in space if p.name in names))
    branches = Grid(parents, 1)
    if branches.size > LISTED:
        return None
    return sum(
        math.prod(space[name].n_levels or 1 for name in space.active(branch) if name not in names)
        for branch in map(branches.__getitem__, range(branches.size))
    )
