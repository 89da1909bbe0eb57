"""Logged parameters as configurations, and a search space, of one of our model families.

The space describes where the past has searched: the ranges that Optuna's callback logged, or else
those of the model's own space, widened to hold the logged values.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hpo.space import SearchSpace
from hpo.space.parameters import Categorical, Parameter, Params, Value, same
from pipelines.adoption.mapping import Mapped, Meaning, find_meanings
from pipelines.adoption.ranges import DISTRIBUTION, distinct, searched_range, widened_range
from pipelines.adoption.rounds import logged_rounds, rounds_notes, rounds_parameters
from pipelines.adoption.runs import ForeignRun
from pipelines.adoption.values import LoggedParameter
from pipelines.models import Settings

CONSTANT = "the same in every run"
INACTIVE = "without effect in every run"


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


Row = dict[str, Value]


@dataclass(frozen=True)
class _Table:
    """The values of all runs: rows by run id, their numbers of rounds, and errors by run id."""

    rows: dict[str, Row] = field(default_factory=dict)
    rounds: set[float] = field(default_factory=set)
    unreadable: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Space:
    """The parameters of a space; `left_out` gives the reasons for others, by name."""

    parameters: tuple[Parameter, ...]
    left_out: Mapping[str, str]
    notes: Sequence[str]


def translate(runs: Sequence[ForeignRun], own: Settings, given: Mapped) -> Translation:
    """Translate the parameters of `runs` to those of the model with the settings `own`.

    Args:
        runs: The trials.
        own: The settings of the model.
        given: The meanings of the user's mapping.
    """
    logged = sorted({name for run in runs for name in run.params})
    meanings, unknown = find_meanings(own.name, logged, given)
    own_space = _by_name(own)
    parameters = {
        name: LoggedParameter(name, own.name, meaning, own_space.get(meaning.name))
        for name, meaning in meanings.items()
    }
    table = _read(runs, parameters, rounds_parameters(own.name, logged))
    ranges, range_notes = _searched_ranges(runs, parameters.values())
    notes = [
        *_correct_ignored(own.name, table.rows.values()),
        *rounds_notes(own.name, table.rounds),
    ]
    found = _space_of(list(table.rows.values()), own, ranges)
    space = SearchSpace(found.parameters)
    return Translation(
        space=space,
        configurations={
            run_id: _configuration(space, row, own) for run_id, row in table.rows.items()
        },
        names={parameter.name: _logged_names(parameter, meanings) for parameter in space},
        left_out=_by_reason({**unknown, **found.left_out}),
        unreadable=_by_reason(table.unreadable),
        notes=(*notes, *range_notes, *found.notes),
    )


def _read(
    runs: Sequence[ForeignRun],
    parameters: Mapping[str, LoggedParameter],
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


def _by_name(own: Settings) -> dict[str, Parameter]:
    return {parameter.name: parameter for parameter in own.space}


def _logged_names(parameter: Parameter, meanings: Mapping[str, Meaning]) -> tuple[str, ...]:
    return tuple(name for name, meaning in meanings.items() if meaning.name == parameter.name)


def _by_reason(reasons: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """From reasons by name to names by reason."""
    grouped: dict[str, tuple[str, ...]] = defaultdict(tuple)
    for name, reason in reasons.items():
        grouped[reason] += (name,)
    return dict(grouped)


def _read_row(run: ForeignRun, parameters: Mapping[str, LoggedParameter]) -> Row:
    """The values of a run, by main name.

    Raises:
        ValueError: If a parameter cannot have its value, or two names of a parameter disagree.
    """
    row: Row = {}
    sources: dict[str, str] = {}
    for logged, text in run.params.items():
        parameter = parameters.get(logged)
        value = parameter.read(text) if parameter else None
        if parameter is None or value is None:
            continue
        name = parameter.meaning.name
        if name in row and not same(row[name], value):
            raise ValueError(
                f"{sources[name]} and {logged} both mean {name} but differ; exclude one of them "
                "with mapping (null)"
            )
        row.setdefault(name, value)
        sources.setdefault(name, logged)
    return row


def _searched_ranges(
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


def _correct_ignored(model: str, rows: Iterable[Row]) -> list[str]:
    """Correct, in place, the values that the library ignored; a note if there are any."""
    if model not in _IGNORED:
        return []
    ignored = _IGNORED[model]
    count = 0
    for row in rows:
        if row.get(ignored.name, ignored.value) != ignored.value and not row.get(ignored.switch, 0):
            row[ignored.name] = ignored.value
            count += 1
    note = (
        f"{ignored.name} had no effect in {_runs(count)}, where {ignored.switch} was 0 "
        f"({model}'s default); there it counts as {ignored.value:g}"
    )
    return [note] if count else []


def _space_of(rows: Sequence[Row], own: Settings, searched: Mapping[str, Parameter]) -> _Space:
    """The space of the parameters that differ between the rows."""
    own_space, default = _by_name(own), own.first_points[0]
    seen = {name for row in rows for name in row}
    found: dict[str, Parameter] = {}
    left_out: dict[str, str] = {}
    notes: list[str] = []
    for name in [*filter(seen.__contains__, own_space), *sorted(seen - own_space.keys())]:
        like = own_space.get(name)
        active = [row for row in rows if like is None or _is_active(like, row, default)]
        values = [row.get(name, default.get(name)) for row in active]
        different = distinct(value for value in values if value is not None)
        if not active:
            left_out[name] = INACTIVE
        elif len(different) == 1:
            left_out[f"{name}={different[0]}"] = CONSTANT
        else:
            parameter = widened_range(name, searched.get(name), like, different)
            found[name] = _with_conditions(parameter, like, found)
            missing = sum(name not in row for row in active)
            notes += _missing_notes(name, missing, len(rows), default)
    return _Space(tuple(found.values()), left_out, notes)


def _is_active(parameter: Parameter, row: Params, default: Params) -> bool:
    """Whether the conditions of a parameter of the model's own space hold."""
    for parent, allowed in parameter.when.items():
        value = row.get(parent, default.get(parent))
        if not any(same(value, choice) for choice in allowed):
            return False
    return True


def _with_conditions(
    parameter: Parameter, like: Parameter | None, found: Mapping[str, Parameter]
) -> Parameter:
    """The parameter with those conditions of the model's own space whose parents were found."""
    when = {}
    for name, values in like.when.items() if like else ():
        if isinstance(parent := found.get(name), Categorical):
            when[name] = tuple(value for value in values if parent.index(value) >= 0)
    return replace(parameter, when=when)


def _missing_notes(name: str, missing: int, n_runs: int, default: Params) -> list[str]:
    if not missing:
        return []
    reading = f"assumed the library's default {default[name]}" if name in default else "left unset"
    return [f"{name} is not logged in {missing} of {_runs(n_runs)}: {reading}"]


def _configuration(space: SearchSpace, row: Row, own: Settings) -> Row:
    """The active parameters of a row, with the library's defaults for those that it lacks."""
    default, own_space = own.first_points[0], _by_name(own)
    complete = dict(row)
    for parameter in space:
        name = parameter.name
        if name in default and _is_active(own_space[name], row, default):
            complete.setdefault(name, default[name])
    return {name: complete[name] for name in space.active(complete) if name in complete}


def _runs(n: int) -> str:
    return f"{n} run" if n == 1 else f"{n} runs"
