"""Histogram gradient boosting of scikit-learn, continued with `warm_start`.

Each call of `fit` bins the rows and predicts them by the earlier trees. A leg therefore grows many
rounds with one call and scores them afterwards, tree by tree, so some rounds may be grown after the
one at which training stops; they are dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from copy import copy
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, softmax
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from hpo.arrays import FloatArray
from hpo.space.parameters import Params, Value
from pipelines.models.boosting import Grower
from pipelines.models.legs import grown_ahead
from pipelines.models.scikit.columns import Encoded, joint_codes, positions
from pipelines.models.scikit.family import ScikitTrees, estimator_of
from pipelines.table.scores.losses import Loss

_MAX_LEVELS = 255


class HistGradientBoosting(ScikitTrees):
    """Histogram gradient boosting on one fold."""

    name = "hist_gradient_boosting"

    def grow(
        self, params: Params, seed: int, earlier: Any | None, rounds: tuple[int, int]
    ) -> Grower:
        """An estimator that continues the trees of `earlier`."""
        native = self.native(params, seed)
        classifies = bool(self.watch.fold.task.n_classes)
        made = HistGradientBoostingClassifier if classifies else HistGradientBoostingRegressor
        numeric, categorical = positions(self.watch.fold)
        codes = [len(numeric) + j for j in range(len(categorical))]
        signs = self.watch.fold.monotone
        kept = [signs[i] for i in (*numeric, *categorical)] if signs else None
        estimator = (
            made(**native, categorical_features=codes, monotonic_cst=kept)
            if earlier is None
            else earlier[1]
        )
        if earlier is not None:
            estimator.set_params(**self.description.canonical(params))
        leg = _Leg(self, native, estimator, rounds)
        return Grower((self.encoded, estimator), leg.boost, lambda: leg.after, leg.predict)

    def parse(
        self, content: bytes, params: Params, scores: Mapping[str, FloatArray]
    ) -> tuple[Encoded, Any]:
        """The model of an undamaged file."""
        return self.encoded, estimator_of(content)

    def part(self, estimator: Any, size: int) -> Any:
        """A copy of the estimator with its first `size` rounds."""
        return _part(estimator, 0, size)

    def native(self, params: Params, seed: int) -> dict[str, Value]:
        """The parameters that scikit-learn gets."""
        return {
            **self.description.canonical(params),
            **self._loss(),
            "early_stopping": False,
            "max_bins": _MAX_LEVELS,
            "random_state": seed,
            "warm_start": True,
        }

    def _loss(self) -> dict[str, Value]:
        text = self.watch.fold.task.loss
        if not text:
            return {}
        loss = Loss.parse(text)
        return {"loss": loss.kind, **({"quantile": loss.level} if loss.level else {})}

    @cached_property
    def encoded(self) -> Encoded:
        """The rows as the estimator takes them."""
        return Encoded(self.watch.fold, joint_codes(self.watch.fold, _MAX_LEVELS), self.dtype)


class _Leg:
    """Grows the trees of one leg ahead of the round that is scored."""

    def __init__(
        self,
        family: HistGradientBoosting,
        native: Params,
        estimator: Any,
        rounds: tuple[int, int],
    ) -> None:
        self._family = family
        self._native = native
        self._estimator = estimator
        self._grown, self._to = rounds
        self._sums: FloatArray = np.empty((0, 1))  # of the validation rows, (n, k)
        self._staged: Iterator[FloatArray] = iter(())
        self.after = rounds[0]

    def boost(self, after: int) -> None:
        """Add a round."""
        with self._family.limited():
            if after > self._grown:
                self._fit(grown_ahead(self._grown, self._to))
            self._sums = next(self._staged)
        self.after = after

    def predict(self) -> FloatArray:
        """Probabilities, of the second class alone if the task is binary, or values."""
        task, classes = self._family.watch.fold.task, getattr(self._estimator, "classes_", None)
        if classes is None:
            return np.asarray(self._estimator._loss.link.inverse(self._sums[:, 0]))
        found = np.zeros((len(self._sums), task.n_classes))
        if len(classes) == 2:
            found[:, classes[1]] = expit(self._sums[:, 0])
            found[:, classes[0]] = 1.0 - found[:, classes[1]]
        else:
            found[:, classes] = softmax(self._sums, axis=1)
        return self._family.as_boosters(found)

    def _fit(self, to: int) -> None:
        family, estimator, grown = self._family, self._estimator, self._grown
        estimator.set_params(max_iter=to)
        rate = family.mean_rate(self._native, (grown, to))
        if rate is not None:
            estimator.set_params(learning_rate=rate)
        fold = family.watch.fold
        estimator.fit(family.encoded.train, fold.y_train, sample_weight=fold.training_weight)
        if grown and not self._sums.size:
            self._sums = _last(_staged(_part(estimator, 0, grown), family.encoded.valid))
        self._staged = _staged(_part(estimator, grown, to, self._sums), family.encoded.valid)
        self._grown = to


def _part(estimator: Any, start: int, end: int, sums: FloatArray | None = None) -> Any:
    """The estimator with the trees of the rounds from `start` to `end` alone.

    They are added to `sums`, `(n, k)` raw predictions for the rows to predict, if there are any.
    """
    part = copy(estimator)
    part._predictors = estimator._predictors[start:end]
    if sums is not None and sums.size:
        part._baseline_prediction = sums
    return part


def _staged(estimator: Any, x: npt.NDArray[np.floating[Any]]) -> Iterator[FloatArray]:
    """The sums of the trees after each round, `(n, k)`; k is 1 for two classes and regressions."""
    if hasattr(estimator, "staged_decision_function"):
        return (np.reshape(sums, (len(x), -1)) for sums in estimator.staged_decision_function(x))
    link = estimator._loss.link.link
    return (np.reshape(link(values), (-1, 1)) for values in estimator.staged_predict(x))


def _last(sums: Iterator[FloatArray]) -> FloatArray:
    return deque(sums, maxlen=1).pop()
