"""The nearest rows of the training, by a distance in scaled and one-hot columns.

A prediction compares its row with every row of the training, which are all in the model's file, so
at most `max_rows` of them are used (`knn.yaml`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from hpo.arrays import FloatArray
from hpo.space.parameters import Params
from pipelines.models.scikit.columns import Encoded, scaled
from pipelines.models.scikit.single import SingleFit
from serving.scikit import Prior


class Neighbours(SingleFit):
    """Nearest neighbours on one fold."""

    name = "knn"

    def columns(self, chosen: Params) -> Encoded:
        """Scaled and one-hot columns."""
        scaling = str(chosen["scaling"])
        return self.cached(scaling, scaled(self.fold, scaling, dense=True))

    def unfitted(self, chosen: Params, seed: int) -> Any:
        """The estimator; it has no more neighbours than there are rows."""
        made = KNeighborsClassifier if self.fold.task.n_classes else KNeighborsRegressor
        return made(
            n_neighbors=min(int(chosen["n_neighbors"]), len(self.fold.train)),
            weights=str(chosen["weights"]),
            p=float(chosen["p"]),
        )

    def fitted(self, estimator: Any, x: Any) -> Any:
        """The estimator, which takes no weights of rows."""
        return estimator.fit(x, self.fold.y_train)

    def predictions(self, estimator: Any, x: Any) -> FloatArray:
        """Probabilities, or values; the classes of all rows have one vote beside the neighbours."""
        found = super().predictions(estimator, x)
        prior = self._prior(estimator)
        return found if prior is None else prior.shrunk(found)

    def facts(self, estimator: Any) -> Mapping[str, Any]:
        """With the vote of all rows."""
        prior = self._prior(estimator)
        return {"family": self.name, **({"prior": asdict(prior)} if prior else {})}

    def _prior(self, estimator: Any) -> Prior | None:
        n_classes = self.fold.task.n_classes
        if not n_classes:
            return None
        counts = np.bincount(self.fold.y_train, minlength=n_classes)
        return Prior((counts / counts.sum()).tolist(), 1 / (estimator.n_neighbors + 1))
