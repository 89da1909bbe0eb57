"""The center of a space: a first configuration where no default is known."""

import numpy as np

from hpo.space import SearchSpace
from hpo.space.parameters import Categorical, Parameter, Params, Value

_LEVELS = 101  # codes of a parameter that are tried instead of a forbidden one
_RANDOM = 256  # configurations that are tried beside these


def middle(parameter: Parameter) -> Value:
    """What is believed to be good, or else the middle of a range, or the first choice."""
    if parameter.prior is not None:
        return parameter.prior.value
    if isinstance(parameter, Categorical):
        return parameter.choices[0]
    return parameter.from_unit(0.5)


def center(space: SearchSpace) -> dict[str, Value]:
    """The `middle` of each parameter that is then active, parents first."""
    found: dict[str, Value] = {}
    for parameter in space:
        if parameter.name in space.active(found):
            found[parameter.name] = middle(parameter)
    return nearest_allowed(space, found)


def nearest_allowed(space: SearchSpace, params: Params) -> dict[str, Value]:
    """The configuration itself if it is allowed, else one that is and is near to it.

    It differs in one parameter of a forbidden combination, if that is enough. Two choices are 1/2
    apart, and so are two configurations in a parameter that only one of them has.
    """
    if space.allowed(params):
        return dict(params)
    code = space.encode(params)
    rows = [space.codes.sample(np.random.default_rng(0), _RANDOM)]
    for name in dict.fromkeys(name for each in space.forbidden for name in each.values):
        changed = np.tile(np.nan_to_num(code, nan=0.5), (_LEVELS, 1))
        changed[:, space.names.index(name)] = np.linspace(0.0, 1.0, _LEVELS)
        changed = space.codes.deactivate(space.codes.snap(changed))
        rows.append(changed[space.codes.allowed(changed)])
    candidates = np.concatenate(rows)
    gaps = np.abs(candidates - code)
    gaps[:, space.layout.choices] = 0.5 * (gaps[:, space.layout.choices] > 0)
    gaps = np.where(np.isnan(candidates) != np.isnan(code), 0.5, np.nan_to_num(gaps))
    return space.decode(candidates[np.argmin((gaps**2).sum(axis=1))])
