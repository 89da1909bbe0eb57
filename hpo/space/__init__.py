"""Search spaces with conditions, and their encoding in the unit cube.

A space is a set of named parameters. A parameter with `when` is active only while each parent named
there is active and has one of the given values; conditions nest to any depth. Encoded
configurations are rows of the unit cube with `nan` where a parameter is inactive
(`hpo.space.parameters` defines the codes).
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from hpo.arrays import FloatArray
from hpo.errors import SpaceError, closest, raise_all
from hpo.space.layout import Layout
from hpo.space.parameters import (
    Categorical,
    Float,
    Integer,
    Parameter,
    Params,
    Value,
    log_middles,
    middles,
    same,
)

__all__ = [
    "FloatArray",
    "Categorical",
    "Float",
    "Integer",
    "Parameter",
    "Params",
    "SearchSpace",
    "Value",
]


@dataclass(frozen=True)
class SearchSpace:
    """Parameters in topological order: parents stand before the parameters that depend on them.

    Raises:
        SpaceError: naming every mistake: duplicate names, impossible bounds, conditions on unknown
            parameters or values, conditions in a circle.
    """

    parameters: tuple[Parameter, ...]

    def __post_init__(self) -> None:
        raise_all(SpaceError, self._mistakes())
        object.__setattr__(self, "parameters", tuple(_parents_first(self.parameters)))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names in the order of the encoded columns."""
        return tuple(parameter.name for parameter in self.parameters)

    @cached_property
    def _by_name(self) -> dict[str, Parameter]:
        return {parameter.name: parameter for parameter in self.parameters}

    @cached_property
    def n_levels(self) -> tuple[int | None, ...]:
        """Levels of each dimension; None where continuous."""
        return tuple(parameter.n_levels for parameter in self.parameters)

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
            raise SpaceError(f"unknown parameter {name!r}{closest(name, self.names)}")
        return self._by_name[name]

    def active(self, params: Params) -> tuple[str, ...]:
        """The names of the parameters that the values in `params` make active."""
        found: dict[str, Value | None] = {}
        for parameter in self.parameters:
            if not parameter.when or _holds(parameter, found):
                found[parameter.name] = params.get(parameter.name)
        return tuple(found)

    def validate(self, params: Params) -> None:
        """Check that `params` holds exactly the active parameters, each with a value of its domain.

        Raises:
            SpaceError: naming every mistake.
        """
        raise_all(SpaceError, self._params_mistakes(params))

    def sample(self, rng: np.random.Generator) -> dict[str, Value]:
        """One configuration, uniform in the unit cube."""
        return self.decode(self.sample_unit(rng, 1)[0])

    def sample_unit(self, rng: np.random.Generator, n: int) -> FloatArray:
        """`(n, d)` uniform codes, snapped, `nan` where inactive."""
        return self.deactivate(self.snap(rng.random((n, len(self)))))

    def encode(self, params: Params) -> FloatArray:
        """`(d,)` unit codes, `nan` where inactive or absent; values outside the bounds are clipped to them."""
        active = self.active(params)
        return np.array(
            [
                p.to_unit(params[p.name]) if p.name in active and p.name in params else np.nan
                for p in self.parameters
            ]
        )

    def decode(self, unit: FloatArray) -> dict[str, Value]:
        """The active parameters' values at the codes `(d,)`; codes of inactive dimensions are ignored."""
        params: dict[str, Value] = {}
        codes: list[float] = np.asarray(unit, dtype=float).tolist()
        for parameter, code in zip(self.parameters, codes, strict=True):
            if not math.isnan(code) and (not parameter.when or _holds(parameter, params)):
                params[parameter.name] = parameter.from_unit(code)
        return params

    def deactivate(self, unit: FloatArray) -> FloatArray:
        """Codes `(n, d)` with `nan` put where the conditions make a dimension inactive."""
        out = np.array(unit, dtype=float)
        for column, conditions in self._conditions:
            for parent, allowed in conditions:
                n = len(allowed) - 1  # what stands last is for inactive parents
                cells = np.minimum(np.fmax(out[:, parent] * n, -1), n - 1)
                out[~allowed[cells.astype(np.intp)], column] = np.nan
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
            SpaceError: for an unknown name, or bounds that are not inside the present ones.
        """
        return SearchSpace(
            tuple(_narrowed(self[p.name], changes.get(p.name)) for p in self._checked(changes))
        )

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """The space as plain values: `{name: {type, low, high, log, step, choices, when}}`."""
        return {parameter.name: _as_plain(parameter) for parameter in self.parameters}

    @classmethod
    def from_dict(cls, definition: Mapping[str, Any], source: str = "space") -> "SearchSpace":
        """The space that `definition` describes (see `hpo.space.yaml` for the form).

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
        from hpo.space.yaml import load, parse

        return parse(load(text, source), source)

    @cached_property
    def _conditions(
        self,
    ) -> list[tuple[int, list[tuple[int, np.ndarray[Any, np.dtype[np.bool_]]]]]]:
        """Per conditional column: parent columns, each with the mask of its allowed choices, and a False behind it."""
        rows = []
        for column, parameter in enumerate(self.parameters):
            parents = []
            for name, values in parameter.when.items():
                parent = self._by_name[name]
                choices = parent.choices if isinstance(parent, Categorical) else ()
                allowed = [any(same(choice, value) for value in values) for choice in choices]
                parents.append((self.names.index(name), np.array([*allowed, False])))
            if parents:
                rows.append((column, parents))
        return rows

    def _checked(self, changes: Mapping[str, object]) -> tuple[Parameter, ...]:
        raise_all(
            SpaceError,
            (
                f"unknown parameter {n!r}{closest(n, self.names)}"
                for n in changes
                if n not in self._by_name
            ),
        )
        return self.parameters

    def _params_mistakes(self, params: Params) -> Iterator[str]:
        active = self.active(params)
        for name, value in params.items():
            if name not in self._by_name:
                yield f"unknown parameter {name!r}{closest(name, self.names)}"
            elif name not in active:
                yield f"{name} is inactive here; it needs {_words(self._by_name[name])}"
            elif reason := self._by_name[name].why_not(value):
                yield reason
        yield from (f"{name} is missing" for name in active if name not in params)

    def _mistakes(self) -> Iterator[str]:
        by_name = {parameter.name: parameter for parameter in self.parameters}
        if len(by_name) < len(self.parameters):
            names = [parameter.name for parameter in self.parameters]
            yield f"names must differ, but {next(n for n in names if names.count(n) > 1)!r} stands twice"
        for parameter in self.parameters:
            yield from parameter.mistakes()
            for parent, values in parameter.when.items():
                yield from _condition_mistakes(parameter, parent, values, by_name)
        if stuck := _circle(self.parameters):
            yield f"conditions must not form a circle, but {', '.join(stuck)} depend on each other"


