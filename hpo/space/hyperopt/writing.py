"""Hyperopt graphs from search spaces."""

import math

from hyperopt.pyll import Apply, scope

from hpo.space import Categorical, Parameter, SearchSpace, Value


def to_hyperopt(space: SearchSpace) -> dict[str, Apply]:
    """The space as a graph for `hyperopt.fmin`, with one labelled variable for each parameter.

    Parameters with a single value are left out. Parameters whose conditions exclude each other are
    in the graph, but hyperopt never reaches them. Choices are drawn by position and ranges with
    levels by level; `to_code` and `from_code` convert between these codes and values.
    """
    drawn = {p.name: _variable(p) for p in space if p.n_levels != 1}
    return {name: _with_conditions(space, name, drawn) for name in drawn}


def to_code(parameter: Parameter, value: Value) -> float:
    """The code of a value in the graph of `to_hyperopt`."""
    if isinstance(parameter, Categorical):
        return parameter.index(value)
    if parameter.n_levels is None or parameter.log:
        return float(value)
    return round((float(value) - parameter.low) / float(parameter.step or 1))


def from_code(parameter: Parameter, code: float) -> Value:
    """The value of a code in the graph of `to_hyperopt`."""
    if isinstance(parameter, Categorical):
        return parameter.choices[int(code)]
    if parameter.n_levels is None:
        return min(max(float(code), parameter.low), parameter.high)
    if parameter.log:
        return int(min(max(code, parameter.low), parameter.high))
    level = min(max(int(code), 0), parameter.n_levels - 1)
    return parameter.from_unit((level + 0.5) / parameter.n_levels)


def _variable(parameter: Parameter) -> Apply:
    return scope.hyperopt_param(parameter.name, _distribution(parameter))


def _distribution(parameter: Parameter) -> Apply:
    if isinstance(parameter, Categorical):
        return scope.randint(parameter.n_levels)
    if parameter.n_levels is not None and not parameter.log:
        return scope.quniform(-0.5, parameter.n_levels - 0.5, 1)
    if parameter.n_levels is not None:
        return scope.qloguniform(math.log(parameter.low - 0.5), math.log(parameter.high + 0.5), 1)
    if parameter.log:
        return scope.loguniform(math.log(parameter.low), math.log(parameter.high))
    return scope.uniform(parameter.low, parameter.high)


def _with_conditions(space: SearchSpace, name: str, drawn: dict[str, Apply]) -> Apply:
    """The variable inside one switch for each choice that it depends on, outermost first."""
    node = drawn[name]
    for parent, allowed in reversed(_all_conditions(space, name).items()):
        if parent in drawn:
            options = [None] * int(space[parent].n_levels or 0)
            for position in allowed:
                options[position] = node
            node = scope.switch(drawn[parent], *options)
    return node


def _all_conditions(space: SearchSpace, name: str) -> dict[str, set[int]]:
    """Conditions of a parameter and its ancestors, as positions of the choices that satisfy all."""
    own = space.codes.allowed_choices(name)
    inherited = [_all_conditions(space, parent) for parent in own]
    combined: dict[str, set[int]] = {}
    for conditions in (*inherited, own):
        for parent, allowed in conditions.items():
            combined[parent] = combined.get(parent, allowed) & allowed
    return combined
