"""Metrics by name: the project's own, and those of losses."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from hpo.errors import ParameterError, closest
from pipelines.table.scores.losses import loss_metric
from pipelines.table.scores.metrics import METRICS, Metric, default_metric

OF_LOSSES = ("pinball:0.9", "poisson_deviance", "gamma_deviance", "tweedie_deviance:1.5")


def metric_named(name: str) -> Metric:
    """The metric with this name.

    Raises:
        ParameterError: for an unknown name.
    """
    found = METRICS.get(name) or loss_metric(name)
    if found is None:
        raise ParameterError(f"unknown metric {name!r}{closest(name, METRICS)}")
    return found


def is_metric(name: str) -> bool:
    """Whether there is a metric with this name."""
    return name in METRICS or loss_metric(name) is not None


def metric_for(name: str, kind: str, y: npt.NDArray[Any] | None = None) -> Metric:
    """Look up a metric.

    Args:
        name: of the metric; an empty name is the default of the task.
        kind: of the task.
        y: `(n,)` codes or original values that it must be able to score.

    Raises:
        ParameterError: for an unknown name, and if the metric cannot score such a target.
    """
    if not name:
        return default_metric(kind)
    possible = [known for known, metric in METRICS.items() if kind in metric.tasks]
    if kind == "regression":
        possible += OF_LOSSES
    metric = METRICS.get(name) or loss_metric(name)
    if metric is None:
        hint = closest(name, possible) or closest(name, METRICS)
        raise ParameterError(
            f"unknown metric {name!r}{hint}; metrics of a {kind} task: {', '.join(possible)}"
        )
    if kind not in metric.tasks:
        raise ParameterError(
            f"metric {name!r} is for {' and '.join(metric.tasks)} tasks, but this one is {kind}"
            f"{closest(name, possible)}; metrics of a {kind} task: {', '.join(possible)}"
        )
    obstacle = metric.obstacle(y) if y is not None and len(y) else ""
    if obstacle:
        raise ParameterError(
            f"metric {name!r} cannot score this target: {obstacle}; take another one of "
            f"{', '.join(possible)}"
        )
    return metric
