"""The range in which the logged runs have searched a parameter."""

import ast
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeGuard

from hpo.space.parameters import Categorical, Float, Integer, Parameter, Value
from pipelines.adoption.bounds import is_possible_range

LOG_RATIO = 100  # largest by smallest value from which an unknown range counts as logarithmic
DISTRIBUTION = "_distribution"
"""The suffix of the tags in which Optuna's callback logs the ranges of parameters."""

_UNREADABLE = (  # errors of `ast` for a text that is not a valid distribution
    SyntaxError,
    ValueError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
    RecursionError,
)


def _float(name: str, given: Mapping[str, Any]) -> Parameter:
    return Float(name, float(given["low"]), float(given["high"]), bool(given["log"]))


def _integer(name: str, given: Mapping[str, Any]) -> Parameter:
    return Integer(name, given["low"], given["high"], bool(given["log"]))


def _categorical(name: str, given: Mapping[str, Any]) -> Parameter:
    return Categorical(name, tuple(given["choices"]))


_DISTRIBUTIONS: Mapping[str, Callable[[str, Mapping[str, Any]], Parameter]] = {
    "FloatDistribution": _float,
    "IntDistribution": _integer,
    "CategoricalDistribution": _categorical,
}


def from_optuna(name: str, text: str) -> Parameter | None:
    """Parse an Optuna distribution, without evaluating it; None if the text is not a valid one.

    The text looks like `FloatDistribution(high=0.3, log=True, low=0.001, step=None)`. A step is
    ignored.
    """
    try:
        match ast.parse(text, mode="eval").body:
            case ast.Call(func=ast.Name(id=kind), keywords=keywords) if kind in _DISTRIBUTIONS:
                given = {str(word.arg): ast.literal_eval(word.value) for word in keywords}
                return _valid(_DISTRIBUTIONS[kind](name, given))
    except _UNREADABLE:
        pass
    return None


def searched_range(model: str, name: str, own: Parameter | None, text: str) -> Parameter | None:
    """The range of an Optuna distribution for a parameter of `model`; None if it is unusable.

    A range of real numbers becomes one of integers if the parameter is an integer in the model's
    `own` space.
    """
    found = from_optuna(name, text)
    if isinstance(found, Float) and isinstance(own, Integer):
        found = _valid(Integer(name, math.ceil(found.low), math.floor(found.high), found.log))
    return found if found and is_possible_range(model, found) else None


def widened_range(
    name: str, searched: Parameter | None, own: Parameter | None, values: Sequence[Value]
) -> Parameter:
    """The `searched` range, or else that of the model's `own` space, widened to hold `values`.

    The parameter keeps its type and scale from the model's own space, so that studies compare. On
    a logarithmic scale values of 0 or less are ignored: they count as the lower end, like such
    defaults of the libraries in studies of this project.
    """
    known = searched or own
    if own and isinstance(own, Categorical) != isinstance(known, Categorical):
        known = own
    if known is None:
        return _range_of(name, values)
    if isinstance(known, Categorical):
        return Categorical(name, tuple(distinct((*known.choices, *values))))
    numbers = [known.low, known.high, *filter(_is_number, values)]
    inside = [number for number in numbers if number > 0 or not known.log]
    return _numeric(name, inside, isinstance(own or known, Integer), known.log)


def distinct(values: Iterable[Value]) -> list[Value]:
    """The distinct values in their first order; `True` is not 1."""
    return list({(isinstance(value, bool), value): value for value in values}.values())


def _range_of(name: str, values: Sequence[Value]) -> Parameter:
    """The range of some values, if nothing else is known of the parameter."""
    numbers = [value for value in values if _is_number(value) and not isinstance(value, bool)]
    if len(numbers) < len(values):
        return Categorical(name, tuple(sorted(values, key=str)))
    low, high = min(numbers), max(numbers)
    integer = all(isinstance(number, int) for number in numbers)
    return _numeric(name, numbers, integer, low > 0 and high / low >= LOG_RATIO)


def _numeric(name: str, numbers: Sequence[float], integer: bool, log: bool) -> Float | Integer:
    low, high = min(numbers), max(numbers)
    if integer:
        return Integer(name, int(low), int(high), log)
    return Float(name, float(low), float(high), log)


def _is_number(value: Value) -> TypeGuard[float]:
    return not isinstance(value, str)


def _valid(parameter: Parameter) -> Parameter | None:
    return None if any(parameter.mistakes()) else parameter
