"""A model family as its YAML file describes it; its library is not imported."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from hpo.errors import ParameterError, SpaceError, raise_all
from hpo.space import SearchSpace
from hpo.space.parameters import Params, Value
from hpo.space.yaml import load
from pipelines.models.effective import effective
from pipelines.models.libraries import Library
from pipelines.models.names import ParameterNames
from pipelines.models.search import Budget, Settings

MAX_RATE = 0.5
TASK_GROUPS = ("classification", "regression")
LARGE = 8_000  # training rows from which on a table has the defaults of large ones


@dataclass(frozen=True)
class SingleFamily:
    """A family with its parameters; the `SearchModel` of a study that searches it alone.

    Attributes:
        name: The value of `model=`.
        description: One sentence for people.
        libraries: What has to be installed, for training and for serving.
        budget: The budgets of a study.
        space: The default space.
        default: The library's defaults for each of `TASK_GROUPS`.
        tuned_defaults: Points for each of them, to try one after another; what they leave out is as
            in `default`.
        large_defaults: The same for tables with `LARGE` training rows or more; {} for no others.
        names: The names of the parameters, with aliases.
        categorical_only: Parameters that are searched only on tables with categorical columns.
        regression_only: Parameters that are searched only for numbers.
        rate: The learning rate that some fidelities change; None if the family's schedules follow
            its horizon instead.
        ranges: The sensible values of parameters, by main name (`limits` in the YAML file).
        losses: What it can be trained for beside the squared error
            (`pipelines.table.scores.losses`).
        cuda: Whether it can be trained on a GPU.
        monotone: Whether predictions can be made to rise or fall with a column.
        weights: Whether rows can be weighted.
        max_rows: How many rows a model is trained on, at most; None for any number.
        unset: What a trial gets for parameters that it leaves out, by main name, where that is not
            in `default`, or is another value.
        changeable: Parameters, by main name, whose values can change while a model trains
            (`Changeable`); none if it is trained at once.
    """

    name: str
    description: str
    libraries: tuple[Library, ...]
    budget: Budget
    space: SearchSpace
    default: Mapping[str, Params]
    tuned_defaults: Mapping[str, Sequence[Params]]
    names: ParameterNames
    large_defaults: Mapping[str, Sequence[Params]] = field(default_factory=dict)
    categorical_only: Sequence[str] = ()
    regression_only: Sequence[str] = ()
    rate: str | None = None
    ranges: Mapping[str, Sequence[float]] = field(default_factory=dict)
    unset: Params = field(default_factory=dict)
    losses: Sequence[str] = ()
    monotone: bool = False
    cuda: bool = False
    weights: bool = True
    max_rows: int | None = None
    changeable: Sequence[str] = ()

    @classmethod
    def read(cls, name: str) -> SingleFamily:
        """The family that `<name>.yaml` in this folder describes."""
        source = f"{name}.yaml"
        values = dict(load(files("pipelines.models").joinpath(source).read_text("utf-8"), source))
        space = SearchSpace.from_dict(values.pop("space"), source)
        return cls(
            name=name,
            libraries=tuple(map(Library.of, values.pop("libraries", ()))),
            budget=Budget(**values.pop("budget")),
            space=space,
            default=_by_group(values.pop("default")),
            tuned_defaults=_points(values.pop("tuned_default")),
            large_defaults=_points(values.pop("tuned_default_of_large", {})),
            names=ParameterNames(
                name,
                values.pop("parameters", dict.fromkeys(space.names, ())),
                values.pop("reserved", {}),
            ),
            ranges=values.pop("limits", {}),
            **values,
        )

    @property
    def families(self) -> tuple[str, ...]:
        """This family alone."""
        return (self.name,)

    def settings(
        self, *, kind: str = "binary", has_categorical: bool = True, rows: int = 0
    ) -> Settings:
        """The defaults for a task of this kind, on a table with or without categorical columns.

        `rows` are the training rows; 0 where they are not known.
        """
        dropped = {
            *(() if has_categorical else self.categorical_only),
            *(() if kind == "regression" else self.regression_only),
        }
        space = SearchSpace(tuple(p for p in self.space if p.name not in dropped))
        first = tuple(_only_active(space, point) for point in self.defaults(kind, rows))
        return Settings(self.name, self.description, self.budget, space, first)

    def defaults(self, kind: str, rows: int = 0) -> tuple[Params, ...]:
        """The library's default and the tuned defaults, with every parameter that is known."""
        group = "regression" if kind == "regression" else "classification"
        default = {**self.unset, **self.default[group]}
        points = (
            self.large_defaults if rows >= LARGE and self.large_defaults else self.tuned_defaults
        )
        return default, *({**default, **tuned} for tuned in points[group])

    def effective(self, params: Params) -> tuple[str, dict[str, Value]]:
        """This family, and the values with an effect of all its parameters under main names."""
        family, own = self.resolve(params)
        first, *others = self.default.values()  # what differs by the task is not known here
        same = {n: v for n, v in first.items() if all(v == other.get(n) for other in others)}
        values = {**same, **self.unset, **self.canonical(own)}
        return family, effective(family, self.space, values)

    def check_space(self, space: SearchSpace) -> None:
        """Check that a user's space holds only parameters that a space may hold.

        Raises:
            SpaceError: lists every mistake, with the closest known name.
        """
        raise_all(SpaceError, self.names.mistakes(space.names))

    def notes(self, rows: int, kind: str) -> Iterator[str]:
        """What a user should know of its training on so many rows, in sentences."""
        if self.max_rows is not None and rows > self.max_rows:
            yield f"{self.name} is trained on {self.max_rows:,} of the {rows:,} training rows"

    def knows(self, name: str) -> bool:
        """Whether `name` is a parameter of the family, searchable or set by the study."""
        return name in self.names

    def is_changeable(self, name: str) -> bool:
        """Whether the value of a parameter can change while a model trains."""
        return self.canonical_name(name) in self.changeable

    def limits(self, name: str) -> tuple[float, float] | None:
        """The smallest and the largest sensible value of a parameter; None if not declared."""
        ends = self.ranges.get(self.canonical_name(name))
        return None if ends is None else (float(ends[0]), float(ends[1]))

    def canonical_name(self, name: str) -> str:
        """The library's main name of a parameter; a name that is not known is returned as it is."""
        return self.names.main(name) or name

    def canonical(self, params: Params) -> dict[str, Value]:
        """The parameters under main names, so that an alias never means a second parameter."""
        return self.names.canonical(params)

    def resolve(self, params: Params) -> tuple[str, dict[str, Value]]:
        """This family and the parameters that it knows.

        The others only switch between branches of a user's space.
        """
        return self.name, {name: value for name, value in params.items() if self.knows(name)}

    def rounds(self, family: str, budget: float) -> int:
        """The budget itself, which is in the family's unit already."""
        return round(budget)

    def budget_per_round(self, budget: float, rounds: int) -> float:
        """1: budgets are rounds."""
        return 1.0


