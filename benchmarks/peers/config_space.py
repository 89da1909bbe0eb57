"""Our search spaces in ConfigSpace (0.7 and 1.2), for the peers that use it."""

from collections.abc import Mapping
from typing import Any

import ConfigSpace  # type: ignore[import-not-found]
import numpy as np

from hpo.space import Categorical, Integer, Parameter, Params, SearchSpace


def config_space(space: SearchSpace, seed: int) -> ConfigSpace.ConfigurationSpace:
    """The same parameters and conditions.

    Choices are named by their indices. Steps are left out; `params_of` rounds to them.
    """
    made = ConfigSpace.ConfigurationSpace(seed=seed)
    known = {parameter.name: _hyperparameter(parameter) for parameter in space}
    conditions = []
    for parameter in space:
        parts = [
            ConfigSpace.InCondition(
                known[parameter.name], known[parent], _indices(space[parent], values)
            )
            for parent, values in parameter.when.items()
        ]
        if parts:
            conditions.append(parts[0] if len(parts) == 1 else ConfigSpace.AndConjunction(*parts))
    made.add_hyperparameters(list(known.values()))
    made.add_conditions(conditions)
    return made


def params_of(config: Mapping[str, Any], space: SearchSpace) -> Params:
    """The active parameters of a ConfigSpace configuration, rounded to their steps."""
    units = [_unit(parameter, config.get(parameter.name)) for parameter in space]
    return space.decode(space.codes.snap(np.array([units]))[0])


def _hyperparameter(parameter: Parameter) -> Any:
    if isinstance(parameter, Categorical):
        return ConfigSpace.CategoricalHyperparameter(
            parameter.name, [str(i) for i in range(len(parameter.choices))]
        )
    if isinstance(parameter, Integer) and parameter.step == 1:
        return ConfigSpace.UniformIntegerHyperparameter(
            parameter.name, parameter.low, parameter.high, log=parameter.log
        )
    return ConfigSpace.UniformFloatHyperparameter(
        parameter.name, float(parameter.low), float(parameter.high), log=parameter.log
    )


def _indices(parent: Parameter, values: Any) -> list[str]:
    choices = parent.choices if isinstance(parent, Categorical) else ()
    return [str(choices.index(value)) for value in values]


def _unit(parameter: Parameter, value: Any) -> float:
    if value is None:
        return 0.5  # inactive: left out by `decode`
    if isinstance(parameter, Categorical):
        return parameter.to_unit(parameter.choices[int(value)])
    return parameter.to_unit(float(value))
