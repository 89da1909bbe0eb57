"""Forbidden combinations: values of several parameters that are never tried together.

A combination maps parameters to values, and is violated while all of them are active with one of
these values. A value is one that the parameter can take; for a range, and for choices that are
numbers, also comparisons as text: `>6`, or `>=2 <8`, which must all hold. Combinations are data, so
that they can be stored and read; nothing in them is evaluated.

The counterparts are ConfigSpace's forbidden clauses. Optuna has constraints on results only.
"""

import itertools
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hpo.errors import closest
from hpo.space.parameters import Categorical, Float, Integer, Parameter, Params, Value, plain, same

_COMPARISON = re.compile(r"(<=|>=|<|>)\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_FORM = 'a comparison such as ">6" or ">=2 <8"'

Test = Callable[[Value], bool]


@dataclass(frozen=True)
class Forbidden:
    """A combination that is never tried.

    Attributes:
        values: of each parameter that it names; any of them.
    """

    values: Mapping[str, tuple[Value, ...]]

    @classmethod
    def of(cls, written: Mapping[str, Any]) -> "Forbidden":
        """The combination that maps each parameter to a value, or to a list of values."""
        return cls(
            {
                str(name): tuple(map(plain, v)) if isinstance(v, list | tuple) else (plain(v),)
                for name, v in written.items()
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """What `of` reads."""
        return {name: v[0] if len(v) == 1 else list(v) for name, v in self.values.items()}

    def __str__(self) -> str:
        """The combination in words."""
        parts = []
        for name, values in self.values.items():
            texts = [v if isinstance(v, str) else repr(v) for v in values]
            if any(map(_is_comparison, texts)):
                texts = [t if _is_comparison(t) else f"={t}" for t in texts]
                parts.append(" or ".join(f"{name}{text}" for text in texts))
            else:
                parts.append(f"{name}={' or '.join(texts)}")
        return " and ".join(parts)

    def mistakes(self, parameters: Mapping[str, Parameter]) -> Iterator[str]:
        """Everything that is wrong with it in a space of these parameters."""
        if not self.values:
            yield "forbidden: a combination must name at least one parameter, such as {x: 1}"
        for name, values in self.values.items():
            if name not in parameters:
                yield f"forbidden: unknown parameter {name!r}{closest(name, parameters)}"
                continue
            if not values:
                yield f"forbidden: {name} has no value; give one, or a list of several"
            for value in values:
                if (reason := _why_not(parameters[name], value)) is not None:
                    yield f"forbidden: {reason}"

    def within(self, parameters: Mapping[str, Parameter]) -> "Forbidden | None":
        """The combination with the values that these parameters can still take.

        Returns:
            None when it can never be violated.
        """
        kept = {
            name: tuple(v for v in values if _why_not(parameters[name], v) is None)
            for name, values in self.values.items()
        }
        return Forbidden(kept) if all(kept.values()) else None

    def tests(self, parameters: Mapping[str, Parameter]) -> dict[str, Test]:
        """By parameter: whether a value of it is one of those here."""
        return {name: _test(parameters[name], values) for name, values in self.values.items()}


def combination_mistakes(written: Any) -> Iterator[str]:
    """What is wrong with the form of `forbidden`, which lists mappings of parameters to values."""
    form = 'forbidden: give a list of combinations, each a mapping such as {x: 1, y: ">6"}'
    if isinstance(written, Mapping):
        yield f"{form}; for this one write [{dict(written)!r:.80}]"
        return
    for each in written:
        if not isinstance(each, Mapping):
            yield f"{form}, but one is {each!r:.80}"


def holds(tests: Mapping[str, Test], params: Params) -> bool:
    """Whether a configuration has the combination of these tests."""
    return all(name in params and test(params[name]) for name, test in tests.items())


def _test(parameter: Parameter, values: tuple[Value, ...]) -> Test:
    tests = [_single(parameter, value) for value in values]
    return lambda value: any(test(value) for test in tests)


def _single(parameter: Parameter, given: Value) -> Test:
    if isinstance(parameter, Categorical) and parameter.index(given) >= 0:
        return lambda value: same(value, given)
    if isinstance(given, str):
        bounds = [(_OPERATORS[sign], float(number)) for sign, number in _COMPARISON.findall(given)]
        return lambda value: (
            _is_number(value) and all(compare(float(value), at) for compare, at in bounds)
        )
    at = float(given)
    return lambda value: _is_number(value) and math.isclose(float(value), at, rel_tol=1e-9)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _why_not(parameter: Parameter, value: Value) -> str | None:
    """Why a parameter never has a value; None if it can."""
    name, is_comparison = parameter.name, isinstance(value, str) and _is_comparison(value)
    if isinstance(parameter, Categorical):
        if parameter.index(value) >= 0:
            return None
        if is_comparison and all(map(_is_number, parameter.choices)):
            return None
        hint = closest(str(value), map(str, parameter.choices))
        return f"{parameter.why_not(value)}{hint}"
    if is_comparison:
        never = not _can_hold(parameter, str(value))
        return f"{name}{value} never holds in {_range(parameter)}" if never else None
    if isinstance(value, str):
        return f"{name}={value!r} must be a number of its range, or {_FORM}"
    if (reason := parameter.why_not(value)) is not None:
        return reason
    if parameter.n_levels is None:
        return f"{name}={value}: a continuous range hardly ever takes one value; give {_FORM}"
    return None


def _range(parameter: Float | Integer) -> str:
    return f"[{parameter.low:g}, {parameter.high:g}]"


def _can_hold(parameter: Float | Integer, text: str) -> bool:
    """Whether comparisons hold for some value of a range."""
    test = _single(parameter, text)
    marks = [float(number) for _, number in _COMPARISON.findall(text)]
    points = sorted({*(parameter.low, parameter.high), *marks})
    middles = [(a + b) / 2 for a, b in itertools.pairwise(points)]
    steps = [round(at) + step for at in points for step in (-1, 0, 1)]
    tried = steps if isinstance(parameter, Integer) else [*points, *middles]
    return any(test(at) for at in tried if parameter.low <= at <= parameter.high)


def _is_comparison(text: str) -> bool:
    return bool(text.strip()) and not _COMPARISON.sub("", text).strip()
