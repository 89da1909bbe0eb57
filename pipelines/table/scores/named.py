"""Metrics by name: the project's own, those of losses, scikit-learn's scorers, and functions.

The name of a function has no direction. A user writes `-package.module:function` to minimise it or
`+package.module:function` to maximise it, and a goal keeps the direction beside the name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy.typing as npt
import pandas as pd

from hpo.errors import ParameterError, closest
from hpo.goals import MAXIMIZE, MINIMIZE, Goal
from pipelines.table.scores.costs import check_cost, is_cost
from pipelines.table.scores.functions import function_metric, is_function
from pipelines.table.scores.gaps import check_gap, is_gap
from pipelines.table.scores.losses import loss_metric
from pipelines.table.scores.metrics import METRICS, Metric, default_metric
from pipelines.table.scores.robustness import is_robustness, strength_of
from pipelines.table.scores.scorers import OWN_NAMES, scorer_metric, scorer_names

OF_LOSSES = ("pinball:0.9", "poisson_deviance", "gamma_deviance", "tweedie_deviance:1.5")
SIGNS = {"-": MINIMIZE, "+": MAXIMIZE}


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
    return replace(metric_named(goal.name), direction=goal.direction)


def metric_text(goal: Goal) -> str:
    """The metric of a goal as `metric_named` reads it."""
    return f"{'-+'[goal.greater_is_better]}{goal.name}" if is_function(goal.name) else goal.name


def is_metric(name: str) -> bool:
    """Whether there may be a metric with this name; functions are not imported."""
    return is_function(name) or _metric(name) is not None


def is_beside(name: str) -> bool:
    """Whether a name is that of what is measured beside scores: a cost, a gap or robustness."""
    return is_cost(name) or is_gap(name) or is_robustness(name)


def check_beside(
    name: str, kind: str, frame: pd.DataFrame | None = None, target: str | None = None
) -> None:
    """Check a metric that is measured beside scores (`is_beside`).

    Args:
        name: of the metric.
        kind: of the task.
        frame: the raw table; None if it is not read yet.
        target: the name of its target.

    Raises:
        ParameterError: if it cannot be measured.
    """
    if is_gap(name):
        check_gap(name, kind, frame, target)
    elif is_robustness(name):
        strength_of(name)
    else:
        check_cost(name)


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
    return replace(function_metric(function), direction=SIGNS[name[0]])


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
