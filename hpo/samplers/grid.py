"""Grid search over conditional spaces.

Only active parameters multiply: where `momentum` exists for `sgd` alone, the grid has |sgd| x
|momentum| + |adam| points. They are numbered, and point number k is computed from k by counting the
grid below each choice; the product itself never exists.

Points are visited in a spread-out order (a multiplicative walk over the numbers with a step near
the golden section, coprime to their count, so that each comes exactly once): a study shorter than
its grid still sees all of the space.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hpo.errors import SpaceError
from hpo.history import History
from hpo.space import Categorical, Parameter, SearchSpace, Value

# The choices (by position) of the parents that later parameters ask for; -1 where a parent is
# inactive.
_Context = tuple[tuple[str, int], ...]

_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class GridSampler:
    """Every point of a grid once, then None.

    A range with at most `resolution` levels takes them all; any other takes `resolution` points,
    evenly spaced on its own scale, bounds included.

    Raises:
        SpaceError: when `resolution` is below 1.
    """

    resolution: int = 5

    def __post_init__(self) -> None:
        if self.resolution < 1:
            raise SpaceError(f"a grid needs resolution >= 1, but got {self.resolution}")

    def least(self, space: SearchSpace) -> int:
        """Results are not looked at."""
        return 0

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Value] | None:
        """The next point in the grid's own order (it follows `history.n_sampled`; `rng` is not used)."""
        grid = Grid(history.space, self.resolution)
        return (
            grid[_spread(history.n_sampled, grid.size)] if history.n_sampled < grid.size else None
        )


@dataclass(frozen=True)
class Grid:
    """The grid points of `space`: `grid.size` of them (beyond what `len` can say), point k is `grid[k]`."""

    space: SearchSpace
    resolution: int

    @property
    def size(self) -> int:
        """The number of points."""
        return self._count(0, ())

    def __getitem__(self, index: int) -> dict[str, Value]:
        if not 0 <= index < self.size:
            raise IndexError(f"grid index {index} out of range; the grid has {self.size} points")
        params: dict[str, Value] = {}
        context: _Context = ()
        for position, parameter in enumerate(self._order):
            if not self._is_active(parameter, context):
                context = self._after(position, context, -1)
                continue
            for choice, value in enumerate(self._values[position]):
                below = self._after(position, context, choice)
                size = self._count(position + 1, below)
                if index < size:
                    params[parameter.name], context = value, below
                    break
                index -= size
        return {name: params[name] for name in self.space.names if name in params}

    @cached_property
    def _order(self) -> list[Parameter]:
        return _children_early(self.space)

    @cached_property
    def _values(self) -> list[list[Value]]:
        return [_grid_values(parameter, self.resolution) for parameter in self._order]

    @cached_property
    def _counts(self) -> dict[tuple[int, _Context], int]:
        return {}

    def _count(self, position: int, context: _Context) -> int:
        """How many points lie below the choices made before `position`; each answer is kept."""
        if position == len(self._order):
            return 1
        key = (position, context)
        if key not in self._counts:
            self._counts[key] = self._count_anew(position, context)
        return self._counts[key]

    def _count_anew(self, position: int, context: _Context) -> int:
        parameter, n_values = self._order[position], len(self._values[position])
        if not self._is_active(parameter, context):
            return self._count(position + 1, self._after(position, context, -1))
        if not self._asked_later(position, parameter.name):
            return n_values * self._count(position + 1, self._after(position, context, -1))
        return sum(
            self._count(position + 1, self._after(position, context, i)) for i in range(n_values)
        )

    def _after(self, position: int, context: _Context, choice: int) -> _Context:
        """The context once the parameter at `position` has `choice`, less what nobody asks for any more."""
        known = (*context, (self._order[position].name, choice))
        return tuple(item for item in known if self._asked_later(position, item[0]))

    def _is_active(self, parameter: Parameter, context: _Context) -> bool:
        chosen = dict(context)
        return all(
            chosen[name] >= 0 and chosen[name] in map(parent.index, values)
            for name, values in parameter.when.items()
            if isinstance(parent := self.space[name], Categorical)
        )

    def _asked_later(self, position: int, name: str) -> bool:
        return any(name in parameter.when for parameter in self._order[position + 1 :])


def _grid_values(parameter: Parameter, resolution: int) -> list[Value]:
    if isinstance(parameter, Categorical):
        return list(parameter.choices)
    if parameter.n_levels is None or parameter.n_levels > resolution:
        codes = np.linspace(0, 1, resolution) if resolution > 1 else np.array([0.5])
    elif parameter.log:  # cells of unequal width: name the levels themselves
        return list(range(int(parameter.low), int(parameter.high) + 1))
    else:
        codes = np.linspace(0, 1, 2 * parameter.n_levels + 1)[1::2]
    return [parameter.from_unit(code) for code in np.unique(parameter.snap(codes)).tolist()]


def _children_early(space: SearchSpace) -> list[Parameter]:
    """Parents first, each child as soon as it can stand, so that contexts stay small with many branches."""
    waiting = list(space.parameters)
    placed: list[Parameter] = []
    while waiting:
        done = {parameter.name for parameter in placed}
        ready = [parameter for parameter in waiting if parameter.when.keys() <= done]
        chosen = next((parameter for parameter in ready if parameter.when), ready[0])
        waiting.remove(chosen)
        placed.append(chosen)
    return placed


def _spread(k: int, n: int) -> int:
    """The k-th number of a walk that visits 0 .. n-1 once each, far from its last steps."""
    step = next(s for s in range(max(round(n * _GOLDEN), 1), n + 2) if math.gcd(s, n) == 1)
    return k * step % n
