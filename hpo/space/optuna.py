"""Optuna's distributions as parameters of ours, and a search space from the trials of a study.

Optuna's spaces are defined by run: which parameters a trial has is known only from trials that have
run. So the space is that of the parameters seen so far. A parameter that some trials lack gets the
condition on categorical parameters that tells these trials from the others, as far as there is
one. Where it does not hold for a new trial, Optuna asks for the parameter by itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpo.space import Categorical, Float, Integer, Parameter, Params, SearchSpace, Value
from hpo.space.parameters import When


@dataclass(frozen=True)
class Dimension:
    """A parameter of ours for one of Optuna's."""

    distribution: BaseDistribution
    parameter: Parameter

    @classmethod
    def of(cls, name: str, distribution: BaseDistribution) -> "Dimension | None":
        """The dimension; None for a single value, and for a range that we cannot search."""
        parameter = _parameter(name, distribution)
        if parameter is None or distribution.single() or any(parameter.mistakes()):
            return None
        return cls(distribution, parameter)

    def ours(self, value: Any) -> Value:
        """Our value for one of Optuna's."""
        if isinstance(self.parameter, Categorical):
            return self.parameter.choices[int(self.distribution.to_internal_repr(value))]
        number: int | float = value
        return number

    def theirs(self, value: Value) -> Any:
        """Optuna's value for one of ours."""
        if isinstance(self.parameter, Categorical):
            return self.distribution.to_external_repr(float(self.parameter.index(value)))
        return value

    def contains(self, value: Any) -> bool:
        """Whether Optuna's distribution has the value."""
        try:
            return bool(self.distribution._contains(self.distribution.to_internal_repr(value)))
        except (TypeError, ValueError):  # of another kind, or none of the choices
            return False


@dataclass(frozen=True)
class Dimensions:
    """The dimensions of a study by name, and the conditions between them."""

    by_name: Mapping[str, Dimension]
    conditions: Mapping[str, When]

    @classmethod
    def of(
        cls, distributions: Mapping[str, BaseDistribution], complete: Iterable[Mapping[str, Any]]
    ) -> "Dimensions":
        """The dimensions of distributions.

        Args:
            distributions: Optuna's, by name.
            complete: Optuna's values of trials that have suggested all of their parameters.
        """
        found = {name: Dimension.of(name, given) for name, given in distributions.items()}
        self = cls({name: one for name, one in found.items() if one is not None}, {})
        return replace(self, conditions=_conditions(self, [self.ours(p) for p in complete]))

    @cached_property
    def space(self) -> SearchSpace:
        """The search space."""
        return SearchSpace(
            tuple(
                replace(dimension.parameter, when=self.conditions.get(name, {}))
                for name, dimension in self.by_name.items()
            )
        )

    def ours(self, values: Mapping[str, Any]) -> dict[str, Value]:
        """Our values for those of Optuna, without the parameters that are not searched."""
        return {
            name: self.by_name[name].ours(v) for name, v in values.items() if name in self.by_name
        }

    def theirs(self, params: Params) -> dict[str, Any]:
        """Optuna's values for ours."""
        return {name: self.by_name[name].theirs(value) for name, value in params.items()}


def united(trials: Iterable[Mapping[str, BaseDistribution]]) -> dict[str, BaseDistribution]:
    """The distributions of trials by name: of ranges that differ the one that holds them all."""
    found: dict[str, BaseDistribution] = {}
    for distributions in trials:
        for name, given in distributions.items():
            found[name] = _union(found[name], given) if name in found else given
    return found


def _union(one: BaseDistribution, other: BaseDistribution) -> BaseDistribution:
    if one == other or isinstance(one, CategoricalDistribution) or type(one) is not type(other):
        return other
    low, high = min(one.low, other.low), max(one.high, other.high)  # type: ignore[attr-defined]
    if isinstance(other, FloatDistribution):
        step = other.step if _is_grid(one, other) else None
        return FloatDistribution(low, high, log=other.log, step=step)
    if isinstance(other, IntDistribution):
        step = other.step if _is_grid(one, other) else 1
        return IntDistribution(low, high, log=other.log, step=step)
    return other


def _is_grid(one: Any, other: Any) -> bool:
    """Whether the steps of two ranges are those of one grid."""
    if one.step != other.step or one.step is None:
        return False
    offset = (one.low - other.low) / one.step
    return bool(abs(offset - round(offset)) < 1e-8)


def _parameter(name: str, distribution: BaseDistribution) -> Parameter | None:
    if isinstance(distribution, FloatDistribution):
        d = distribution
        return Float(name, float(d.low), float(d.high), d.log, d.step)
    if isinstance(distribution, IntDistribution):
        return Integer(
            name, distribution.low, distribution.high, distribution.log, distribution.step
        )
    if isinstance(distribution, CategoricalDistribution):
        return _categorical(name, distribution.choices)
    return None


def _categorical(name: str, choices: Sequence[Any]) -> Categorical:
    """The choices; where ours cannot be like them (None, tuples) their texts, or else numbers."""
    for given in (tuple(choices), tuple(map(str, choices))):
        if not any((found := Categorical(name, given)).mistakes()):
            return found
    return Categorical(name, tuple(range(len(choices))))


def _conditions(dimensions: Dimensions, trials: Sequence[Params]) -> dict[str, When]:
    found = {}
    parents = [
        name for name, one in dimensions.by_name.items() if isinstance(one.parameter, Categorical)
    ]
    for name in dimensions.by_name:
        having = [params for params in trials if name in params]
        lacking = [params for params in trials if name not in params]
        if having and lacking:
            found[name] = _condition(having, lacking, [p for p in parents if p != name])
    return found


def _condition(having: Sequence[Params], lacking: Sequence[Params], parents: Iterable[str]) -> When:
    """The fewest conditions, chosen one by one, that tell the trials without a parameter.

    A parent is in all trials with the parameter, and in more: so there are no cycles.
    """
    allowed = {
        parent: tuple(dict.fromkeys(params[parent] for params in having))
        for parent in parents
        if all(parent in params for params in having)
    }
    allowed = {
        parent: values
        for parent, values in allowed.items()
        if any(params.get(parent, values[0]) not in values for params in lacking)
    }
    when: dict[str, tuple[Value, ...]] = {}
    left = list(lacking)
    while left and allowed:
        unexplained = {
            parent: [params for params in left if params.get(parent) in values]
            for parent, values in allowed.items()
        }
        best = min(unexplained, key=lambda parent: len(unexplained[parent]))
        if len(unexplained[best]) == len(left):
            break
        when[best], left = allowed.pop(best), unexplained[best]
    return when
