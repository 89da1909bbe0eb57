"""The space that logged runs have searched."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeGuard

from hpo.errors import counted
from hpo.space import SearchSpace
from hpo.space.parameters import Categorical, Parameter, Params, Value, same
from pipelines.adoption.ranges import DISTRIBUTION, distinct, searched_range, widened_range
from pipelines.adoption.runs import ForeignRun
from pipelines.adoption.values import LoggedParameter
from pipelines.models import Settings

CONSTANT = "the same in every run"
INACTIVE = "without effect in every run"


@dataclass(frozen=True)
class OwnSpace:
    """A model's own space, with the library's defaults for values that a run did not log."""

    settings: Settings

    @property
    def model(self) -> str:
        """The model family."""
        return self.settings.name

    @cached_property
    def parameters(self) -> Mapping[str, Parameter]:
        """The parameters by name."""
        return {parameter.name: parameter for parameter in self.settings.space}

    @property
    def default(self) -> Params:
        """The library's default configuration."""
        return self.settings.first_points[0]

    def value(self, name: str, row: Params) -> Value | None:
        """The value of a parameter in a run; None if neither the run nor the library gives one."""
        return row.get(name, self.default.get(name))

    def is_active(self, name: str, row: Params) -> bool:
        """Whether a parameter has an effect in a run."""
        if name not in self.parameters:
            return True
        for parent, allowed in self.parameters[name].when.items():
            value = self.value(parent, row)
            if not any(same(value, choice) for choice in allowed):
                return False
        return True

    def ordered(self, names: Iterable[str]) -> list[str]:
        """The names in the order of the space, others behind in alphabetical order."""
        known = {name: position for position, name in enumerate(self.parameters)}
        return sorted(names, key=lambda name: (known.get(name, len(known)), name))


@dataclass(frozen=True)
class SearchedSpace:
    """The space of some runs.

    Attributes:
        space: The parameters that differ between the runs.
        left_out: The reasons for other parameters, by name.
        notes: Sentences for the user.
    """

    space: SearchSpace
    left_out: Mapping[str, str]
    notes: Sequence[str]


def searched_space(
    rows: Sequence[Params], own: OwnSpace, ranges: Mapping[str, Parameter]
) -> SearchedSpace:
    """The space of runs with the parameters `rows`, where some of its `ranges` were logged."""
    found: dict[str, Parameter] = {}
    left_out: dict[str, str] = {}
    notes: list[str] = []
    for name in own.ordered(set().union(*rows)):
        active = [row for row in rows if own.is_active(name, row)]
        values = distinct(filter(_is_set, (own.value(name, row) for row in active)))
        if not active:
            left_out[name] = INACTIVE
        elif len(values) == 1:
            left_out[f"{name}={values[0]}"] = CONSTANT
        else:
            like = own.parameters.get(name)
            parameter = widened_range(name, ranges.get(name), like, values)
            found[name] = replace(parameter, when=_conditions(like, found))
            missing = sum(name not in row for row in active)
            notes += _missing_notes(name, missing, len(rows), own)
    return SearchedSpace(SearchSpace(tuple(found.values())), left_out, notes)


def _conditions(
    like: Parameter | None, found: Mapping[str, Parameter]
) -> dict[str, tuple[Value, ...]]:
    """The conditions of the model's own parameter `like`, as far as their parents were found."""
    when = {}
    for name, values in like.when.items() if like else ():
        if isinstance(parent := found.get(name), Categorical):
            when[name] = tuple(value for value in values if parent.index(value) >= 0)
    return when


def _missing_notes(name: str, missing: int, n_runs: int, own: OwnSpace) -> list[str]:
    if not missing:
        return []
    known = name in own.default
    reading = f"assumed the library's default {own.default[name]}" if known else "left unset"
    return [f"{name} is not logged in {missing} of {counted(n_runs, 'run')}: {reading}"]


def configuration(space: SearchSpace, row: Params, own: OwnSpace) -> dict[str, Value]:
    """The active parameters of a run, with the library's defaults for those that it lacks."""
    complete = dict(row)
    for name in space.names:
        if name in own.default and own.is_active(name, row):
            complete.setdefault(name, own.default[name])
    return {name: complete[name] for name in space.active(complete) if name in complete}


def logged_ranges(
    runs: Sequence[ForeignRun], parameters: Iterable[LoggedParameter]
) -> tuple[dict[str, Parameter], list[str]]:
    """The ranges that Optuna's callback logged, where all runs agree; notes on unusable ones."""
    found: dict[str, Parameter] = {}
    notes: list[str] = []
    for parameter in parameters:
        name, tag = parameter.meaning.name, f"{parameter.logged}{DISTRIBUTION}"
        texts = {run.tags[tag] for run in runs if tag in run.tags}
        if parameter.meaning.values or len(texts) != 1:
            continue
        text = texts.pop()
        searched = searched_range(parameter.model, name, parameter.own, text)
        if searched:
            found[name] = searched
        else:
            notes.append(
                f"the tag {tag} is not a possible range of {name} and is ignored: {text:.80}"
            )
    return found, notes


def _is_set(value: Value | None) -> TypeGuard[Value]:
    return value is not None
