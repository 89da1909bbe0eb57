"""Logged parameters as configurations, and a search space, of one of our model families.

The space describes where the past has searched: the ranges that Optuna's callback logged, or else
those of the model's own space, widened to hold the logged values.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hpo.errors import counted
from hpo.space import SearchSpace
from hpo.space.parameters import Params, Value, same
from pipelines.adoption.mapping import Mapped, find_meanings
from pipelines.adoption.rounds import logged_rounds, rounds_notes, rounds_parameters
from pipelines.adoption.runs import ForeignRun
from pipelines.adoption.space import (
    OwnSpace,
    configuration,
    logged_ranges,
    searched_space,
)
from pipelines.adoption.values import LoggedParameter
from pipelines.models import Settings

Row = dict[str, Value]


@dataclass(frozen=True)
class _Ignored:
    """A parameter that the library ignores unless another one, its switch, is above 0."""

    name: str
    switch: str
    value: float  # what it counts as when it is ignored


# The switch is 0 by default; studies of this project set it to 1.
_IGNORED = {"lightgbm": _Ignored("bagging_fraction", "bagging_freq", 1.0)}


@dataclass(frozen=True)
class Translation:
    """The parameters of many runs as those of a model family.

    Attributes:
        space: The space that was searched.
        configurations: By run id.
        names: For each parameter of the space its names in the runs.
        left_out: Names of other parameters, by the reason why they are left out.
        unreadable: Ids of runs whose parameters cannot be read, by the reason.
        notes: Sentences for the user.
    """

    space: SearchSpace
    configurations: Mapping[str, Params]
    names: Mapping[str, tuple[str, ...]]
    left_out: Mapping[str, tuple[str, ...]]
    unreadable: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Table:
    """The values of all runs: rows by run id, their numbers of rounds, and errors by run id."""

    rows: dict[str, Row] = field(default_factory=dict)
    rounds: set[float] = field(default_factory=set)
    unreadable: dict[str, str] = field(default_factory=dict)


def translate(runs: Sequence[ForeignRun], settings: Settings, given: Mapped) -> Translation:
    """Translate the parameters of `runs` to those of a model.

    Args:
        runs: The trials.
        settings: The settings of the model.
        given: The meanings of the user's mapping.
    """
    own, model = OwnSpace(settings), settings.name
    logged = sorted({name for run in runs for name in run.params})
    meanings, unknown = find_meanings(model, logged, given)
    parameters = [
        LoggedParameter(name, model, meaning, own.parameters.get(meaning.name))
        for name, meaning in meanings.items()
    ]
    table = _read(runs, parameters, rounds_parameters(model, logged))
    notes = [
        *_correct_ignored(model, table.rows.values()),
        *rounds_notes(model, table.rounds),
    ]
    ranges, range_notes = logged_ranges(runs, parameters)
    found = searched_space(list(table.rows.values()), own, ranges)
    names = _inverted({parameter.logged: parameter.meaning.name for parameter in parameters})
    return Translation(
        space=found.space,
        configurations={
            run_id: configuration(found.space, row, own) for run_id, row in table.rows.items()
        },
        names={name: names[name] for name in found.space.names},
        left_out=_inverted({**unknown, **found.left_out}),
        unreadable=_inverted(table.unreadable),
        notes=(*notes, *range_notes, *found.notes),
    )


def _read(
    runs: Sequence[ForeignRun],
    parameters: Sequence[LoggedParameter],
    rounds: Sequence[LoggedParameter],
) -> _Table:
    table = _Table()
    for run in runs:
        try:
            run_rounds = logged_rounds(run, rounds)
            table.rows[run.run_id] = _read_row(run, parameters)
        except ValueError as error:
            table.unreadable[run.run_id] = str(error)
        else:
            table.rounds.update(run_rounds)
    return table


def _read_row(run: ForeignRun, parameters: Iterable[LoggedParameter]) -> Row:
    """The values of a run, by main name.

    Raises:
        ValueError: If a parameter cannot have its value, or two names of a parameter disagree.
    """
    row: Row = {}
    sources: dict[str, str] = {}
    for parameter in parameters:
        name, logged = parameter.meaning.name, parameter.logged
        value = parameter.read(run.params[logged]) if logged in run.params else None
        if value is None:
            continue
        if not same(row.setdefault(name, value), value):
            raise ValueError(
                f"{sources[name]} and {logged} both mean {name} but differ; exclude one of them "
                "with mapping (null)"
            )
        sources[name] = logged
    return row


def _correct_ignored(model: str, rows: Iterable[Row]) -> list[str]:
    """Correct, in place, the values that the library ignored; a note if there are any."""
    if model not in _IGNORED:
        return []
    name, switch, value = _IGNORED[model].name, _IGNORED[model].switch, _IGNORED[model].value
    ignored = [row for row in rows if row.get(name, value) != value and not row.get(switch, 0)]
    for row in ignored:
        row[name] = value
    note = (
        f"{name} had no effect in {counted(len(ignored), 'run')}, where {switch} was 0 ({model}'s "
        f"default); there it counts as {value:g}"
    )
    return [note] if ignored else []


def _inverted(values: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """From values by key to keys by value."""
    keys: dict[str, tuple[str, ...]] = defaultdict(tuple)
    for key, value in values.items():
        keys[value] += (key,)
    return dict(keys)
