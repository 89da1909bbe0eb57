"""Parameters in foreign runs as a space and configurations of one of our model families.

The space describes where the past has searched: it is the one that Optuna's callback has logged,
else the model's own, widened to hold what was seen.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from hpo.space import SearchSpace
from hpo.space.parameters import Categorical, Float, Integer, Parameter, Value, same
from pipelines.adoption.bounds import BOUNDS, refusal
from pipelines.adoption.mapping import Mapped, Meaning, look_up, meanings
from pipelines.adoption.ranges import DISTRIBUTION, distinct, holding, searched_range
from pipelines.adoption.runs import ForeignRun
from pipelines.models import Settings

_ABSENT = ("", "none", "null", "nan")
_ROUNDS = {"lightgbm": "num_iterations", "xgboost": "n_estimators"}
# LightGBM looks at the first only where the second is above 0, its default. A study of ours sets it
# to 1.
_IDLE = {"lightgbm": ("bagging_fraction", "bagging_freq", 1.0)}

CONSTANT = "the same in every run"
INACTIVE = "without effect in every run"


@dataclass(frozen=True)
class Translation:
    """What the parameters of many runs are here.

    Attributes:
        space: where they lie.
        configurations: by run id.
        names: of each parameter of the space, what it is called in the runs.
        left_out: names by the reason that they are left out for.
        unreadable: run ids by the reason that their parameters cannot be read for.
        notes: sentences for the user.
    """

    space: SearchSpace
    configurations: Mapping[str, Mapping[str, Value]]
    names: Mapping[str, tuple[str, ...]]
    left_out: Mapping[str, tuple[str, ...]]
    unreadable: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]


def translate(runs: Sequence[ForeignRun], own: Settings, given: Mapped) -> Translation:
    """The parameters of `runs` in the terms of the model that `own` is about."""
    logged = sorted({name for run in runs for name in run.params})
    known, left = meanings(own.name, logged, given)
    length = _length_names(own.name, logged)
    rows: dict[str, dict[str, Value]] = {}
    lengths: set[float] = set()
    unreadable: dict[str, list[str]] = defaultdict(list)
    for run in runs:
        try:
            its_lengths = _lengths(own.name, run, length)
            rows[run.run_id] = _row(run, known, own)
            lengths |= its_lengths
        except ValueError as error:
            unreadable[str(error)].append(run.run_id)
    searched, unused = _searched(runs, known, own)
    notes = [*_idle_note(own.name, rows), *_budget_note(own.name, lengths), *unused]
    parameters, reasons, more = _parameters(list(rows.values()), own, searched)
    notes += more
    by_reason: dict[str, list[str]] = defaultdict(list)
    for name, reason in (left | reasons).items():
        by_reason[reason].append(name)
    names = {
        p.name: tuple(t for t, m in known.items() if m and m.name == p.name) for p in parameters
    }
    space = SearchSpace(tuple(parameters))
    return Translation(
        space=space,
        configurations={run_id: _only_active(space, row) for run_id, row in rows.items()},
        names=names,
        left_out={reason: tuple(found) for reason, found in by_reason.items()},
        unreadable={reason: tuple(ids) for reason, ids in unreadable.items()},
        notes=tuple(notes),
    )


def _searched(
    runs: Sequence[ForeignRun], known: Mapped, own: Settings
) -> tuple[dict[str, Parameter], list[str]]:
    """The ranges that Optuna's callback has logged as tags, the same in all runs, and notes on those of no use."""
    found: dict[str, Parameter] = {}
    notes = []
    for theirs, meaning in known.items():
        tag = f"{theirs}{DISTRIBUTION}"
        texts = {run.tags[tag] for run in runs if tag in run.tags}
        if not meaning or meaning.values or len(texts) != 1:
            continue
        text = texts.pop()
        parameter = searched_range(own.name, meaning.name, _own(own, meaning.name), text)
        if parameter:
            found[meaning.name] = parameter
        else:
            notes.append(
                f"the tag {tag} says no range that {meaning.name} can have, and is left out: {text:.80}"
            )
    return found, notes


