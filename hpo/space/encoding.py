"""Configurations as rows of the unit cube, with `nan` where a parameter is inactive."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from hpo.arrays import BoolArray, FloatArray
from hpo.errors import SpaceError
from hpo.space.forbidden import Forbidden, Test, holds
from hpo.space.layout import Layout
from hpo.space.parameters import (
    Categorical,
    Parameter,
    Params,
    Value,
    When,
    log_middles,
    middles,
    same,
)

TRIED = 10_000  # random configurations, to see whether any is allowed
_DRAWN = 200_000  # random configurations, to find as many allowed ones as are needed


@dataclass(frozen=True)
class Encoding:
    """The codes of a space's configurations: one column for each parameter, parents first.

    `hpo.space.parameters` defines the codes of the values.
    """

    parameters: tuple[Parameter, ...]
    forbidden: tuple[Forbidden, ...] = ()

    @cached_property
    def layout(self) -> Layout:
        """The columns by kind."""
        return Layout(self.parameters)

    @cached_property
    def tests(self) -> list[dict[str, Test]]:
        """For each forbidden combination, whether a value of a parameter belongs to it."""
        by_name = {parameter.name: parameter for parameter in self.parameters}
        return [each.tests(by_name) for each in self.forbidden]

    def active(self, params: Params) -> tuple[str, ...]:
        """The names of the parameters that are active given the values in `params`."""
        found: dict[str, Value | None] = {}
        for parameter in self.parameters:
            if _is_met(parameter.when, found):
                found[parameter.name] = params.get(parameter.name)
        return tuple(found)

    def encode(self, params: Params) -> FloatArray:
        """`(d,)` unit codes, `nan` where inactive or absent; values are clipped to the bounds."""
        codes = np.full(len(self.parameters), np.nan)
        active = set(self.active(params)) & params.keys()
        for column, parameter in enumerate(self.parameters):
            if parameter.name in active:
                codes[column] = parameter.to_unit(params[parameter.name])
        return codes

    def decode(self, unit: FloatArray) -> dict[str, Value]:
        """The active parameters' values at codes `(d,)`; other codes are ignored."""
        params: dict[str, Value] = {}
        codes: list[float] = np.asarray(unit, dtype=float).tolist()
        for parameter, code in zip(self.parameters, codes, strict=True):
            if not math.isnan(code) and _is_met(parameter.when, params):
                params[parameter.name] = parameter.from_unit(code)
        return params

    def snap(self, unit: FloatArray) -> FloatArray:
        """Codes `(n, d)` moved to the codes of the nearest representable values; `nan` stays."""
        out = np.array(unit, dtype=float)
        columns, n_levels = self.layout.even
        out[:, columns] = middles(out[:, columns], n_levels)
        columns, low, high = self.layout.log_integers
        out[:, columns] = log_middles(out[:, columns], low, high)
        return out

    def deactivate(self, unit: FloatArray) -> FloatArray:
        """Codes `(n, d)`, with `nan` where the conditions make a dimension inactive."""
        out = np.array(unit, dtype=float)
        for column, parent, allowed in self._conditions:
            n = len(allowed) - 1
            choices = np.minimum(np.fmax(out[:, parent] * n, -1), n - 1)  # -1 where inactive
            out[~allowed[choices.astype(np.intp)], column] = np.nan
        return out

    def allowed(self, unit: FloatArray) -> BoolArray:
        """`(n,)` whether codes `(n, d)` have no forbidden combination."""
        found = np.ones(len(unit), dtype=bool)
        for tests in self.tests:
            rows = np.flatnonzero(found)
            for name, test in tests.items():
                column = self._columns[name]
                from_unit = self.parameters[column].from_unit
                codes = unit[rows, column].tolist()
                rows = rows[[not math.isnan(u) and test(from_unit(u)) for u in codes]]
            found[rows] = False
        return found

    def sample(self, rng: np.random.Generator, n: int, most: int = _DRAWN) -> FloatArray:
        """`(n, d)` uniform codes of allowed values, `nan` where inactive.

        Args:
            rng: the random generator.
            n: how many.
            most: how many to draw where combinations are forbidden.

        Raises:
            SpaceError: when practically everything is forbidden.
        """
        if not self.forbidden:
            return self._uniform(rng, n)
        found, drawn = np.empty((0, len(self.parameters))), 0
        while len(found) < n and drawn < max(most, n):
            size = min(max(n, 2 * drawn), most)
            draws = self._uniform(rng, size)
            found = np.concatenate([found, draws[self.allowed(draws)]])
            drawn += size
        if len(found) < n:
            raise SpaceError(
                f"forbidden: practically nothing is left, {len(found)} of {drawn:,} random "
                "configurations are allowed; forbid less, or narrow the ranges instead"
            )
        return found[:n]

    def _uniform(self, rng: np.random.Generator, n: int) -> FloatArray:
        return self.deactivate(self.snap(rng.random((n, len(self.parameters)))))

    def allowed_choices(self, name: str) -> dict[str, set[int]]:
        """For each parent of a parameter, the positions of the choices with which it is active."""
        found: dict[str, set[int]] = {}
        for parent, values in self.parameters[self._columns[name]].when.items():
            on = self.parameters[self._columns[parent]]
            if isinstance(on, Categorical):
                found[parent] = set(map(on.index, values))
        return found

    @cached_property
    def _columns(self) -> dict[str, int]:
        return {parameter.name: column for column, parameter in enumerate(self.parameters)}

    @cached_property
    def _conditions(self) -> list["_Condition"]:
        """All conditions, in the order of the columns."""
        found = []
        for name, column in self._columns.items():
            for parent, choices in self.allowed_choices(name).items():
                of_parent = self._columns[parent]
                allowed = np.zeros((self.parameters[of_parent].n_levels or 0) + 1, dtype=bool)
                allowed[list(choices)] = True
                found.append(_Condition(column, of_parent, allowed))
        return found

    def is_allowed(self, params: Params) -> bool:
        """Whether a configuration has no forbidden combination."""
        return not any(holds(tests, params) for tests in self.tests)


class _Condition(NamedTuple):
    """A dimension is active if its parent has an allowed choice.

    `allowed` `(n_choices + 1,)` says so for each choice; its last element, which index -1 refers
    to, is False: for an inactive parent.
    """

    column: int
    parent: int
    allowed: BoolArray


def _is_met(when: When, active: Mapping[str, Value | None]) -> bool:
    """Whether the conditions hold, given the values of the active parents."""
    for parent, values in when.items():
        if parent not in active or not any(same(active[parent], value) for value in values):
            return False
    return True
