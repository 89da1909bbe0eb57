"""Smaller spaces: parameters that are fixed, or have other ranges or choices."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hpo.errors import SpaceError, raise_all
from hpo.space import SearchSpace, unknown
from hpo.space.parameters import Categorical, Parameter, Value


def restricted(space: SearchSpace, **changes: Mapping[str, Any] | Value) -> SearchSpace:
    """A smaller space: `name=value` fixes a parameter, `name={"low": …, "high": …}` narrows it.

    Raises:
        SpaceError: for an unknown name, or values outside the present domain.
    """
    raise_all(SpaceError, (unknown(space, name) for name in changes if name not in space))
    changed = {name: _changed(space[name], change) for name, change in changes.items()}
    return with_parameters(space, tuple(changed.get(p.name, p) for p in space))


def with_parameters(space: SearchSpace, parameters: tuple[Parameter, ...]) -> SearchSpace:
    """The space with other ranges or choices, and what is still possible of the forbidden."""
    by_name = {parameter.name: parameter for parameter in parameters}
    kept = (each.within(by_name) for each in space.forbidden)
    return SearchSpace(parameters, tuple(each for each in kept if each is not None))


def _changed(parameter: Parameter, change: Mapping[str, Any] | Value) -> Parameter:
    if not isinstance(change, Mapping):
        _check_value(parameter, change)
        return Categorical(parameter.name, (change,), parameter.when)
    if "choices" in change:
        change = {**change, "choices": tuple(change["choices"])}
    for values in change.values():
        for value in values if isinstance(values, list | tuple) else (values,):
            _check_value(parameter, value)
    narrowed = replace(parameter, **change, prior=None)
    prior = parameter.prior
    if prior is None or narrowed.why_not(prior.value) is not None:
        return narrowed
    return replace(narrowed, prior=prior)


def _check_value(parameter: Parameter, value: object) -> None:
    reason = parameter.why_not(value)
    if reason is not None:
        raise SpaceError(reason)