def _own(own: Settings, name: str) -> Parameter | None:
    """The parameter of this name in the model's own space, if it has one."""
    return next((parameter for parameter in own.space if parameter.name == name), None)


def _only_active(space: SearchSpace, row: Mapping[str, Value]) -> dict[str, Value]:
    return {name: row[name] for name in space.active(row) if name in row}


def _row(run: ForeignRun, known: Mapped, own: Settings) -> dict[str, Value]:
    """A run's parameters under the names and with the values here.

    Raises:
        ValueError: for a value that the parameter cannot take, and for two that mean the same and
            differ.
    """
    found: dict[str, tuple[str, Value]] = {}
    for theirs, text in run.params.items():
        if (meaning := known.get(theirs)) is None:
            continue
        name = meaning.name
        value = _value(theirs, text, meaning, own)
        if value is None:
            continue
        other, before = found.setdefault(name, (theirs, value))
        if not same(before, value):
            raise ValueError(
                f"{other} and {theirs} both mean {name} and differ; give mapping null for the one that does not count"
            )
    return {name: value for name, (_, value) in found.items()}


def _value(theirs: str, text: str, meaning: Meaning, own: Settings) -> Value | None:
    """The value here that a text stands for; None where it says that nothing was set.

    Raises:
        ValueError: for one that the parameter cannot take.
    """
    like, text = _own(own, meaning.name), text.strip()
    if (
        len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    ):  # as `mlflow run` logs its parameters
        text = text[1:-1]
    value = meaning.values.get(text, _plain(text))
    if isinstance(like, Categorical) and (choice := _choice(like, value, text)) is not None:
        return choice
    if text not in meaning.values and text.lower() in _ABSENT:
        return None
    if isinstance(like, Categorical) and isinstance(like.choices[0], bool | str):
        choices = ", ".join(map(str, like.choices))
        raise ValueError(
            f"{theirs}={text!r:.40} is none of {choices}; say with mapping which one it means"
        )
    if isinstance(value, bool | str):
        if isinstance(like, Float | Integer) or meaning.name in BOUNDS[own.name]:
            raise ValueError(f"{theirs}={text!r:.40} is no number; say with mapping what it means")
        return value
    _check_number(own.name, theirs, text, meaning.name, value)
    if isinstance(like, Integer) and not float(value).is_integer():
        raise ValueError(f"{theirs}={text:.40} is no whole number")
    return int(value) if isinstance(like, Integer) else value


def _check_number(model: str, theirs: str, text: str, name: str, number: float) -> None:
    """Raise a ValueError when `model` cannot have been trained with the number that a text stands for."""
    if not math.isfinite(number):
        raise ValueError(f"{theirs}={text:.40} is no finite number")
    if reason := refusal(model, name, number):
        raise ValueError(f"{theirs}={text:.40} {reason}")


