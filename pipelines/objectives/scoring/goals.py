"""The goals of a study, from the options `metric`, `limits` and `prefer`."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy.typing as npt

from hpo.algorithms import grants_budgets
from hpo.errors import ParameterError, closest, raise_all
from hpo.goals import MINIMIZE, Goal, Goals, Limit
from pipelines.study.options import AUTO, OFF, Options, SearchOptions, TuneOptions
from pipelines.table.scores.costs import COSTS
from pipelines.table.scores.functions import is_function
from pipelines.table.scores.named import metric_for, metric_named, metric_text
from pipelines.table.scores.scorers import OWN_NAMES
from serving.names import listed


def goals_of(
    options: Options,
    default: str,
    kind: str,
    y: npt.NDArray[Any] | None = None,
    *,
    weighted: bool = False,
) -> Goals:
    """The goals of a study of a table.

    Args:
        options: of the study.
        default: the metric that `auto` stands for; "" for that of the task.
        kind: of the task.
        y: `(n,)` codes or original values that the metrics must be able to score.
        weighted: whether the rows have weights.

    Raises:
        ParameterError: for an unknown metric, and one that cannot score such a target.
    """
    found = read_goals(options, table_goal(kind, default, y))
    raise_all(ParameterError, _limit_mistakes(found.limits, kind, y))
    for name in found.names if weighted else ():
        if name not in COSTS and not metric_named(name).takes_weights:
            raise ParameterError(
                f"metric {name!r} takes no sample_weight, and weight gives the rows weights; leave "
                "weight out, or take another metric"
            )
    if found.first.name in COSTS:
        raise ParameterError(
            f"metric={options.metric!r}: the first metric must score predictions, and "
            f"{found.first.name} is what a model costs; write metric=auto,{found.first.name}, or "
            f"limits={found.first.name}<…"
        )
    return found


def _limit_mistakes(
    limits: Sequence[Limit], kind: str, y: npt.NDArray[Any] | None
) -> Iterator[str]:
    for limit in limits:
        try:
            _check_limit(limit, kind, y)
        except ParameterError as error:
            yield str(error)


def _check_limit(limit: Limit, kind: str, y: npt.NDArray[Any] | None) -> None:
    own = OWN_NAMES.get(limit.name)
    if own is not None:
        side, bound = ("<", -limit.bound) if limit.name.startswith("neg_") else (">", limit.bound)
        raise ParameterError(
            f"limits={str(limit)!r}: that metric is {own} here; write a bound of it, such as "
            f"{own}{side}{bound:g}"
        )
    if limit.name not in COSTS:
        metric_for(limit.name, kind, y)


def table_goal(
    kind: str, default: str = "", y: npt.NDArray[Any] | None = None
) -> Callable[[str], Goal]:
    """What finds the goal that a name stands for (`goals_of`)."""

    def goal(name: str) -> Goal:
        if name in COSTS:
            return Goal(name, MINIMIZE)
        if is_function(name):
            raise ParameterError(
                f"metric={name!r}: whether it is to be small or large is not known; write "
                f"-{name} to minimise it or +{name} to maximise it"
            )
        try:
            metric = metric_for(default if name == AUTO else name, kind, y)
        except ParameterError as error:
            near = closest(name, COSTS)
            raise ParameterError(f"{error}; costs of a model: {', '.join(COSTS)}{near}") from error
        return metric.goal

    return goal


def read_goals(options: Options, goal: Callable[[str], Goal]) -> Goals:
    """The goals that the options name; `goal` knows the direction of a metric.

    Raises:
        ParameterError: for texts that are no goals, limits or weights.
    """
    limits = prefer = None
    if isinstance(options, TuneOptions):
        limits, prefer = options.limits, options.prefer
    return _goals(options.metric, limits, prefer, goal)


def _goals(
    metric: str, limits: str | None, prefer: str | None, goal: Callable[[str], Goal]
) -> Goals:
    by_text = {_unsigned(name): goal(name) for name in listed(metric)}
    if not by_text:
        raise ParameterError(f"metric={metric!r} names no metric; leave it out for auto")
    weights = dict(map(_weight, listed(prefer or "")))
    return Goals(
        tuple(map(goal, listed(metric))),
        _limits(limits or ""),
        {by_text[name].name if name in by_text else name: weights[name] for name in weights},
    )


def _limits(text: str) -> tuple[Limit, ...]:
    """The limits of a text.

    Raises:
        ParameterError: naming all that are none.
    """
    found, mistakes = list[Limit](), list[str]()
    for part in listed(text):
        try:
            found.append(Limit.parse(part))
        except ParameterError as error:
            mistakes.append(str(error))
    raise_all(ParameterError, mistakes)
    return tuple(found)


def preferring(goals: Goals, prefer: str | None) -> Goals:
    """The goals with other weights, if they are given.

    Raises:
        ParameterError: for a text that is no weights, or weighs what is no goal.
    """
    return goals if prefer is None else replace(goals, weights=dict(map(_weight, listed(prefer))))


def as_began(
    goals: Goals, given: Mapping[str, Any], goal: Callable[[str], Goal]
) -> dict[str, str | None]:
    """The options that made `goals`; a given one that means the same is returned as it is."""
    signed = is_signed(given.get("metric", ""))
    names = [
        f"{'-+'[each.greater_is_better]}{each.name}" if signed else metric_text(each)
        for each in goals.goals
    ]
    began = {
        "metric": ",".join(names),
        "limits": ",".join(map(str, goals.limits)) or None,
    }
    texts = began | {name: given[name] for name in began if name in given}
    try:
        same = _goals(texts["metric"] or "", texts["limits"], None, goal) == replace(
            goals, weights={}
        )
    except ParameterError:
        same = False
    return texts if same else began


def is_signed(metric: str) -> bool:
    """Whether a metric is given with its direction, as `-err` or `+accuracy`."""
    return metric.strip()[:1] in {"-", "+"}


def goal_mistakes(options: SearchOptions, wrong: Collection[str] = ()) -> Iterator[str]:
    """The mistakes that show before it is known what is searched.

    `wrong` are the options whose values are mistakes already.
    """
    if {"metric", "limits", "prefer"} & set(wrong):
        return
    names = listed(options.metric)
    several = len(names) > 1 or (isinstance(options, TuneOptions) and options.limits is not None)
    if options.min_gain is not None:
        if several:
            yield (
                f"min_gain={options.min_gain:g} is of one metric, but there are several goals or "
                "limits; take patience instead"
            )
        if "algorithm" not in wrong and _grants_budgets(options.algorithm):
            yield (
                f"min_gain={options.min_gain:g} compares trials of one budget, and algorithm="
                f"{options.algorithm} grants several; take patience instead"
            )
    if not isinstance(options, TuneOptions):
        if several:
            yield (
                f"metric={options.metric!r}: several metrics are for tune alone; name the one that "
                "decides"
            )
        return
    yield from _text_mistakes(options, names)
    if options.prefer is not None and len(names) < 2 and options.study is None:
        yield (
            f"prefer={options.prefer!r} weighs several metrics, and metric={options.metric!r} is "
            "one; name them all in metric, or leave prefer out"
        )
    if several and options.confirm:
        yield (
            f"confirm={options.confirm} orders trials by one metric, but there are several goals "
            "or limits; leave confirm out"
        )
    if several and options.ensemble not in (AUTO, OFF):
        yield (
            f"ensemble={options.ensemble!r} is chosen by one metric, but there are several goals "
            "or limits; leave ensemble out"
        )


def _grants_budgets(algorithm: str) -> bool:
    try:
        return grants_budgets(algorithm)
    except ParameterError:  # which is told elsewhere
        return False


def _text_mistakes(options: TuneOptions, names: list[str]) -> Iterator[str]:
    try:
        weights = dict(map(_weight, listed(options.prefer or "")))
        unknown = AUTO in names or options.study is not None
        prefer = None if weights and unknown else options.prefer  # the goals are known later
        _goals(options.metric, options.limits, prefer, lambda name: Goal(_unsigned(name)))
    except ParameterError as error:
        yield str(error)


def _unsigned(name: str) -> str:
    return name.lstrip("-+").strip()


def metric_names(metric: str) -> list[str]:
    """The metrics that the option names, without their directions."""
    return [_unsigned(name) for name in listed(metric) if name != AUTO]


def _weight(text: str) -> tuple[str, float]:
    name, colon, value = text.rpartition(":")
    try:
        if colon:
            return _unsigned(name.strip()), float(value)
    except ValueError:
        pass
    raise ParameterError(
        f"prefer={text!r} must be metrics with their weights, such as roc_auc:0.8,latency:0.2"
    )
