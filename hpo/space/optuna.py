"""Optuna's distributions as parameters of ours, and a search space from the trials of a study.

Optuna's spaces are defined by run: which parameters a trial has is known only from trials that have
run. So the space is that of the parameters seen so far. A parameter that some trials lack gets the
condition that tells these trials from the others, as far as there is one: on a categorical
parameter, or on a whole number with few values, such as a number of layers, which is then a choice.
Where the condition does not hold for a new trial, Optuna asks for the parameter by itself.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
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
from hpo.space.labels import categorical
from hpo.space.parameters import When

MAX_LEVELS = 16  # of a whole number on which other parameters depend


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
        if self._is_choice and isinstance(self.parameter, Categorical):
            return self.parameter.choices[int(self.distribution.to_internal_repr(value))]
        number: int | float = value
        return number

    def theirs(self, value: Value) -> Any:
        """Optuna's value for one of ours."""
        if self._is_choice and isinstance(self.parameter, Categorical):
            return self.distribution.to_external_repr(float(self.parameter.index(value)))
        return value

    @property
    def _is_choice(self) -> bool:
        """Whether it is a choice in Optuna, too."""
        return isinstance(self.distribution, CategoricalDistribution)

    @property
    def levels(self) -> tuple[Value, ...]:
        """The values on which others may depend; none of a range with many."""
        match self.parameter:
            case Categorical(choices=choices):
                return choices
            case Integer(low=low, high=high, step=step, n_levels=n) if n <= MAX_LEVELS:
                return tuple(range(low, high + 1, step))
        return ()

    def as_choice(self) -> "Dimension":
        """The dimension with a choice among its levels."""
        return replace(self, parameter=Categorical(self.parameter.name, self.levels))

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
        conditions = _conditions(self, [self.ours(p) for p in complete])
        parents = set().union(*conditions.values())
        by_name = {
            name: one.as_choice() if name in parents else one for name, one in self.by_name.items()
        }
        return cls(by_name, conditions)

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
        return categorical(name, distribution.choices)
    return None


def _conditions(dimensions: Dimensions, trials: Sequence[Params]) -> dict[str, When]:
    found = {}
    parents = {name: one for name, one in dimensions.by_name.items() if one.levels}
    for name in dimensions.by_name:
        having = [params for params in trials if name in params]
        lacking = [params for params in trials if name not in params]
        if having and lacking:
            others = {parent: one for parent, one in parents.items() if parent != name}
            found[name] = _condition(having, lacking, others)
    return found


def _condition(
    having: Sequence[Params], lacking: Sequence[Params], parents: Mapping[str, Dimension]
) -> When:
    """The fewest conditions, chosen one by one, that tell the trials without a parameter.

    A parent is in all trials with the parameter, and in more: so there are no cycles.
    """
    allowed = {
        parent: _allowed(one, [p[parent] for p in having], [p.get(parent) for p in lacking])
        for parent, one in parents.items()
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


def _allowed(
    parent: Dimension, having: Sequence[Value], lacking: Sequence[Value | None]
) -> tuple[Value, ...]:
    """The levels of a parent with which a parameter was seen.

    Of numbers, those that were not seen at all are as the nearest that was.
    """
    seen = tuple(dict.fromkeys(having))
    if not isinstance(parent.parameter, Integer):
        return seen
    without = {value for value in lacking if value is not None} - {*seen}
    return tuple(n for n in parent.levels if _gap(n, seen) <= _gap(n, without))


def _gap(number: Value, others: Collection[Value]) -> float:
    return min((abs(float(number) - float(other)) for other in others), default=math.inf)