def _plain(text: str) -> Value:
    """The value that a text is of; whole numbers too large for any float are infinite."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        number = float(text)
    except ValueError:
        return text
    return int(text) if re.fullmatch(r"[+-]?\d+", text) and math.isfinite(number) else number


def _choice(like: Categorical, value: Value, text: str) -> Value | None:
    """The choice that is meant; None when it is none of them."""
    if all(isinstance(choice, bool) for choice in like.choices) and value in (0, 1):
        value = bool(value)
    return next((choice for choice in like.choices if same(choice, value) or choice == text), None)


def _idle_note(model: str, rows: Mapping[str, dict[str, Value]]) -> Iterator[str]:
    """Put right, in place, what the library has ignored."""
    if model not in _IDLE:
        return
    name, switch, idle = _IDLE[model]
    ignored = [
        row for row in rows.values() if row.get(name, idle) != idle and not row.get(switch, 0)
    ]
    for row in ignored:
        row[name] = idle
    if ignored:
        yield (
            f"{name} had no effect in {_runs(len(ignored))}, where {switch} was 0 ({model}'s default); there it counts "
            f"as {idle:g}"
        )


def _length_names(model: str, names: Iterable[str]) -> list[str]:
    """Those of `names` under which a number of rounds was logged."""
    rounds = _ROUNDS.get(model)
    return [name for name in names if rounds and look_up(model, name, "reserved") == rounds]


def _lengths(model: str, run: ForeignRun, names: Iterable[str]) -> set[float]:
    """How many rounds a run is said to have had, by what was logged under any of `names`.

    Raises:
        ValueError: for a number of rounds that no training has.
    """
    found: set[float] = set()
    for name in names:
        value = _plain(run.params.get(name, ""))
        if not isinstance(value, bool | str) and not math.isnan(value):  # nan is what was not set
            _check_number(model, name, run.params[name], _ROUNDS[model], value)
            found.add(value)
    return found


def _budget_note(model: str, lengths: set[float]) -> Iterator[str]:
    """Every run counts as a full training; say so where they were of different lengths, in rounds."""
    if len(lengths) > 1:
        yield (
            f"{_ROUNDS[model]} differs between the runs, {min(lengths):g} to {max(lengths):g}: each counts as a full "
            "training, with the score that it got"
        )


def _parameters(
    rows: list[dict[str, Value]], own: Settings, searched: Mapping[str, Parameter]
) -> tuple[list[Parameter], dict[str, str], list[str]]:
    """The space's parameters, what is left out and why, and notes; what a run lacks is filled in, in place."""
    default, seen = own.first_points[0], {name for row in rows for name in row}
    its_own = {parameter.name: parameter for parameter in own.space}
    order = [*its_own, *sorted(seen - set(its_own))]
    kept: dict[str, Parameter] = {}
    left: dict[str, str] = {}
    filled: Counter[str] = Counter()
    for name in order:
        if name not in seen:
            continue
        like = its_own.get(name)
        active = [row for row in rows if like is None or _active(like, row, default)]
        if not active:
            left[name] = INACTIVE
            continue
        lacking = [row for row in active if name not in row]
        if name in default:
            for row in lacking:
                row[name] = default[name]
        if lacking:
            filled[name] = len(lacking)
        values = distinct(row[name] for row in active if name in row)
        if len(values) == 1:
            left[f"{name}={values[0]}"] = CONSTANT
        else:
            kept[name] = _where(holding(name, searched.get(name), like, values), like, kept)
    return list(kept.values()), left, list(_filled_notes(filled, kept, default, len(rows)))


def _where(
    parameter: Parameter, like: Parameter | None, kept: Mapping[str, Parameter]
) -> Parameter:
    """The parameter with the conditions of the model's own space, as far as its parents are kept."""
    when = {}
    for name, values in like.when.items() if like else ():
        if isinstance(parent := kept.get(name), Categorical):
            when[name] = tuple(value for value in values if parent.index(value) >= 0)
    return replace(parameter, when=when)


def _filled_notes(
    filled: Mapping[str, int], kept: Iterable[str], default: Mapping[str, Value], n: int
) -> Iterator[str]:
    for name, lacking in filled.items():
        if name in kept:
            taken = (
                f"taken for the library's default {default[name]}"
                if name in default
                else "left to the library"
            )
            yield f"{name} is not logged in {lacking} of {_runs(n)}: {taken}"


def _active(parameter: Parameter, row: Mapping[str, Value], default: Mapping[str, Value]) -> bool:
    return all(
        any(same(row.get(parent, default.get(parent)), value) for value in values)
        for parent, values in parameter.when.items()
    )


def _runs(n: int) -> str:
    return f"{n} run" if n == 1 else f"{n} runs"
