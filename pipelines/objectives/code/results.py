"""What the user's code returns, as metrics, and which of them decides."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hpo.errors import ParameterError
from hpo.goals import Goal, Goals
from pipelines.objectives.scoring.goals import read_goals
from pipelines.store import schema
from pipelines.study.options import AUTO, SearchOptions
from pipelines.table.scores.metrics import METRICS
from pipelines.table.scores.named import SIGNS

LOSS = "loss"  # the name of a bare number
_SHOWN = 300  # characters of what a failed program has printed
MAX_CURVE = 50  # points of a learning curve that are stored


def goals_of(options: SearchOptions) -> Goals:
    """The goals of a study of the user's code.

    Raises:
        ParameterError: for a metric whose direction is not known, or a text that is no limit.
    """
    goals = read_goals(options, goal_of, own=True)
    schema.check_names(dict.fromkeys(goals.sums.measured))
    return goals


class ResultError(Exception):
    """The user's code returned something that is not a score."""


def goal_of(metric: str, lead: Goal | None = None) -> Goal:
    """The goal that the option `metric` names; its direction does not depend on the `lead`.

    A bare number is minimised. `-name` is minimised and `+name` maximised; a metric that tables
    know has its own direction.

    Raises:
        ParameterError: for a name whose direction is not known.
    """
    if not isinstance(metric, str):
        raise ParameterError(
            f"metric={metric!r:.80} must be text; write -err to minimise, +accuracy to maximise"
        )
    name = metric.strip()
    if name in (AUTO, LOSS):
        return Goal(LOSS)
    if name[:1] in SIGNS:
        own = name[1:].strip()
        if not own:
            raise ParameterError(
                f"metric={metric!r} has a sign and no name; write -err or +accuracy"
            )
        schema.check_names({own: None})
        return Goal(own, SIGNS[name[0]])
    if name in METRICS:
        return METRICS[name].goal
    raise ParameterError(
        f"metric={metric!r}: whether it is to be small or large is not known; write -{name} to "
        f"minimise it or +{name} to maximise it"
    )


@dataclass(frozen=True)
class Course:
    """The metrics of one evaluation.

    Attributes:
        metrics: the last ones.
        curve: `(step, score)`, with at most `MAX_CURVE` points.
    """

    metrics: Mapping[str, float]
    curve: tuple[tuple[float, float], ...] = ()


def course(returned: Any, goals: Goals, start: float = 0.0) -> Course:
    """Read what the code returned, or take all that a generator yields.

    Args:
        returned: a number, a mapping of metrics, or an iterator of such values.
        goals: the metrics that are needed.
        start: the budget that was reached before, from which a generator counts.

    Raises:
        ResultError: for anything else.
    """
    if not isinstance(returned, Iterator):
        return Course(metrics_of(returned, goals))
    last: Mapping[str, float] | None = None
    points: list[tuple[float, float]] = []
    for step, value in enumerate(returned, 1):
        last = metrics_of(value, goals)
        points.append((start + step, last[goals.first.name]))
    if last is None:
        raise ResultError("the objective yielded nothing; it must yield a number or metrics")
    return Course(last, _thinned(points))


def last_line(text: str) -> str:
    """The last line that a program has printed, for a message; Python ends tracebacks with it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:_SHOWN] if lines else ""


def metrics_of(value: Any, goals: Goals) -> dict[str, float]:
    """The metrics in a returned value.

    Raises:
        ResultError: when it is no number and no mapping of numbers that has the needed metrics.
    """
    needed = goals.sums.measured
    if not isinstance(value, Mapping):
        if len(needed) > 1:
            raise ResultError(
                f"the objective returned {value!r:.80}; with several metrics it must return a dict "
                f"of {', '.join(needed)}"
            )
        value = {needed[0]: _number(value, f"the objective returned {value!r:.80}; it must return")}
    found = {}
    for name, number in value.items():
        is_flag = isinstance(number, bool) and name not in needed
        said = f"the objective returned {number!r:.80} as {name}; it must return"
        found[str(name)] = float(number) if is_flag else _number(number, said)
    try:
        schema.check_names(found)
    except ParameterError as error:
        raise ResultError(str(error)) from error
    missing = [name for name in needed if name not in found]
    if missing:
        names = ", ".join(found) or "nothing"
        first = next(iter(found), "name")
        wanted = ", ".join(missing)
        if goals.is_plain:
            raise ResultError(
                f"the objective returned {names}, but the metric is {wanted}; return it, or choose "
                f"one of these with metric=-{first} or metric=+{first}"
            )
        raise ResultError(
            f"the objective returned {names}, but metric and limits also name {wanted}; return it, "
            "or start a new study without it"
        )
    for name in needed:
        if not math.isfinite(found[name]):
            raise ResultError(f"{name} is {found[name]}; a finite number was expected")
    return goals.sums.with_values(found)


def _number(number: Any, said: str) -> float:
    """A number of any library, such as NumPy or torch; `said` begins the message of an error."""
    try:
        if not isinstance(number, str | bytes | bool):
            return float(number)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ResultError(f"{said} a number or a dict of metrics, which are numbers")


def _thinned(points: list[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """At most `MAX_CURVE` points, evenly spread, with the last one."""
    step = math.ceil(len(points) / MAX_CURVE)
    return tuple(points[::-1][::step][::-1])
