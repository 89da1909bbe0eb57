"""Logistic, softmax and least-squares regression with an L2 or an elastic net penalty."""

from __future__ import annotations

from typing import Any

from sklearn.linear_model import ElasticNet, LogisticRegression, Ridge

from hpo.space.parameters import Params
from pipelines.models.scikit.columns import Encoded, scaled
from pipelines.models.scikit.single import SingleFit

_ITERATIONS = 300
_TOLERANCE = 1e-3


class Linear(SingleFit):
    """Linear models on one fold."""

    name = "linear"

    def columns(self, chosen: Params) -> Encoded:
        """Scaled and one-hot columns."""
        scaling = str(chosen["scaling"])
        return self.cached(scaling, scaled(self.fold, scaling))

    def unfitted(self, chosen: Params, seed: int) -> Any:
        """The estimator; C is the inverse weight of the penalty, as in `LogisticRegression`."""
        c, l1_ratio = float(chosen["C"]), float(chosen.get("l1_ratio", 0.5))
        sparse = chosen["penalty"] == "elasticnet"
        options = {"max_iter": _ITERATIONS, "tol": _TOLERANCE, "random_state": seed}
        if not self.fold.task.n_classes:
            if sparse:
                rows = len(self.fold.train)
                return ElasticNet(alpha=1 / (c * rows), l1_ratio=l1_ratio, **options)
            return Ridge(alpha=1 / c, random_state=seed)
        if sparse:
            return LogisticRegression(C=c, solver="saga", l1_ratio=l1_ratio, **options)
        return LogisticRegression(C=c, **options)
