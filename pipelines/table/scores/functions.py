"""Metrics that are functions of the user.

The second parameter says what the function gets: `y_pred` the predicted classes, and `y_score`,
`y_prob` or `y_proba` their probabilities; in a regression all are the predicted values. Classes are
numbers from 0 in the order of the labels; of two classes, 1 is the positive one, and the
probabilities are its own. With `sample_weight`, it also gets the weights of the rows.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from hpo.arrays import FloatArray
from hpo.errors import ParameterError
from hpo.goals import MAXIMIZE
from pipelines.files.code import imported
from pipelines.table.scores.attempts import obstacle
from pipelines.table.scores.gaps import is_gap
from pipelines.table.scores.metrics import TASKS, Metric, NotDefined, Weights
from pipelines.table.scores.robustness import is_robustness

LABELS, SCORES = ("y_pred",), ("y_score", "y_prob", "y_proba")
WEIGHT = "sample_weight"
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_function(name: str) -> bool:
    """Whether this names a function, `package.module:function`, without a sign."""
    return _NAME.fullmatch(name) is not None and not (is_gap(name) or is_robustness(name))


@functools.cache
def function_metric(name: str) -> Metric:
    """The function with this name as a metric, greater is better.

    Raises:
        ParameterError: when it cannot be imported, or takes other arguments.
    """
    function = imported("metric", name, "package.module:function")
    wants_labels, takes_weights = _signature(name, function)
    score = functools.partial(_score, function, wants_labels, takes_weights)
    return Metric(
        name,
        TASKS,
        MAXIMIZE,
        score,
        obstacle(score),
        takes_weights=takes_weights,
        is_costly=True,
        on_labels=wants_labels,
    )


def _signature(name: str, function: Any) -> tuple[bool, bool]:
    """Whether it wants labels, and whether it takes weights."""
    rule = "(y_true, y_pred) for classes or (y_true, y_score) for probabilities"
    if not callable(function):
        raise ParameterError(f"metric={name!r} is no function; it must be one of {rule}")
    try:
        signature = inspect.signature(function)
        weights = {WEIGHT: None} if WEIGHT in signature.parameters else {}
        signature.bind(None, None, **weights)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"metric={name!r} must be a function of {rule}: {error}") from error
    second = [*signature.parameters][1] if len(signature.parameters) > 1 else ""
    if second not in LABELS + SCORES:
        raise ParameterError(
            f"metric={name!r}: the name of its second parameter, {second!r}, does not say what it "
            f"wants; it must be a function of {rule}"
        )
    return second in LABELS, bool(weights)


def _score(
    function: Callable[..., Any],
    wants_labels: bool,
    takes_weights: bool,
    y: npt.NDArray[Any],
    p: FloatArray,
    w: Weights = None,
) -> float:
    if w is not None and not takes_weights:
        if not (w == np.round(w)).all():
            raise NotDefined(f"it takes no {WEIGHT}, and the rows have weights")
        rows = np.repeat(np.arange(len(y)), w.astype(np.int64))
        return _score(function, wants_labels, takes_weights, y[rows], p[rows])
    given = _given(p, wants_labels)
    try:
        returned = function(y, given) if w is None else function(y, given, sample_weight=w)
    except Exception as error:  # whatever the user's code raises
        raise NotDefined(f"it raised {type(error).__name__}: {error}") from error
    try:
        score = float(returned) if not isinstance(returned, str | bytes | bool) else None
    except (TypeError, ValueError):
        score = None
    if score is None or not np.isfinite(score):
        raise NotDefined(f"it returned {returned!r:.80}; it must return a finite number")
    return score


def _given(p: FloatArray, wants_labels: bool) -> Any:
    if p.ndim == 1:
        return p
    if wants_labels:
        return p.argmax(axis=1)
    return p[:, 1] if p.shape[1] == 2 else p
