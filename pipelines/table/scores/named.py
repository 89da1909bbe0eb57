"""Metrics by name: the project's own, those of losses, scikit-learn's scorers, and functions.

The name of a function has no direction. A user writes `-package.module:function` to minimise it or
`+package.module:function` to maximise it, and a goal keeps the direction beside the name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy.typing as npt

from hpo.errors import ParameterError, closest
from hpo.goals import Goal
from pipelines.table.scores.functions import function_metric, is_function
from pipelines.table.scores.losses import loss_metric
from pipelines.table.scores.metrics import METRICS, Metric, default_metric
from pipelines.table.scores.scorers import OWN_NAMES, scorer_metric, scorer_names

OF_LOSSES = ("pinball:0.9", "poisson_deviance", "gamma_deviance", "tweedie_deviance:1.5")
SIGNS = {"-": False, "+": True}


def metric_named(name: str) -> Metric:
    """The metric with this name; a function without a sign is maximised.

    Raises:
        ParameterError: for an unknown name.
    """
    found = _signed(name) or _metric(name)
    if found is None:
        raise ParameterError(f"unknown metric {name!r}{closest(name, METRICS)}")
    return found


def metric_of(goal: Goal) -> Metric:
    """The metric of a goal, with its direction."""
    return replace(metric_named(goal.name), greater_is_better=goal.greater_is_better)


def metric_text(goal: Goal) -> str:
    """The metric of a goal as `metric_named` reads it."""
    return f"{'-+'[goal.greater_is_better]}{goal.name}" if is_function(goal.name) else goal.name


def is_metric(name: str) -> bool:
    """Whether there may be a metric with this name; functions are not imported."""
    return is_function(name) or _metric(name) is not None


def metric_for(name: str, kind: str, y: npt.NDArray[Any] | None = None) -> Metric:
    """Look up a metric.

    Args:
        name: of the metric, a function with its sign; an empty name is the default of the task.
        kind: of the task.
        y: `(n,)` codes or original values that it must be able to score.

    Raises:
        ParameterError: for an unknown name, and if the metric cannot score such a target.
    """
    if not name:
        return default_metric(kind)
    metric = _signed(name) or _metric(name)
    if metric is None:
        known = [*_names(kind), *scorer_names()]
        hint = closest(name, known) or closest(name, METRICS)
        raise ParameterError(f"unknown metric {name!r}{hint}; {_ways(kind)}")
    if not metric.tasks:
        raise ParameterError(
            f"metric {name!r} is for tables with several targets, and this one has one; "
            f"{_ways(kind)}"
        )
    if kind not in metric.tasks:
        raise ParameterError(
            f"metric {name!r} is for {' and '.join(metric.tasks)} tasks, but this one is {kind}"
            f"{closest(name, _for_task(kind))}; {_ways(kind)}"
        )
    obstacle = metric.obstacle(y) if y is not None and len(y) else ""
    if obstacle:
        raise ParameterError(
            f"metric {name!r} cannot score this target: {obstacle}; take another one of "
            f"{', '.join(_names(kind))}"
        )
    return metric


def _metric(name: str) -> Metric | None:
    name = OWN_NAMES.get(name, name)
    if is_function(name):
        return function_metric(name)
    return METRICS.get(name) or loss_metric(name) or scorer_metric(name)


def _signed(name: str) -> Metric | None:
    """A function that is given with its direction."""
    function = name[1:].strip()
    if name[:1] not in SIGNS or not is_function(function):
        return None
    return replace(function_metric(function), greater_is_better=SIGNS[name[0]])


def _names(kind: str) -> list[str]:
    own = [known for known, metric in METRICS.items() if kind in metric.tasks]
    return [*own, *OF_LOSSES] if kind == "regression" else own


def _for_task(kind: str) -> Iterable[str]:
    scorers = ((name, scorer_metric(name)) for name in scorer_names() if name not in OWN_NAMES)
    own = _names(kind)
    others = (name for name, found in scorers if found and kind in found.tasks)
    return [*own, *(name for name in others if name not in METRICS)]


def _ways(kind: str) -> str:
    return (
        f"metrics of a {kind} task: {', '.join(_names(kind))}; or a scorer of scikit-learn, or "
        "-package.module:function"
    )
