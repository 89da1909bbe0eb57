"""Search spaces with conditions, and their encoding in the unit cube.

A space is a set of named parameters. A parameter with `when` is active only if each parent named
there is active and has one of the given values; conditions may be nested. Encoded configurations
are rows of the unit cube with `nan` where a parameter is inactive (`hpo.space.parameters` defines
the codes). Combinations of values can be forbidden (`hpo.space.forbidden`): draws leave them out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hpo.arrays import FloatArray
from hpo.errors import SpaceError, closest, raise_all
from hpo.space.checks import parents_first, space_mistakes
from hpo.space.encoding import TRIED, Encoding
from hpo.space.forbidden import Forbidden, holds
from hpo.space.layout import Layout
from hpo.space.parameters import Categorical, Float, Integer, Parameter, Params, Value, When
from hpo.space.prior import Belief, Prior

__all__ = [
    "FloatArray",
    "Categorical",
    "Float",
    "Forbidden",
    "Integer",
    "Parameter",
    "Params",
    "Prior",
    "SearchSpace",
    "Value",
]


FORBIDDEN = "forbidden"  # the name of the combinations among plain values


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
            self.codes.sample(np.random.default_rng(0), 1, TRIED)

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: what is computed from them cannot all be pickled."""
        return {"parameters": self.parameters, "forbidden": self.forbidden}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names in the order of the encoded columns."""
        return tuple(parameter.name for parameter in self.parameters)

    @cached_property
    def codes(self) -> Encoding:
        """Configurations as rows of the unit cube: many at once, and random ones."""
        return Encoding(self.parameters, self.forbidden)

    @cached_property
    def belief(self) -> Belief | None:
        """What a user believes of good values; None for nothing."""
        believed = any(parameter.prior is not None for parameter in self.parameters)
        return Belief(self.parameters) if believed else None

    @property
    def layout(self) -> Layout:
        """The columns by kind."""
        return self.codes.layout

    def __len__(self) -> int:
        return len(self.parameters)

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self.parameters)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Parameter:
        if name not in self._by_name:
            raise SpaceError(unknown(self, name))
        return self._by_name[name]

    def active(self, params: Params) -> tuple[str, ...]:
        """The names of the parameters that are active given the values in `params`."""
        return self.codes.active(params)

    def allowed(self, params: Params) -> bool:
        """Whether a configuration has no forbidden combination."""
        return self.codes.is_allowed(params)

    def validate(self, params: Params) -> None:
        """Check that `params` holds exactly the active parameters, each with a valid value.

        Raises:
            SpaceError: naming every mistake.
        """
        raise_all(SpaceError, _params_mistakes(self, params))

    def sample(self, rng: np.random.Generator) -> dict[str, Value]:
        """One configuration, uniform in the unit cube."""
        return self.decode(self.codes.sample(rng, 1)[0])

    def encode(self, params: Params) -> FloatArray:
        """`(d,)` unit codes, `nan` where inactive or absent; values are clipped to the bounds."""
        return self.codes.encode(params)

    def decode(self, unit: FloatArray) -> dict[str, Value]:
        """The active parameters' values at codes `(d,)`; other codes are ignored."""
        return self.codes.decode(unit)

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

    @cached_property
    def _by_name(self) -> dict[str, Parameter]:
        return {parameter.name: parameter for parameter in self.parameters}


def unknown(space: SearchSpace, name: str) -> str:
    """The message about a name that no parameter of the space has."""
    return f"unknown parameter {name!r}{closest(name, space.names)}"


def _params_mistakes(space: SearchSpace, params: Params) -> Iterator[str]:
    active = space.active(params)
    for name, value in params.items():
        if name not in space:
            yield unknown(space, name)
        elif name not in active:
            yield f"{name} is inactive here; it needs {_describe(space[name].when)}"
        elif reason := space[name].why_not(value):
            yield reason
    yield from (f"{name} is missing" for name in active if name not in params)
    for each, tests in zip(space.forbidden, space.codes.tests, strict=True):
        if holds(tests, params):
            yield f"{each} is forbidden"


def _describe(when: When) -> str:
    return " and ".join(f"{parent} in {list(values)}" for parent, values in when.items())
