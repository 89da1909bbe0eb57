"""Configurations for searches without conditions, which have values for inactive parameters."""

from collections.abc import Mapping

import numpy as np

from hpo.space import Params, SearchSpace, Value


def flat(config: Mapping[str, Value], space: SearchSpace) -> Params:
    """The active parameters of a configuration of all parameters, rounded to their steps."""
    return space.decode(np.array([p.to_unit(config[p.name]) for p in space]))


def complete(params: Params, space: SearchSpace) -> dict[str, Value]:
    """A configuration of all parameters; inactive ones get their middle value."""
    return {p.name: params.get(p.name, p.from_unit(0.5)) for p in space}