def learning_rate(family: SingleFamily, params: Params) -> float:
    """The learning rate in parameters under main names; the library's default if it is absent.

    Raises:
        ParameterError: if the family has no `rate`.
    """
    if family.rate is None:
        raise ParameterError(f"{family.name} has no learning rate that a budget changes")
    return float(params.get(family.rate, family.default[TASK_GROUPS[0]][family.rate]))


def scaled(family: SingleFamily, params: Params, share: float) -> dict[str, Value]:
    """The parameters for a training with `share` of the full budget, under main names.

    The learning rate grows by sqrt(1 / share), up to `MAX_RATE` or the given rate if that is
    larger. A family without `rate` keeps its parameters.

    Raises:
        ParameterError: if the share is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise ParameterError(f"the share of the budget must lie in (0, 1], but got {share}")
    found = family.canonical(params)
    if family.rate is None:
        return found
    rate = learning_rate(family, found)
    return {**found, family.rate: min(rate * math.sqrt(1 / share), max(rate, MAX_RATE))}


def _points(value: Any) -> dict[str, list[Params]]:
    """The points for each of `TASK_GROUPS`, of which there may be one or several; {} for none."""
    if not value:
        return {}
    return {
        group: points if isinstance(points, list) else [points]
        for group, points in _by_group(value).items()
    }


def _by_group(value: Any) -> dict[str, Any]:
    """The value of each of `TASK_GROUPS`, where there is one for each or the same for all."""
    own = value if isinstance(value, Mapping) else {}
    return {group: own.get(group, value) for group in TASK_GROUPS}


def _only_active(space: SearchSpace, point: Params) -> dict[str, Value]:
    active = space.active(point)
    return {name: point[name] for name in space.names if name in active and name in point}
