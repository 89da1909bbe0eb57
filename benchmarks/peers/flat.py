"""Configurations for searches without conditions: all parameters side by side, inactive ones left out afterwards."""

from collections.abc import Mapping

import numpy as np

from hpo.space import Params, SearchSpace, Value


def flat(config: Mapping[str, Value], space: SearchSpace) -> Params:
    """The active parameters of a configuration that names all of them, moved onto their grids."""
    return space.decode(np.array([p.to_unit(config[p.name]) for p in space]))


def complete(params: Params, space: SearchSpace) -> dict[str, Value]:
    """A configuration that names all parameters, the inactive ones at their middle."""
    return {p.name: params.get(p.name, p.from_unit(0.5)) for p in space}
