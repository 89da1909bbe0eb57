"""One search over several families: a conditional space whose parameter `model` chooses one.

The parameters of a family are written `family.parameter`. Budgets are percent of a full training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from hpo.errors import SpaceError, raise_all
from hpo.space import SearchSpace
from hpo.space.parameters import Categorical, Parameter, Params, Value
from pipelines.models.families import SingleFamily
from pipelines.models.search import PERCENT, Budget, Settings, unknown_model

MODEL = "model"


@dataclass(frozen=True)
class JointSearch:
    """The `SearchModel` of a study over all `members`, by name."""

    name: str
    members: Mapping[str, SingleFamily]

    @property
    def families(self) -> tuple[str, ...]:
        """The families that a trial may train."""
        return tuple(self.members)

    def settings(
        self, *, kind: str = "binary", has_categorical: bool = True, rows: int = 0
    ) -> Settings:
        """The defaults of every family in one space; the first point is that of the first family.

        The lowest rung is one at which every family trains at least its own smallest budget; a
        family that has a single budget is trained whole at each.
        """
        parts = [
            member.settings(kind=kind, has_categorical=has_categorical, rows=rows)
            for member in self.members.values()
        ]
        points = [(parts[0].name, parts[0].first_points[0])]
        points += [(part.name, part.first_points[1]) for part in parts]
        raced = [part.budget for part in parts if part.budget.min < part.budget.max]
        lowest = max((100 * budget.min / budget.max for budget in raced), default=100.0)
        return Settings(
            self.name,
            f"One search over {', '.join(self.families)}.",
            Budget(PERCENT, max(1, round(lowest)), 100),
            nested({part.name: part.space for part in parts}),
            tuple(nested_point(family, point) for family, point in points),
        )

    def defaults(self, kind: str, rows: int = 0) -> tuple[Params, ...]:
        """The default of the first family and a tuned default of each, with every parameter.

        Each has the defaults of the other families, too.
        """
        both = {name: member.defaults(kind, rows) for name, member in self.members.items()}
        tuned = {
            f"{name}.{own}": value
            for name, points in both.items()
            for own, value in points[1].items()
        }
        first = next(iter(self.members))
        default = {**tuned, **nested_point(first, both[first][0])}
        return default, *({**tuned, MODEL: name} for name in self.members)

    def effective(self, params: Params) -> tuple[str, dict[str, Value]]:
        """The chosen family, and the values with an effect of all its parameters."""
        family, own = self.resolve(params)
        return self.members[family].effective(own)

    def check_space(self, space: SearchSpace) -> None:
        """Check that a user's space chooses a family and holds only parameters of families.

        Raises:
            SpaceError: lists every mistake, with the closest known name.
        """
        raise_all(SpaceError, self._mistakes(space))

    def knows(self, name: str) -> bool:
        """Whether `name` is `model` or a known `family.parameter`."""
        member, own = self._split(name)
        return name == MODEL or (member is not None and member.knows(own))

    def is_changeable(self, name: str) -> bool:
        """Whether the value of `family.parameter` can change while a model trains."""
        member, own = self._split(name)
        return member is not None and member.is_changeable(own)

    def limits(self, name: str) -> tuple[float, float] | None:
        """The smallest and the largest sensible value of a parameter; None if not declared."""
        member, own = self._split(name)
        return None if member is None else member.limits(own)

    def canonical_name(self, name: str) -> str:
        """`family.parameter` with the library's main name; any other name is returned as it is."""
        member, own = self._split(name)
        return name if member is None else f"{member.name}.{member.canonical_name(own)}"

    def resolve(self, params: Params) -> tuple[str, dict[str, Value]]:
        """The family that `model` chooses, and its parameters under the family's own names."""
        chosen = str(params[MODEL])
        prefix = f"{chosen}."
        own = {n.removeprefix(prefix): value for n, value in params.items() if n.startswith(prefix)}
        return self.members[chosen].resolve(own)

    def rounds(self, family: str, budget: float) -> int:
        """The rounds or steps that are `budget` percent of a full training of the family."""
        return max(1, round(self.members[family].budget.max * budget / 100))

    def budget_per_round(self, budget: float, rounds: int) -> float:
        """The percentage that one round is, where `budget` percent are `rounds` rounds."""
        return budget / rounds

    def _split(self, name: str) -> tuple[SingleFamily | None, str]:
        """The family of a `family.parameter` and the rest of the name; None for other names."""
        prefix, _, own = name.partition(".")
        return self.members.get(prefix), own

    def _mistakes(self, space: SearchSpace) -> Iterator[str]:
        chooser = next((parameter for parameter in space if parameter.name == MODEL), None)
        if not isinstance(chooser, Categorical):
            yield (
                f"a space for all models needs `{MODEL}`, a choice among {', '.join(self.members)}"
            )
            return
        for choice in map(str, chooser.choices):
            yield from self._mistakes_of(choice, space)
        for name in space.names:
            if name != MODEL and self._split(name)[0] is None:
                yield (
                    f"{name}: for all models a parameter is written family.parameter, for example "
                    f"{self.families[0]}.{name}"
                )

    def _mistakes_of(self, family: str, space: SearchSpace) -> Iterator[str]:
        if family not in self.members:
            yield unknown_model(family, self.members)
            return
        prefix = f"{family}."
        own = [name.removeprefix(prefix) for name in space.names if name.startswith(prefix)]
        yield from self.members[family].names.mistakes(own, prefix)


def nested(spaces: Mapping[str, SearchSpace]) -> SearchSpace:
    """One space over the spaces of families: the parameter `model` chooses one of them."""
    parameters = [_nested(name, each) for name, space in spaces.items() for each in space]
    return SearchSpace((Categorical(MODEL, tuple(spaces)), *parameters))


def _nested(family: str, parameter: Parameter) -> Parameter:
    """The parameter under the family's prefix, active if `model` chooses the family."""
    when = {f"{family}.{parent}": values for parent, values in parameter.when.items()}
    return replace(parameter, name=f"{family}.{parameter.name}", when={MODEL: (family,), **when})


def nested_point(family: str, point: Params) -> dict[str, Value]:
    """A configuration of a family as one of the space over several."""
    return {MODEL: family, **{f"{family}.{name}": value for name, value in point.items()}}
