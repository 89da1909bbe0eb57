"""The range of a parameter that somebody else has searched, from what is known of it."""

import ast
import math
from collections.abc import Iterable, Sequence

from hpo.space.parameters import Categorical, Float, Integer, Parameter, Value
from pipelines.adoption.bounds import possible_range

MUCH = 100  # largest by smallest value, from where a range of which nothing else is known counts as logarithmic
DISTRIBUTION = "_distribution"
"""What stands behind a parameter's name in the tag in which Optuna's callback logs its range."""


def from_optuna(name: str, text: str) -> Parameter | None:
    """The parameter that the text of an Optuna distribution describes; None when it describes none.

    `FloatDistribution(high=0.3, log=True, low=0.001, step=None)`; steps are left out, the past was
    somewhere between.
    """
    try:
        call = ast.parse(text, mode="eval").body
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
            return None
        given = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
        kind = call.func.id
        if kind == "CategoricalDistribution":
            return _valid(Categorical(name, tuple(given["choices"])))
        low, high, log = given["low"], given["high"], bool(given["log"])
        if kind == "IntDistribution":
            return _valid(Integer(name, low, high, log))
        return (
            _valid(Float(name, float(low), float(high), log))
            if kind == "FloatDistribution"
            else None
        )
    except (
        SyntaxError,
        ValueError,
        KeyError,
        TypeError,
        OverflowError,
        MemoryError,
        RecursionError,
    ):
        return None


def searched_range(model: str, name: str, own: Parameter | None, text: str) -> Parameter | None:
    """The range in the text of an Optuna distribution, as one of a parameter of `model`; None when it cannot be used.

    It is whole where the parameter is, in the model's `own` space.
    """
    found = from_optuna(name, text)
    if isinstance(found, Float) and isinstance(own, Integer):
        found = _valid(Integer(name, math.ceil(found.low), math.floor(found.high), found.log))
    return found if found and possible_range(model, found) else None


def holding(
    name: str, searched: Parameter | None, own: Parameter | None, values: Sequence[Value]
) -> Parameter:
    """The range that was `searched`, else that of the model's `own` space, widened to hold `values`.

    It is of the kind that it has in the model's own space, so that studies compare. A logarithmic
    range stays one: 0 is taken for its lower end, as the libraries' defaults are in our own
    studies.
    """
    if own and searched and isinstance(own, Categorical) != isinstance(searched, Categorical):
        searched = None
    known = searched or own
    if known is None:
        return _fitting(name, values)
    if isinstance(known, Categorical):
        return Categorical(name, tuple(distinct((*known.choices, *values))))
    numbers = [
        value for value in values if not isinstance(value, str) and (value > 0 or not known.log)
    ]
    low, high = min((known.low, *numbers)), max((known.high, *numbers))
    if isinstance(own or known, Integer):
        return Integer(name, int(low), int(high), known.log)
    return Float(name, float(low), float(high), known.log)


def distinct(values: Iterable[Value]) -> list[Value]:
    """Each value once, in the order in which they come; `True` is not 1."""
    return list({(isinstance(value, bool), value): value for value in values}.values())


def _valid(parameter: Parameter) -> Parameter | None:
    return None if any(parameter.mistakes()) else parameter


def _fitting(name: str, values: Sequence[Value]) -> Parameter:
    numbers = [
        value for value in values if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    if len(numbers) < len(values):
        return Categorical(name, tuple(sorted(values, key=str)))
    low, high = min(numbers), max(numbers)
    log = low > 0 and high / low >= MUCH
    if all(isinstance(number, int) for number in numbers):
        return Integer(name, int(low), int(high), log)
    return Float(name, float(low), float(high), log)
