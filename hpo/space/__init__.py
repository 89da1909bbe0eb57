"""Search spaces with conditions, and their encoding in the unit cube.

A space is a set of named parameters. A parameter with `when` is active only if each parent named
there is active and has one of the given values; conditions may be nested. Encoded configurations
are rows of the unit cube with `nan` where a parameter is inactive (`hpo.space.parameters` defines
the codes). Combinations of values can be forbidden (`hpo.space.forbidden`): draws leave them out.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from hpo.arrays import BoolArray, FloatArray
from hpo.errors import SpaceError, closest, raise_all
from hpo.space.checks import parents_first, space_mistakes
from hpo.space.forbidden import Forbidden, Test, holds
from hpo.space.layout import Layout
from hpo.space.parameters import (
    Categorical,
    Float,
    Integer,
    Parameter,
    Params,
    Value,
    When,
    log_middles,
    middles,
    same,
)

__all__ = [
    "FloatArray",
    "Categorical",
    "Float",
    "Forbidden",
    "Integer",
    "Parameter",
    "Params",
    "SearchSpace",
    "Value",
]


FORBIDDEN = "forbidden"  # the name of the combinations among plain values
_TRIED = 10_000  # random configurations, to see whether any is allowed
_DRAWN = 200_000  # random configurations, to find as many allowed ones as are needed


@dataclass(frozen=True)
class SearchSpace:
    """Parameters in topological order: parents come before the parameters that depend on them.

    Attributes:
        parameters: of the space.
        forbidden: combinations of their values that are never tried.

    Raises:
        SpaceError: naming every mistake: duplicate names, invalid bounds, conditions on unknown
            parameters or values, cyclic conditions, or when practically everything is forbidden.
    """

    parameters: tuple[Parameter, ...]
    forbidden: tuple[Forbidden, ...] = ()

    def __post_init__(self) -> None:
        raise_all(SpaceError, space_mistakes(self.parameters, self.forbidden))
        object.__setattr__(self, "parameters", tuple(parents_first(self.parameters)[0]))
        if self.forbidden:
            self._allowed_unit(np.random.default_rng(0), 1, _TRIED)

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: what is computed from them cannot all be pickled."""
        return {"parameters": self.parameters, "forbidden": self.forbidden}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names in the order of the encoded columns."""
        return tuple(parameter.name for parameter in self.parameters)

    @cached_property
    def layout(self) -> Layout:
        """The columns by kind."""
        return Layout(self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self.parameters)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Parameter:
        if name not in self._by_name:
            raise SpaceError(self._unknown(name))
        return self._by_name[name]

    def active(self, params: Params) -> tuple[str, ...]:
        """The names of the parameters that are active given the values in `params`."""
        found: dict[str, Value | None] = {}
        for parameter in self.parameters:
            if _holds(parameter.when, found):
                found[parameter.name] = params.get(parameter.name)
        return tuple(found)

    def allowed_choices(self, name: str) -> dict[str, set[int]]:
        """For each parent of a parameter, the positions of the choices with which it is active."""
        return {
            parent: set(map(self._categoricals[parent].index, values))
            for parent, values in self[name].when.items()
        }

    def validate(self, params: Params) -> None:
        """Check that `params` holds exactly the active parameters, each with a valid value.

        Raises:
            SpaceError: naming every mistake.
        """
        raise_all(SpaceError, self._params_mistakes(params))

    def sample(self, rng: np.random.Generator) -> dict[str, Value]:
        """One configuration, uniform in the unit cube."""
        return self.decode(self.sample_unit(rng, 1)[0])

    def sample_unit(self, rng: np.random.Generator, n: int) -> FloatArray:
        """`(n, d)` uniform codes of allowed values, `nan` where inactive.

        Raises:
            SpaceError: when practically everything is forbidden.
        """
        return self._allowed_unit(rng, n, _DRAWN) if self.forbidden else self._any_unit(rng, n)

    def _any_unit(self, rng: np.random.Generator, n: int) -> FloatArray:
        return self.deactivate(self.snap(rng.random((n, len(self)))))

    def _allowed_unit(self, rng: np.random.Generator, n: int, most: int) -> FloatArray:
        """`(n, d)` allowed ones of at most `most` draws."""
        found, drawn = np.empty((0, len(self))), 0
        while len(found) < n and drawn < max(most, n):
            size = min(max(n, 2 * drawn), most)
            draws = self._any_unit(rng, size)
            found = np.concatenate([found, draws[self.allowed_codes(draws)]])
            drawn += size
        if len(found) < n:
            raise SpaceError(
                f"forbidden: practically nothing is left, {len(found)} of {drawn:,} random "
                "configurations are allowed; forbid less, or narrow the ranges instead"
            )
        return found[:n]

    def allowed(self, params: Params) -> bool:
        """Whether a configuration has no forbidden combination."""
        return not any(holds(tests, params) for tests in self._tests)

    def allowed_codes(self, unit: FloatArray) -> BoolArray:
        """`(n,)` whether codes `(n, d)` have no forbidden combination."""
        found = np.ones(len(unit), dtype=bool)
        for tests in self._tests:
            rows = np.flatnonzero(found)
            for name, test in tests.items():
                column, from_unit = self.names.index(name), self[name].from_unit
                codes = unit[rows, column].tolist()
                rows = rows[[not math.isnan(u) and test(from_unit(u)) for u in codes]]
            found[rows] = False
        return found

    def encode(self, params: Params) -> FloatArray:
        """`(d,)` unit codes, `nan` where inactive or absent; values are clipped to the bounds."""
        codes = np.full(len(self), np.nan)
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
            if not math.isnan(code) and _holds(parameter.when, params):
                params[parameter.name] = parameter.from_unit(code)
        return params

    def deactivate(self, unit: FloatArray) -> FloatArray:
        """Codes `(n, d)`, with `nan` where the conditions make a dimension inactive."""
        out = np.array(unit, dtype=float)
        for column, parent, allowed in self._conditions:
            n = len(allowed) - 1
            choices = np.minimum(np.fmax(out[:, parent] * n, -1), n - 1)  # -1 where inactive
            out[~allowed[choices.astype(np.intp)], column] = np.nan
        return out

    def snap(self, unit: FloatArray) -> FloatArray:
        """Codes `(n, d)` moved to the codes of the nearest representable values; `nan` stays."""
        out = np.array(unit, dtype=float)
        columns, n_levels = self.layout.even
        out[:, columns] = middles(out[:, columns], n_levels)
        columns, low, high = self.layout.log_integers
        out[:, columns] = log_middles(out[:, columns], low, high)
        return out

    def restrict(self, **changes: Mapping[str, Any] | Value) -> "SearchSpace":
        """A smaller space: `name=value` fixes a parameter, `name={"low": …, "high": …}` narrows it.

        Raises:
            SpaceError: for an unknown name, or values outside the present domain.
        """
        raise_all(SpaceError, (self._unknown(name) for name in changes if name not in self))
        changed = {name: _restricted(self[name], change) for name, change in changes.items()}
        return self.with_parameters(tuple(changed.get(p.name, p) for p in self.parameters))

    def with_parameters(self, parameters: tuple[Parameter, ...]) -> "SearchSpace":
        """The space with other ranges or choices, and what is still possible of the forbidden."""
        by_name = {parameter.name: parameter for parameter in parameters}
        kept = (each.within(by_name) for each in self.forbidden)
        return SearchSpace(parameters, tuple(each for each in kept if each is not None))

    def to_dict(self) -> dict[str, Any]:
        """The space as plain values: `{name: {type, low, high, log, step, choices, when}}`.

        Forbidden combinations are a list under the name `forbidden`.
        """
        found: dict[str, Any] = {each.name: each.to_dict() for each in self.parameters}
        if self.forbidden:
            found[FORBIDDEN] = [each.to_dict() for each in self.forbidden]
        return found

    @classmethod
    def from_dict(cls, definition: Mapping[str, Any], source: str = "space") -> "SearchSpace":
        """The space that `definition` describes; see `hpo.space.yaml` for the format.

        Raises:
            SpaceError: naming every mistake and `source`.
        """
        from hpo.space.yaml import parse

        return parse(definition, source)

    def to_yaml(self) -> str:
        """The space as YAML, readable by `from_yaml`."""
        from hpo.space.yaml import dump

        return dump(self.to_dict())

    @classmethod
    def from_yaml(cls, text: str, source: str = "space") -> "SearchSpace":
        """The space written in YAML 1.2.

        Raises:
            SpaceError: naming every mistake and `source`.
        """
        from hpo.space.yaml import lines, load, parse

        return parse(load(text, source), source, lambda: lines(text))

    @cached_property
    def _tests(self) -> list[dict[str, Test]]:
        return [each.tests(self._by_name) for each in self.forbidden]

    @cached_property
    def _by_name(self) -> dict[str, Parameter]:
        return {parameter.name: parameter for parameter in self.parameters}

    @cached_property
    def _categoricals(self) -> dict[str, Categorical]:
        return {p.name: p for p in self.parameters if isinstance(p, Categorical)}

    @cached_property
    def _conditions(self) -> list["_Condition"]:
        """All conditions, in the order of the columns."""
        found = []
        for column, name in enumerate(self.names):
            for parent, choices in self.allowed_choices(name).items():
                allowed = np.zeros(self._categoricals[parent].n_levels + 1, dtype=bool)
                allowed[list(choices)] = True
                found.append(_Condition(column, self.names.index(parent), allowed))
        return found

    def _unknown(self, name: str) -> str:
        return f"unknown parameter {name!r}{closest(name, self.names)}"

    def _params_mistakes(self, params: Params) -> Iterator[str]:
        active = self.active(params)
        for name, value in params.items():
            if name not in self:
                yield self._unknown(name)
            elif name not in active:
                yield f"{name} is inactive here; it needs {_describe(self[name].when)}"
            elif reason := self[name].why_not(value):
                yield reason
        yield from (f"{name} is missing" for name in active if name not in params)
        for each, tests in zip(self.forbidden, self._tests, strict=True):
            if holds(tests, params):
                yield f"{each} is forbidden"


class _Condition(NamedTuple):
    """A dimension is active if its parent has an allowed choice.

    `allowed` `(n_choices + 1,)` says so for each choice; its last element, which index -1 refers
    to, is False: for an inactive parent.
    """

    column: int
    parent: int
    allowed: BoolArray


def _holds(when: When, active: Mapping[str, Value | None]) -> bool:
    """Whether the conditions hold, given the values of the active parents."""
    for parent, values in when.items():
        if parent not in active or not any(same(active[parent], value) for value in values):
            return False
    return True


def _describe(when: When) -> str:
    return " and ".join(f"{parent} in {list(values)}" for parent, values in when.items())


def _restricted(parameter: Parameter, change: Mapping[str, Any] | Value) -> Parameter:
    if not isinstance(change, Mapping):
        _check_value(parameter, change)
        return Categorical(parameter.name, (change,), parameter.when)
    if "choices" in change:
        change = {**change, "choices": tuple(change["choices"])}
    for values in change.values():
        for value in values if isinstance(values, list | tuple) else (values,):
            _check_value(parameter, value)
    return replace(parameter, **change)


def _check_value(parameter: Parameter, value: object) -> None:
    reason = parameter.why_not(value)
    if reason is not None:
        raise SpaceError(reason)
