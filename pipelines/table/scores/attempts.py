"""Whether a metric of others can score a target, found by trying it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from hpo.arrays import FloatArray
from pipelines.table.scores.metrics import NotDefined, Weights

Score = Callable[[Any, FloatArray, Weights], float]

_SAMPLES = {
    "binary": np.array([0, 1, 1, 0, 1, 0, 0, 1]),
    "multiclass": np.array([0, 1, 2, 2, 1, 0, 0, 2, 1, 2]),
    "regression": np.array([0.4, 1.7, 2.2, 3.5, 1.1, 0.9]),
}


def obstacle(score: Score) -> Callable[[npt.NDArray[Any]], str]:
    """What finds why a metric cannot score targets; "" if it can."""

    def found(y: npt.NDArray[Any]) -> str:
        try:
            score(y, plausible(y), None)
        except NotDefined as error:
            return str(error)
        return ""

    return found


def tasks(score: Score) -> tuple[str, ...]:
    """The kinds of tasks that a metric is for: those that it scores without error or warning.

    One that scores numbers is for regressions alone, though codes of classes are numbers, too.
    """
    found = tuple(kind for kind, y in _SAMPLES.items() if _scores(score, y))
    return ("regression",) if "regression" in found else found


def takes_weights(score: Score, kind: str) -> bool:
    """Whether it scores targets of a kind with weights."""
    y = _SAMPLES[kind]
    try:
        score(y, plausible(y), np.linspace(0.5, 1.5, len(y)))
    except NotDefined:
        return False
    return True


def sees_labels(score: Score, kind: str) -> bool:
    """Whether it sees of probabilities only which class is the most probable."""
    y = _SAMPLES[kind]
    p = plausible(y)
    if p.ndim == 1:
        return False
    certain = np.eye(p.shape[1])[p.argmax(axis=1)]
    try:
        return score(y, certain, None) == score(y, p, None)
    except NotDefined:
        return False


def plausible(y: npt.NDArray[Any]) -> FloatArray:
    """Predictions that are right for many rows and wrong for some, as `Metric` takes them."""
    if y.dtype.kind == "f":
        rest = 0.1 * max(float(np.abs(y).mean()), 1e-3)
        return np.where(y == 0, rest, y * np.where(np.arange(len(y)) % 2, 1.1, 0.9))
    n_classes = int(y.max()) + 1
    guess = np.where(np.arange(len(y)) % 4 == 3, (y + 1) % n_classes, y)
    certain = np.linspace(0.6, 0.9, len(y))[:, None]
    return np.where(
        guess[:, None] == np.arange(n_classes), certain, (1 - certain) / max(n_classes - 1, 1)
    )


def _scores(score: Score, y: npt.NDArray[Any]) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # scikit-learn's of metrics without a meaning
        try:
            score(y, plausible(y), None)
        except (NotDefined, UserWarning):
            return False
    return True
