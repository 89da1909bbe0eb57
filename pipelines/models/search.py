"""What a study asks about a model before it starts: its budget, its space, its first points."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from hpo.errors import closest
from hpo.space import SearchSpace
from hpo.space.parameters import Params, Value

# What a smaller budget means.
FIDELITIES: Mapping[str, str] = MappingProxyType(
    {
        "rounds": "the first part of a full training, continued when promoted",
        "scheduled": "the same with learning rates that fall with the round",
        "scaled": "a short training with a larger learning rate, not continued",
        "rows": "a full training on a share of the rows, not continued",
    }
)
PERCENT, PERCENT_OF_ROWS = "percent", "% of the rows"


@dataclass(frozen=True)
class Budget:
    """The budgets of a study in `unit`: the lowest rung, a full training, the factor between rungs.

    `fidelity` is the model's default, one of `FIDELITIES`: what a smaller budget means.
    """

    unit: str
    min: int
    max: int
    eta: int = 3
    fidelity: str = "rounds"

    @property
    def is_share(self) -> bool:
        """Whether budgets are percentages, so that 100 is the largest."""
        return self.unit in (PERCENT, PERCENT_OF_ROWS)


@dataclass(frozen=True)
class Settings:
    """A model's defaults for one kind of task.

    `first_points` are the library's default and the tuned defaults (a joint search has the first
    tuned default of each family). Each holds exactly its active parameters. A default may lie
    outside the bounds of the space.
    """

    name: str
    description: str
    budget: Budget
    space: SearchSpace
    first_points: tuple[dict[str, Value], ...]


class SearchModel(Protocol):
    """What a study searches: a single family, or several in one joint space."""

    @property
    def name(self) -> str:
        """The value of `model=`."""

    @property
    def families(self) -> tuple[str, ...]:
        """The families that a trial may train."""

    def settings(
        self, *, kind: str = "binary", has_categorical: bool = True, rows: int = 0
    ) -> Settings:
        """The defaults for a task of this kind, on a table with or without categorical columns.

        `rows` are the training rows; 0 where they are not known.
        """

    def defaults(self, kind: str, rows: int = 0) -> tuple[Params, ...]:
        """The points of `Settings.first_points` with every parameter that has a known default."""

    def effective(self, params: Params) -> tuple[str, dict[str, Value]]:
        """The family that a trial trains, and the values with an effect of all its parameters.

        Configurations with the same effective values are the same training.
        """

    def check_space(self, space: SearchSpace) -> None:
        """Check that a user's space holds only parameters that a space may hold.

        Raises:
            SpaceError: lists every mistake, with the closest known name.
        """

    def knows(self, name: str) -> bool:
        """Whether `name` is a parameter of the model, searchable or set by the study."""

    def is_changeable(self, name: str) -> bool:
        """Whether the value of a parameter can change while a model trains."""

    def limits(self, name: str) -> tuple[float, float] | None:
        """The smallest and the largest sensible value of a parameter; None if not declared."""

    def canonical_name(self, name: str) -> str:
        """The library's main name of a parameter; a name that is not known is returned as it is."""

    def resolve(self, params: Params) -> tuple[str, dict[str, Value]]:
        """The family that a trial trains, and its parameters under the family's own names.

        Parameters that the family does not know are dropped: they only switch between branches
        of a user's space.
        """

    def rounds(self, family: str, budget: float) -> int:
        """A budget of the study in the unit of the family (rounds or steps)."""

    def budget_per_round(self, budget: float, rounds: int) -> float:
        """The budget of one round, for curves: `budget` of the study trains `rounds` rounds."""


def unknown_model(name: str, known: Iterable[str]) -> str:
    """The message for a model name that does not exist."""
    names = list(known)
    return f"unknown model {name!r}{closest(name, names)}; models: {', '.join(names)}"
