"""Grid search over conditional spaces.

Only active parameters multiply: if `momentum` exists for `sgd` only, the grid has |sgd| x
|momentum| + |adam| points. Point number k is computed from k, by counting the points below each
choice; the grid is never built.

Points are visited in a spread-out order, so that a study shorter than its grid still covers the
space: a multiplicative walk over the numbers, with a step near the golden section that is coprime
to their count, visits each point once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hpo.history import History
from hpo.samplers.settings import Range, Settings, setting
from hpo.space import Categorical, Parameter, SearchSpace, Value

# The choices, by position, of the parents on which later parameters depend.
_Context = tuple[tuple[str, int], ...]

RESOLUTION = 5  # values of a range
_INACTIVE = -1  # instead of the position of a choice
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class GridSampler(Settings):
    """Every point of a grid once, then None.

    A range with at most `resolution` levels contributes all of them; any other `resolution` points,
    evenly spaced on its own scale, bounds included.
    """

    resolution: int = setting(RESOLUTION, Range(at_least=1))

    def min_results(self, space: SearchSpace) -> int:
        """Results are not used."""
        return 0

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Value] | None:
        """The grid point number `history.n_sampled` in the spread-out order; `rng` is not used."""
        grid = Grid(history.space, self.resolution)
        if history.n_sampled >= grid.size:
            return None
        return grid[spread(history.n_sampled, grid.size)]

    def nearest(self, parameter: Parameter, value: Value) -> Value:
        """The value of the parameter on this grid that is nearest to `value`, on its own scale."""
        if isinstance(parameter, Categorical):
            return value
        at = parameter.to_unit(value)
        values = _grid_values(parameter, self.resolution)
        return min(values, key=lambda other: abs(parameter.to_unit(other) - at))


@dataclass(frozen=True)
class Grid:
    """The grid points of `space`; point k is `grid[k]`.

    Their number is `grid.size`, because it may be too large for `len`.
    """

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
            choice, context, index = self._descend(position, context, index)
            if choice != _INACTIVE:
                params[parameter.name] = self._values[position][choice]
        return {name: params[name] for name in self.space.names if name in params}

    def _descend(self, position: int, context: _Context, index: int) -> tuple[int, _Context, int]:
        """The choice at `position` for point `index`, the context after it, and the rest of it."""
        choices = self._choices(position, context)
        if not self._decides(position):
            below = self._after(position, context, choices[0])
            number, rest = divmod(index, self._count(position + 1, below))
            return choices[number], below, rest
        for choice in choices:
            below = self._after(position, context, choice)
            size = self._count(position + 1, below)
            if index < size:
                return choice, below, index
            index -= size
        raise IndexError(f"grid index out of range by {index}")

    @cached_property
    def _order(self) -> list[Parameter]:
        return _children_early(self.space)

    @cached_property
    def _values(self) -> list[list[Value]]:
        return [_grid_values(parameter, self.resolution) for parameter in self._order]

    @cached_property
    def _conditions(self) -> list[dict[str, set[int]]]:
        """By position: the parents' choices, by position, with which the parameter is active."""
        return [self.space.codes.allowed_choices(parameter.name) for parameter in self._order]

    @cached_property
    def _needed(self) -> list[set[str]]:
        """By position: the parameters on which later parameters depend."""
        needed: list[set[str]] = [set()]
        for parameter in reversed(self._order[1:]):
            needed.append(needed[-1] | parameter.when.keys())
        return needed[::-1]

    @cached_property
    def _counts(self) -> dict[tuple[int, _Context], int]:
        return {}

    def _count(self, position: int, context: _Context) -> int:
        """How many points there are below the choices made before `position`; memoised."""
        if position == len(self._order):
            return 1
        key = (position, context)
        if key not in self._counts:
            choices = self._choices(position, context)
            differing = choices if self._decides(position) else choices[:1]
            counts = [
                self._count(position + 1, self._after(position, context, choice))
                for choice in differing
            ]
            self._counts[key] = sum(counts) * len(choices) // len(differing)
        return self._counts[key]

    def _decides(self, position: int) -> bool:
        """Whether later parameters depend on the one at `position`."""
        return self._order[position].name in self._needed[position]

    def _choices(self, position: int, context: _Context) -> Sequence[int]:
        """Positions of the values that the parameter at `position` can take in a context."""
        chosen = dict(context)
        conditions = self._conditions[position]
        active = all(chosen[name] in allowed for name, allowed in conditions.items())
        return range(len(self._values[position])) if active else (_INACTIVE,)

    def _after(self, position: int, context: _Context, choice: int) -> _Context:
        """The context after a choice, without the parameters that no later one depends on."""
        extended = (*context, (self._order[position].name, choice))
        return tuple(item for item in extended if item[0] in self._needed[position])


def _grid_values(parameter: Parameter, resolution: int) -> list[Value]:
    if isinstance(parameter, Categorical):
        return list(parameter.choices)
    if parameter.n_levels is None:
        codes = np.linspace(0, 1, resolution) if resolution > 1 else np.array([0.5])
        return [parameter.from_unit(code) for code in codes.tolist()]
    if parameter.log:
        numbers = _spaced(int(parameter.low), int(parameter.high), resolution, log=True)
        return [*numbers]
    levels = _spaced(0, parameter.n_levels - 1, resolution)
    return [parameter.from_unit((level + 0.5) / parameter.n_levels) for level in levels]


def _spaced(first: int, last: int, most: int, *, log: bool = False) -> list[int]:
    """All whole numbers from `first` to `last`, or `most` of them at even distances."""
    if last - first < most:
        return list(range(first, last + 1))
    if most == 1:
        return [round(math.sqrt(first * last)) if log else (first + last) // 2]
    ideal = np.geomspace(first, last, most) if log else np.linspace(first, last, most)
    found = np.rint(ideal).astype(np.int64)
    found[0], found[-1] = first, last
    # On a log scale the first ones may be less than one apart.
    room = np.arange(most)
    found = np.maximum.accumulate(found - room) + room
    return [int(number) for number in np.minimum(found, last - room[::-1])]


def _children_early(space: SearchSpace) -> list[Parameter]:
    """Parents first, each child as early as possible, so that contexts stay small."""
    waiting = list(space.parameters)
    placed: dict[str, Parameter] = {}
    while waiting:
        ready = [parameter for parameter in waiting if parameter.when.keys() <= placed.keys()]
        chosen = max(ready, key=lambda parameter: bool(parameter.when))  # the first of equals
        waiting.remove(chosen)
        placed[chosen.name] = chosen
    return list(placed.values())


def spread(k: int, n: int) -> int:
    """The k-th number of a walk that visits 0 .. n-1 once each, far from its last steps."""
    step = max(round(n * _GOLDEN), 1)
    while math.gcd(step, n) != 1:
        step += 1
    return k * step % n
