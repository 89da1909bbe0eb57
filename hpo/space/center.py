"""The center of a space: a first configuration where no default is known."""

from hpo.space import SearchSpace
from hpo.space.parameters import Categorical, Parameter, Value


def middle(parameter: Parameter) -> Value:
    """The middle of a range, or the first choice."""
    if isinstance(parameter, Categorical):
        return parameter.choices[0]
    return parameter.from_unit(0.5)


def center(space: SearchSpace) -> dict[str, Value]:
    """The middle of each parameter that is then active, parents first."""
    found: dict[str, Value] = {}
    for parameter in space:
        if parameter.name in space.active(found):
            found[parameter.name] = middle(parameter)
    return found