def _holds(parameter: Parameter, active: Mapping[str, Value | None]) -> bool:
    """Whether the conditions hold, given the values of the active parameters before it."""
    return all(
        parent in active and any(same(active[parent], value) for value in values)
        for parent, values in parameter.when.items()
    )


def _condition_mistakes(
    parameter: Parameter, parent: str, values: Iterable[Value], by_name: Mapping[str, Parameter]
) -> Iterator[str]:
    if parent not in by_name:
        yield f"{parameter.name}: condition on unknown parameter {parent!r}{closest(parent, by_name)}"
        return
    on = by_name[parent]
    if not isinstance(on, Categorical):
        yield f"{parameter.name}: a condition needs a categorical parent, but {parent} is a range"
        return
    for value in values:
        if on.index(value) < 0:
            known = ", ".join(map(repr, on.choices))
            hint = closest(str(value), map(str, on.choices))
            yield f"{parameter.name}: condition on unknown value {value!r} of {parent}{hint} (it has {known})"


def _circle(parameters: Iterable[Parameter]) -> list[str]:
    """Names that cannot be ordered parents first."""
    waiting = {p.name: set(p.when) for p in parameters}
    while ready := [name for name, parents in waiting.items() if not parents & waiting.keys()]:
        for name in ready:
            del waiting[name]
    return sorted(waiting)


def _parents_first(parameters: Iterable[Parameter]) -> Iterator[Parameter]:
    waiting = {p.name: p for p in parameters}
    while waiting:
        ready = next(p for p in waiting.values() if not p.when.keys() & waiting.keys())
        yield waiting.pop(ready.name)


def _words(parameter: Parameter) -> str:
    return " and ".join(f"{parent} in {list(values)}" for parent, values in parameter.when.items())


def _narrowed(parameter: Parameter, change: Mapping[str, Any] | Value | None) -> Parameter:
    if change is None:
        return parameter
    if not isinstance(change, Mapping):
        if reason := parameter.why_not(change):
            raise SpaceError(reason)
        return Categorical(parameter.name, (change,), parameter.when)
    for bound in change.values():
        for value in bound if isinstance(bound, list | tuple) else (bound,):
            if reason := parameter.why_not(value):
                raise SpaceError(reason)
    if "choices" in change:
        change = {**change, "choices": tuple(change["choices"])}
    return replace(parameter, **change)


def _as_plain(parameter: Parameter) -> dict[str, Any]:
    plain: dict[str, Any] = {"type": type(parameter).__name__.lower()}
    if isinstance(parameter, Categorical):
        plain["choices"] = list(parameter.choices)
    else:
        plain |= {"low": parameter.low, "high": parameter.high}
        if parameter.log:
            plain["log"] = True
        if parameter.step not in (None, 1) or (
            isinstance(parameter, Float) and parameter.step is not None
        ):
            plain["step"] = parameter.step
    if parameter.when:
        plain["when"] = {parent: list(values) for parent, values in parameter.when.items()}
    return plain
