"""The three kinds of parameters and their unit codes.

A unit code lies in [0, 1]. A continuous parameter maps linearly (or logarithmically) onto the whole
interval. A parameter with m levels divides it into m cells: the code of level i is the middle of
the i-th cell, and any number in the cell decodes to it. The cell of a logarithmic integer k spans
[log(k - 1/2), log(k + 1/2)], so that uniform codes are log-uniform integers.

NumPy's scalars become Python's, so that a space can be written and compared.
"""

import math
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from hpo.arrays import FloatArray
from hpo.space.prior import Prior

Value: TypeAlias = bool | int | float | str
Params: TypeAlias = Mapping[str, Value]
When: TypeAlias = Mapping[str, tuple[Value, ...]]

# Codes are floats, which keep so many levels apart. The limit leaves room for rounding, also of the
# logarithms of whole numbers.
MAX_LEVELS = 2**44


def plain(value: Any) -> Any:
    """A NumPy scalar as Python's own number, text or truth value; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def same(a: object, b: object) -> bool:
    """Equality that keeps `True`, `1` and `"1"` apart but lets `1` equal `1.0`."""
    return identity(plain(a)) == identity(plain(b))


def identity(value: object) -> tuple[bool, object]:
    """What is equal for values that are the same, as a key of dictionaries."""
    return isinstance(value, bool), value


def _is_finite_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond the floats
        return False


@dataclass(frozen=True)
class Float:
    """A real number in [`low`, `high`], on a log scale if `log`.

    With `step`, only `low`, `low + step`, … are possible. `prior` is what a user believes of it
    (`hpo.space.prior`).
    """

    name: str
    low: float
    high: float
    log: bool = False
    step: float | None = None
    when: When = field(default_factory=dict)
    prior: Prior | None = None

    def __post_init__(self) -> None:
        _make_plain(self, "low", "high", "log", "step")

    @property
    def n_levels(self) -> int | None:
        """The number of grid points; None if the parameter is continuous."""
        if self.step is None:
            return None
        return math.floor((self.high - self.low) / self.step + 1e-9) + 1

    def mistakes(self) -> Iterator[str]:
        """Everything that is wrong with this definition."""
        yield from _range_mistakes(self)

    def to_unit(self, value: Value) -> float:
        """The unit code of `value`, clipped to the bounds."""
        number = min(max(float(value), self.low), self.high)
        if self.step is not None:
            return (round((number - self.low) / self.step) + 0.5) / (self.n_levels or 1)
        if self.log:
            first, last = math.log(self.low), math.log(self.high)
            return (math.log(number) - first) / (last - first)
        return (number - self.low) / (self.high - self.low)

    def from_unit(self, unit: float) -> float:
        """The value at a unit code."""
        if self.step is not None:
            number = self.low + self.step * _cell(unit, self.n_levels or 1)
        elif self.log:
            number = self.low ** (1 - unit) * self.high**unit
        else:
            number = self.low + (self.high - self.low) * unit
        return float(min(max(number, self.low), self.high))

    def snap(self, unit: FloatArray) -> FloatArray:
        """Codes `(n,)` moved to the nearest representable code."""
        return unit if self.n_levels is None else middles(unit, self.n_levels)

    def why_not(self, value: object) -> str | None:
        """Why `value` is invalid for this parameter; None if it is valid."""
        return _outside(self, value)

    def to_dict(self) -> dict[str, Any]:
        """The definition as plain values, without the name."""
        step = {} if self.step is None else {"step": self.step}
        return {"type": "float", **_bounds(self), **step, **_more(self)}


@dataclass(frozen=True)
class Integer:
    """A whole number in [`low`, `high`]: on a log scale if `log`, else every `step`-th."""

    name: str
    low: int
    high: int
    log: bool = False
    step: int = 1
    when: When = field(default_factory=dict)
    prior: Prior | None = None

    def __post_init__(self) -> None:
        _make_plain(self, "low", "high", "log", "step")

    @property
    def n_levels(self) -> int:
        """The number of possible values."""
        return (self.high - self.low) // self.step + 1

    def mistakes(self) -> Iterator[str]:
        """Everything that is wrong with this definition."""
        for number in (self.low, self.high, self.step):
            if isinstance(number, bool) or not isinstance(number, int):
                yield (
                    f"{self.name}: bounds and step of an integer must be whole numbers, "
                    f"but got {number!r}"
                )
                return
        if max(abs(self.low), abs(self.high), abs(self.step)) > MAX_LEVELS:
            yield (
                f"{self.name}: bounds and step of an integer must lie within ±2^44 (1.8e13); "
                "for larger numbers take a float"
            )
            return
        yield from _range_mistakes(self)

    def to_unit(self, value: Value) -> float:
        """The unit code of `value`, clipped to the bounds and rounded to the grid."""
        number = min(max(float(value), self.low), self.high)
        if self.log:
            first, last = self._log_ends
            return (math.log(round(number)) - first) / (last - first)
        return (round((number - self.low) / self.step) + 0.5) / self.n_levels

    def from_unit(self, unit: float) -> int:
        """The value at a unit code."""
        if self.log:
            first, last = self._log_ends
            return min(max(round(math.exp(first + unit * (last - first))), self.low), self.high)
        return self.low + self.step * _cell(unit, self.n_levels)

    def snap(self, unit: FloatArray) -> FloatArray:
        """Codes `(n,)` moved to the nearest representable code."""
        return log_middles(unit, self.low, self.high) if self.log else middles(unit, self.n_levels)

    def why_not(self, value: object) -> str | None:
        """Why `value` is invalid for this parameter; None if it is valid."""
        value = plain(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            return f"{self.name}={value!r} must be a whole number"
        return _outside(self, value)

    def to_dict(self) -> dict[str, Any]:
        """The definition as plain values, without the name."""
        step = {} if self.step == 1 else {"step": self.step}
        return {"type": "integer", **_bounds(self), **step, **_more(self)}

    @property
    def _log_ends(self) -> tuple[float, float]:
        return math.log(self.low - 0.5), math.log(self.high + 0.5)


@dataclass(frozen=True)
class Categorical:
    """One of `choices`: strings, numbers or booleans, without order."""

    name: str
    choices: tuple[Value, ...]
    when: When = field(default_factory=dict)
    prior: Prior | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", tuple(map(plain, self.choices)))
        _make_plain(self)

    @property
    def n_levels(self) -> int:
        """The number of choices."""
        return len(self.choices)

    def mistakes(self) -> Iterator[str]:
        """Everything that is wrong with this definition."""
        if not self.choices:
            yield f"{self.name}: a categorical needs at least one choice, but got none"
        for i, choice in enumerate(self.choices):
            if not isinstance(choice, bool | int | float | str):
                yield f"{self.name}: choice {choice!r} must be a string, a number or a boolean"
            elif choice != choice:
                yield f"{self.name}: choice {choice!r} must be a number"
            elif self.index(choice) != i:
                yield f"{self.name}: choices must differ, but {choice!r} occurs twice"

    def index(self, value: object) -> int:
        """The position of `value` among the choices; -1 if it is not one of them."""
        value = plain(value)
        try:
            return self._positions.get(identity(value), -1)
        except TypeError:  # a list is no choice
            return -1

    @cached_property
    def _positions(self) -> dict[tuple[bool, object], int]:
        """The position of each choice, the first of equals."""
        hashable = [c if isinstance(c, Hashable) else repr(c) for c in self.choices]
        return {identity(choice): i for i, choice in reversed([*enumerate(hashable)])}

    def to_unit(self, value: Value) -> float:
        """The unit code of `value`; an unknown value has the code of the first choice."""
        return (max(self.index(value), 0) + 0.5) / self.n_levels

    def from_unit(self, unit: float) -> Value:
        """The choice at a unit code."""
        return self.choices[_cell(unit, self.n_levels)]

    def snap(self, unit: FloatArray) -> FloatArray:
        """Codes `(n,)` moved to the nearest representable code."""
        return middles(unit, self.n_levels)

    def why_not(self, value: object) -> str | None:
        """Why `value` is invalid for this parameter; None if it is valid."""
        if self.index(value) >= 0:
            return None
        return f"{self.name}={value!r} must be one of {', '.join(map(repr, self.choices))}"

    def to_dict(self) -> dict[str, Any]:
        """The definition as plain values, without the name."""
        choices = list(self.choices)
        return {"type": "categorical", "choices": choices, **_more(self)}


Parameter: TypeAlias = Float | Integer | Categorical


def _make_plain(parameter: Parameter, *names: str) -> None:
    """Replace NumPy's scalars in these fields and in the conditions."""
    for name in names:
        object.__setattr__(parameter, name, plain(getattr(parameter, name)))
    when = {parent: tuple(map(plain, values)) for parent, values in parameter.when.items()}
    object.__setattr__(parameter, "when", when)


