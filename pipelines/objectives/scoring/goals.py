"""The goals of a study, from the options `metric`, `limits` and `prefer`."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy.typing as npt
import pandas as pd

from hpo.algorithms import grants_budgets
from hpo.errors import ParameterError, closest, raise_all
from hpo.goals import MINIMIZE, Goal, Goals, Limit
from hpo.goals.expression import Expression, Term, canonical
from pipelines.store.schema import check_names
from pipelines.study.options import AUTO, OFF, Options, SearchOptions, TuneOptions
from pipelines.table.scores.costs import COSTS
from pipelines.table.scores.functions import is_function
from pipelines.table.scores.gaps import GAPS
from pipelines.table.scores.named import (
    check_beside,
    is_beside,
    metric_for,
    metric_named,
    metric_text,
)
from pipelines.table.scores.robustness import ROBUSTNESS, is_robustness
from pipelines.table.scores.scorers import OWN_NAMES
from serving.names import listed

BESIDE = (*COSTS, *(f"{gap}:COLUMN" for gap in GAPS), ROBUSTNESS)


Lead = Goal | None
GoalOf = Callable[[str, Lead], Goal]
"""From the name of a score, and the first goal if it is known, to the goal that it stands for."""


def goals_of(
    options: Options,
    default: str,
    kind: str,
    y: npt.NDArray[Any] | None = None,
    *,
    weighted: bool = False,
    frame: pd.DataFrame | None = None,
    target: str | None = None,
) -> Goals:
    """The goals of a study of a table.

    Args:
        options: of the study.
        default: the metric that `auto` stands for; "" for that of the task.
        kind: of the task.
        y: `(n,)` codes or original values that the metrics must be able to score.
        weighted: whether the rows have weights.
        frame: the raw table; None if its columns are not known.
        target: the name of its target.

    Raises:
        ParameterError: for an unknown metric, and one that cannot score such a target.
    """
    goal = table_goal(kind, default, y)
    found = read_goals(options, goal)
    mistakes = [*_limit_mistakes(found, goal, kind, y)]
    mistakes += _mistakes(check_beside, filter(is_beside, found.sums.measured), kind, frame, target)
    mistakes += _mistakes(_check_name, found.sums.measured)
    raise_all(ParameterError, dict.fromkeys(mistakes))
    for name in found.sums.measured if weighted else ():
        if not is_beside(name) and not metric_named(name).takes_weights:
            raise ParameterError(
                f"metric {name!r} takes no sample_weight, and weight gives the rows weights; leave "
                "weight out, or take another metric"
            )
    if is_beside(found.score.name):
        raise ParameterError(
            f"metric={options.metric!r}: the first metric must score predictions, and "
            f"{found.score.name} is measured beside them; write metric=auto,{found.score.name}, or "
            f"limits={found.score.name}<…"
        )
    return found


def _mistakes(check: Callable[..., object], names: Iterable[Any], *more: Any) -> Iterator[str]:
    """What a check says of each name."""
    for name in names:
        try:
            check(name, *more)
        except ParameterError as error:
            yield str(error)


def _check_name(name: str) -> None:
    check_names({name: None})


def _limit_mistakes(
    goals: Goals, goal: GoalOf, kind: str, y: npt.NDArray[Any] | None
) -> Iterator[str]:
    for limit in goals.limits:
        found = Expression.parse(limit.name)
        if found is None:
            yield from _mistakes(_check_limit, [limit], kind, y)
        else:
            yield from _mistakes(goal, found.names, goals.score)


def _check_limit(limit: Limit, kind: str, y: npt.NDArray[Any] | None) -> None:
    own = OWN_NAMES.get(limit.name)
    if own is not None:
        side, bound = ("<", -limit.bound) if limit.name.startswith("neg_") else (">", limit.bound)
        raise ParameterError(
            f"limits={str(limit)!r}: that metric is {own} here; write a bound of it, such as "
            f"{own}{side}{bound:g}"
        )
    if not is_beside(limit.name):
        metric_for(limit.name, kind, y)


def table_goal(kind: str, default: str = "", y: npt.NDArray[Any] | None = None) -> GoalOf:
    """What finds the goal that a name stands for (`goals_of`)."""

    def goal(name: str, lead: Lead = None) -> Goal:
        if is_robustness(name):
            return Goal(name, lead.direction if lead else MINIMIZE)
        if is_beside(name):
            return Goal(name, MINIMIZE)
        if is_function(name):
            raise ParameterError(
                f"metric={name!r}: whether it is to be small or large is not known; write "
                f"-{name} to minimise it or +{name} to maximise it"
            )
        try:
            metric = metric_for(default if name == AUTO else name, kind, y)
        except ParameterError as error:
            near = closest(name, BESIDE)
            raise ParameterError(f"{error}; beside scores: {', '.join(BESIDE)}{near}") from error
        return metric.goal

    return goal


def read_goals(options: Options, goal: GoalOf, *, own: bool = False) -> Goals:
    """The goals that the options name.

    Args:
        options: of the study.
        goal: knows the direction of a metric.
        own: whether the metrics are those of the user's code, of which any may be in a sum.

    Raises:
        ParameterError: for texts that are no goals, limits or weights.
    """
    limits = prefer = None
    if isinstance(options, TuneOptions):
        limits, prefer = options.limits, options.prefer
    return _goals(options.metric, limits, prefer, goal, own=own)


def _goals(
    metric: str, limits: str | None, prefer: str | None, goal: GoalOf, *, own: bool
) -> Goals:
    texts = listed(metric)
    if not texts:
        raise ParameterError(f"metric={metric!r} names no metric; leave it out for auto")
    first = _goal(texts[0], None, goal, own=own)
    found = [first, *(_goal(text, first, goal, own=own) for text in texts[1:])]
    by_text = dict(zip(map(_unsigned, texts), found, strict=True))
    weights = dict(map(_weight, listed(prefer or "")))
    return Goals(
        tuple(found),
        _limits(limits or ""),
        {by_text[name].name if name in by_text else name: weights[name] for name in weights},
    )


def _goal(text: str, lead: Lead, goal: GoalOf, *, own: bool) -> Goal:
    """The goal of a text: a score, or a sum of scores (`hpo.goals.expression`).

    Raises:
        ParameterError: for a term that is no score, or would reward what should be avoided.
    """
    found = Expression.parse(text)
    if found is None:
        return goal(text, lead)
    first, *others = found.terms
    leading = goal(f"{found.sign}{first.name}", lead)
    mistakes: list[str] = []
    for term in () if own else others:
        try:
            mistakes += _wrong_sign(text, term, goal(term.name, leading), leading)
        except ParameterError as error:
            mistakes.append(f"metric={text!r}, term {term.name!r}: {error}")
    raise_all(ParameterError, mistakes)
    return Goal(found.leading(leading.name).name, leading.direction)


def _wrong_sign(text: str, term: Term, score: Goal, leading: Goal) -> Iterator[str]:
    if (term.factor > 0) != (score.direction == leading.direction):
        sign = "-" if term.factor > 0 else "+"
        yield (
            f"metric={text!r} is to be {'large' if leading.greater_is_better else 'small'}, but "
            f"{term.name} is better when {score.better}; write {sign} before its term"
        )


def _limits(text: str) -> tuple[Limit, ...]:
    """The limits of a text.

    Raises:
        ParameterError: naming all that are none.
    """
    found, mistakes = list[Limit](), list[str]()
    for part in listed(text):
        try:
            limit = Limit.parse(part)
            found.append(replace(limit, name=canonical(limit.name)))
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
    goals: Goals, given: Mapping[str, Any], goal: GoalOf, *, own: bool = False
) -> dict[str, str | None]:
    """The options that made `goals`; a given one that means the same is returned as it is.

    `own` says whether the metrics are those of the user's code.
    """
    signed = is_signed(given.get("metric", ""))
    names = [_text(each, signed=signed) for each in goals.goals]
    began = {
        "metric": ",".join(names),
        "limits": ",".join(map(str, goals.limits)) or None,
    }
    texts = began | {name: given[name] for name in began if name in given}
    try:
        again = _goals(texts["metric"] or "", texts["limits"], None, goal, own=own)
        same = again == replace(goals, weights={})
    except ParameterError:
        same = False
    return texts if same else began


def _text(goal: Goal, *, signed: bool) -> str:
    """A goal as `metric` names it; `signed` with its direction."""
    found, sign = Expression.parse(goal.name), "-+"[goal.greater_is_better]
    if found is not None:
        return f"{sign}({goal.name})" if signed or is_function(found.names[0]) else goal.name
    return f"{sign}{goal.name}" if signed else metric_text(goal)


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
    combined = several or any(map(_sum_of, names))
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
        if combined:
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
    if combined and options.confirm:
        yield (
            f"confirm={options.confirm} orders trials by one metric, but there are several goals "
            "or limits; leave confirm out"
        )
    if combined and options.ensemble not in (AUTO, OFF):
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
        unknown = AUTO in metric_names(options.metric, auto=True) or options.study is not None
        prefer = None if weights and unknown else options.prefer  # the goals are known later

        def goal(name: str, lead: Lead = None) -> Goal:
            return Goal(_unsigned(name))

        _goals(options.metric, options.limits, prefer, goal, own=True)
    except ParameterError as error:
        yield str(error)


def _unsigned(name: str) -> str:
    """A name of the option without its direction; of a sum, the name that it has as a goal."""
    found = _sum_of(name)
    return name.lstrip("-+").strip() if found is None else found.name


def _sum_of(text: str) -> Expression | None:
    """The sum that a text is; None if it is none, or a wrong one, which is told elsewhere."""
    try:
        return Expression.parse(text)
    except ParameterError:
        return None


def metric_names(metric: str, *, auto: bool = False) -> list[str]:
    """The metrics that the option names, also in sums, without their directions.

    `auto` says whether the word is among them.
    """
    found: list[str] = []
    for text in listed(metric):
        terms = _sum_of(text)
        found += terms.names if terms else [_unsigned(text)]
    return [name for name in found if auto or name != AUTO]


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
