"""Parameters in foreign runs as a space and configurations of one of our model families.

The space describes where the past has searched: it is the one that Optuna's callback has logged, else the model's own,
widened to hold what was seen.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from hpo.parameters import Categorical, Float, Integer, Parameter, Value, same
from hpo.space import SearchSpace
from pipelines.adoption.mapping import Mapped, Meaning, look_up, meanings
from pipelines.adoption.ranges import DISTRIBUTION, distinct, from_optuna, holding
from pipelines.adoption.runs import ForeignRun
from pipelines.models import Settings

_ABSENT = ("", "none", "null", "nan")
_ROUNDS = {"lightgbm": "num_iterations", "xgboost": "n_estimators"}
# LightGBM looks at the first only where the second is above 0, its default. A study of ours sets it to 1.
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
    known, left = meanings(own.name, sorted({name for run in runs for name in run.params}), given)
    like = {parameter.name: parameter for parameter in own.space}
    rows: dict[str, dict[str, Value]] = {}
    unreadable: dict[str, list[str]] = defaultdict(list)
    for run in runs:
        try:
            rows[run.run_id] = _row(run, known, like)
        except ValueError as error:
            unreadable[str(error)].append(run.run_id)
    notes = [
        *_idle_note(own.name, rows),
        *_budget_note(own.name, [run for run in runs if run.run_id in rows]),
    ]
    parameters, reasons, more = _parameters(list(rows.values()), own, _searched(runs, known))
    notes += more
    by_reason: dict[str, list[str]] = defaultdict(list)
    for name, reason in (left | reasons).items():
        by_reason[reason].append(name)
    names = {p.name: tuple(t for t, m in known.items() if m and m.name == p.name) for p in parameters}
    space = SearchSpace(tuple(parameters))
    return Translation(
        space=space,
        configurations={run_id: _only_active(space, row) for run_id, row in rows.items()},
        names=names,
        left_out={reason: tuple(found) for reason, found in by_reason.items()},
        unreadable={reason: tuple(ids) for reason, ids in unreadable.items()},
        notes=tuple(notes),
    )


def _searched(runs: Sequence[ForeignRun], known: Mapped) -> dict[str, Parameter]:
    """The ranges that Optuna's callback has logged as tags, where they are the same in all runs."""
    found: dict[str, Parameter] = {}
    for theirs, meaning in known.items():
        texts = {run.tags[tag] for run in runs if (tag := f"{theirs}{DISTRIBUTION}") in run.tags}
        if meaning and not meaning.values and len(texts) == 1:
            parameter = from_optuna(meaning.name, texts.pop())
            found |= {meaning.name: parameter} if parameter else {}
    return found


def _only_active(space: SearchSpace, row: Mapping[str, Value]) -> dict[str, Value]:
    return {name: row[name] for name in space.active(row) if name in row}


def _row(run: ForeignRun, known: Mapped, like: Mapping[str, Parameter]) -> dict[str, Value]:
    """A run's parameters under the names and with the values here.

    Raises:
        ValueError: for a value that the parameter cannot take, and for two that mean the same and differ.
    """
    found: dict[str, tuple[str, Value]] = {}
    for theirs, text in run.params.items():
        if (meaning := known.get(theirs)) is None:
            continue
        name = meaning.name
        value = _value(theirs, text, meaning, like.get(name))
        if value is None:
            continue
        other, before = found.setdefault(name, (theirs, value))
        if not same(before, value):
            raise ValueError(
                f"{other} and {theirs} both mean {name} and differ; give mapping null for the one that does not count"
            )
    return {name: value for name, (_, value) in found.items()}


def _value(theirs: str, text: str, meaning: Meaning, like: Parameter | None) -> Value | None:
    """The value here that a text stands for; None where it says that nothing was set."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":  # as `mlflow run` logs its parameters
        text = text[1:-1]
    value = meaning.values.get(text, _plain(text))
    if isinstance(like, Categorical) and (choice := _choice(like, value, text)) is not None:
        return choice
    if text not in meaning.values and text.lower() in _ABSENT:
        return None
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{theirs}={text} is no finite number")
    if isinstance(like, Float | Integer) and isinstance(value, bool | str):
        raise ValueError(f"{theirs}={text!r:.40} is no number; say with mapping what it means")
    if isinstance(like, Integer) and not float(value).is_integer():
        raise ValueError(f"{theirs}={text} is no whole number")
    return int(value) if isinstance(like, Integer) else value


def _plain(text: str) -> Value:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        number = float(text)
    except ValueError:
        return text
    return int(text) if re.fullmatch(r"[+-]?\d+", text) else number


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
    ignored = [row for row in rows.values() if row.get(name, idle) != idle and not row.get(switch, 0)]
    for row in ignored:
        row[name] = idle
    if ignored:
        yield (
            f"{name} had no effect in {_runs(len(ignored))}, where {switch} was 0 ({model}'s default); there it counts "
            f"as {idle:g}"
        )


def _budget_note(model: str, runs: Sequence[ForeignRun]) -> Iterator[str]:
    """Every run counts as a full training; say so where they were of different lengths."""
    if model not in _ROUNDS:
        return
    names = {name for run in runs for name in run.params}
    names = {name for name in names if look_up(model, name, "reserved") == _ROUNDS[model]}
    texts = {run.params[name] for run in runs for name in names if name in run.params}
    lengths = sorted(value for value in map(_plain, texts) if isinstance(value, int | float))
    if len(lengths) > 1:
        yield (
            f"{_ROUNDS[model]} differs between the runs, {lengths[0]:g} to {lengths[-1]:g}: each counts as a full "
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


def _where(parameter: Parameter, like: Parameter | None, kept: Mapping[str, Parameter]) -> Parameter:
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
