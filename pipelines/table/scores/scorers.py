"""Metrics by the names of scikit-learn's scorers."""

from __future__ import annotations

import functools
import warnings
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from hpo.arrays import FloatArray
from hpo.goals import MAXIMIZE
from pipelines.table.scores.attempts import Score, obstacle, sees_labels, takes_weights, tasks
from pipelines.table.scores.metrics import Metric, NotDefined, Weights

OWN_NAMES = MappingProxyType(
    {
        "matthews_corrcoef": "mcc",
        "neg_log_loss": "log_loss",
        "neg_mean_absolute_error": "mae",
        "neg_mean_absolute_percentage_error": "mape",
        "neg_mean_gamma_deviance": "gamma_deviance",
        "neg_mean_poisson_deviance": "poisson_deviance",
        "neg_median_absolute_error": "median_ae",
        "neg_root_mean_squared_error": "rmse",
        "neg_root_mean_squared_log_error": "rmsle",
    }
)
"""The scorers that are metrics of this project, which minimises errors as they are."""


def scorer_names() -> list[str]:
    """All names."""
    from sklearn.metrics import get_scorer_names

    return [*get_scorer_names()]


@functools.cache
def scorer_metric(name: str) -> Metric | None:
    """The scorer with this name as a metric, greater is better; None for another name.

    Its tasks are those that it scores; a scorer of tables with several targets has none.
    """
    if not name.isidentifier() or name not in scorer_names():
        return None
    score = functools.partial(_score, name)
    kinds = tasks(score)
    return Metric(
        name,
        kinds,
        MAXIMIZE,
        functools.partial(_quiet, score),
        obstacle(score),
        takes_weights=bool(kinds) and takes_weights(score, kinds[0]),
        is_costly=True,
        on_labels=bool(kinds) and sees_labels(score, kinds[0]),
    )


def _quiet(score: Score, y: npt.NDArray[Any], p: FloatArray, w: Weights = None) -> float:
    """The score without warnings: what is not defined is told by the caller."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return score(y, p, w)


def _score(name: str, y: npt.NDArray[Any], p: FloatArray, w: Weights = None) -> float:
    from sklearn.metrics import get_scorer

    weights = {} if w is None else {"sample_weight": w}
    try:
        score = float(get_scorer(name)(_known(p), p, y, **weights))
    except TypeError as error:
        if w is None or not (w == np.round(w)).all():
            raise NotDefined(_line(error)) from error
        rows = np.repeat(np.arange(len(y)), w.astype(np.int64))
        return _score(name, y[rows], p[rows])
    except (ValueError, AttributeError) as error:  # the latter where it needs probabilities
        raise NotDefined(_line(error)) from error
    if not np.isfinite(score):
        raise NotDefined(f"scikit-learn gives {score}")
    return score


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


def _known(p: FloatArray) -> Any:
    """An estimator whose predictions are the rows that it is given, for a scorer."""
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

    class Values(RegressorMixin, BaseEstimator):  # type: ignore[misc]
        def predict(self, rows: FloatArray) -> FloatArray:
            return rows

    class Probabilities(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        classes_ = np.arange(p.shape[-1])

        def predict(self, rows: FloatArray) -> Any:
            return rows.argmax(axis=1)

        def predict_proba(self, rows: FloatArray) -> Any:
            return rows / rows.sum(axis=1, keepdims=True)

    return Values() if p.ndim == 1 else Probabilities()