def middles(unit: FloatArray, n_levels: int | FloatArray) -> FloatArray:
    """Codes moved to the middles of the cells of `n_levels` levels; both broadcast, `nan` stays."""
    cells: FloatArray = np.minimum(np.maximum(np.floor(unit * n_levels), 0), n_levels - 1)
    return (cells + 0.5) / n_levels


def log_middles(unit: FloatArray, low: int | FloatArray, high: int | FloatArray) -> FloatArray:
    """Codes of log-scaled integers in [`low`, `high`] moved to whole numbers.

    All arguments broadcast; `nan` stays.
    """
    first, last = np.log(low - 0.5), np.log(high + 0.5)
    numbers = np.minimum(np.maximum(np.rint(np.exp(first + unit * (last - first))), low), high)
    return np.asarray((np.log(numbers) - first) / (last - first))


def _cell(unit: float, n_levels: int) -> int:
    return min(max(int(unit * n_levels), 0), n_levels - 1)


def _range_mistakes(parameter: Float | Integer) -> Iterator[str]:
    name, low, high, step = parameter.name, parameter.low, parameter.high, parameter.step
    if not (_is_finite_number(low) and _is_finite_number(high)):
        yield f"{name}: low and high must be finite numbers, but got low={low!r}, high={high!r}"
        return
    if low >= high:
        remedy = "swap them" if low > high else f"for a fixed value write [{low}]"
        yield f"{name}: `low < high` must hold, but got low={low}, high={high}; {remedy}"
    elif not math.isfinite(high - low):
        yield (
            f"{name}: high - low must be a number that a float can hold, but got low={low}, "
            f"high={high}; take a narrower range or a log scale"
        )
        return
    if parameter.log and low <= 0:
        yield f"{name}: a log scale needs low > 0, but got low={low}"
    elif parameter.log and low < high and math.log(low) == math.log(high):
        yield f"{name}: low={low} and high={high} are one point on a log scale; leave log out"
    if step is None:
        return
    if not (_is_finite_number(step) and step > 0):
        yield f"{name}: step must be a positive number, but got {step!r}"
    elif parameter.log and step != 1:
        yield f"{name}: a log scale takes no step, but got step={step}"
    elif low < high and not _can_step(low, high, step):
        yield (
            f"{name}: step={step} is too small for [{low}, {high}]: there are at most 2^44 levels "
            "that floats keep apart; take a larger step or leave it out"
        )


def _can_step(low: float, high: float, step: float) -> bool:
    """Whether floats keep the levels apart."""
    apart = step >= 4 * max(math.ulp(low), math.ulp(high))
    return apart and (high - low) / step < MAX_LEVELS


def _outside(parameter: Float | Integer, value: object) -> str | None:
    value = plain(value)
    if not (isinstance(value, int | float) and _is_finite_number(value)):
        return f"{parameter.name}={value!r} must be a finite number"
    if not parameter.low <= value <= parameter.high:
        return f"{parameter.name}={value} must lie in [{parameter.low}, {parameter.high}]"
    return None


def _bounds(parameter: Float | Integer) -> dict[str, Any]:
    log = {"log": True} if parameter.log else {}
    return {"low": parameter.low, "high": parameter.high, **log}


def _more(parameter: Parameter) -> dict[str, Any]:
    """The conditions and the prior as plain values, where there are any."""
    when = {name: list(values) for name, values in parameter.when.items()}
    prior = parameter.prior
    return {
        **({"when": when} if when else {}),
        **({} if prior is None else {"prior": prior.to_dict()}),
    }
