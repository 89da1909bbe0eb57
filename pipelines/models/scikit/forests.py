"""Random forests and extremely randomised trees of scikit-learn, continued with `warm_start`.

The trees are those of a forest that is trained at once: scikit-learn draws the seed of each tree
from that of the forest. Training never stops early, since more trees do no harm, and the best
model is the last one.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)

from hpo.arrays import FloatArray
from hpo.space.parameters import Params
from pipelines.models.boosting import Grower
from pipelines.models.legs import Stopping
from pipelines.models.scikit.columns import Encoded, plain_codes, target_means
from pipelines.models.scikit.family import ScikitTrees, estimator_of

_ENCODINGS = {"ordinal": plain_codes, "target": target_means}


class Forest(ScikitTrees):
    """A kind of forest on one fold."""

    budget_unit = "trees"
    dtype = "float32"  # as scikit-learn's trees compute
    classifier: ClassVar[type[Any]]
    regressor: ClassVar[type[Any]]

    def stopping(self) -> Stopping:
        """Training that does not stop, and whose last tree is the best."""
        return replace(super().stopping(), fixed=True)

    def grow(
        self, params: Params, seed: int, earlier: Any | None, rounds: tuple[int, int]
    ) -> Grower:
        """An estimator that continues the trees of `earlier`."""
        chosen = self.description.canonical(params)
        encoded = self.encoded(str(chosen.pop("encoding", "ordinal")))
        made = self.classifier if self.watch.fold.task.n_classes else self.regressor
        forest = (
            made(**chosen, random_state=seed, n_jobs=self.threads, warm_start=True)
            if earlier is None
            else earlier[1]
        )
        leg = _Leg(self, encoded, forest, rounds)
        return Grower((encoded, forest), leg.boost, lambda: leg.after, leg.predict)

    def parse(self, content: bytes, params: Params, scores: Any) -> tuple[Encoded, Any]:
        """The model of an undamaged file."""
        encoding = str(self.description.canonical(params).get("encoding", "ordinal"))
        return self.encoded(encoding), estimator_of(content)

    def encoded(self, encoding: str) -> Encoded:
        """The rows with this encoding of the categorical columns, from a cache."""
        if encoding not in self._encoded:
            fold = self.watch.fold
            self._encoded[encoding] = Encoded(fold, _ENCODINGS[encoding](fold), self.dtype)
        return self._encoded[encoding]

    @cached_property
    def _encoded(self) -> dict[str, Encoded]:
        return {}

    def part(self, estimator: Any, size: int) -> Any:
        """A copy of the forest with its first `size` trees, for one thread."""
        part = copy(estimator)
        part.estimators_ = estimator.estimators_[:size]
        return part.set_params(n_estimators=size, n_jobs=None)


class RandomForest(Forest):
    """Trees on bootstrap samples, which search for the best split of each column."""

    name = "random_forest"
    classifier, regressor = RandomForestClassifier, RandomForestRegressor


class ExtraTrees(Forest):
    """Trees that draw one split of each column."""

    name = "extra_trees"
    classifier, regressor = ExtraTreesClassifier, ExtraTreesRegressor


class _Leg:
    """Grows the trees of one leg at once, and scores them one by one."""

    def __init__(
        self, family: Forest, encoded: Encoded, forest: Any, rounds: tuple[int, int]
    ) -> None:
        self._family = family
        self._encoded = encoded
        self._forest = forest
        self.after, self._to = rounds
        self._sum: FloatArray = np.zeros(())  # of the trees' predictions for the validation rows
        self._grown = False

    def boost(self, after: int) -> None:
        """Add a tree."""
        if not self._grown:
            self._forest.set_params(n_estimators=self._to)
            fold = self._family.watch.fold
            self._forest.fit(self._encoded.train, fold.y_train, sample_weight=fold.training_weight)
            self._sum = sum(map(self._of_tree, range(self.after)), self._sum)
            self._grown = True
        self._sum = self._sum + self._of_tree(after - 1)
        self.after = after

    def predict(self) -> FloatArray:
        """Probabilities, of the second class alone if the task is binary, or values."""
        mean = np.asarray(self._sum / self.after)
        n_classes = self._family.watch.fold.task.n_classes
        if not n_classes:
            return mean
        found = np.zeros((len(mean), n_classes))
        found[:, self._forest.classes_] = mean
        return self._family.as_boosters(found)

    def _of_tree(self, index: int) -> FloatArray:
        tree = self._forest.estimators_[index]
        predict = getattr(tree, "predict_proba", tree.predict)
        return np.asarray(predict(self._encoded.valid), dtype=np.float64)
