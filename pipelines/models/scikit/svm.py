"""Support vector machines with an RBF, polynomial or linear kernel.

The time of a fit grows with the square of the rows or faster, so at most `max_rows` rows are used
(`svm.yaml`). Of classes there are only signed distances from the boundary; a sigmoid, fitted out of
fold, makes probabilities of them (Platt 1999, "Probabilistic outputs for support vector machines").
"""

from __future__ import annotations

from typing import Any

from sklearn.svm import SVC, SVR

from hpo.space.parameters import Params
from pipelines.models.scikit.calibration import calibrated
from pipelines.models.scikit.columns import Encoded, scaled
from pipelines.models.scikit.single import SingleFit

_CACHE = 500  # MB of kernel values
_FOLDS = 3  # for the sigmoid
_ITERATIONS = 1_000_000  # of the solver, so that a fit comes to an end


class SVM(SingleFit):
    """Support vector machines on one fold."""

    name = "svm"

    def columns(self, chosen: Params) -> Encoded:
        """Scaled and one-hot columns."""
        scaling = str(chosen["scaling"])
        return self.cached(scaling, scaled(self.fold, scaling, dense=True))

    def unfitted(self, chosen: Params, seed: int) -> Any:
        """The machine; `gamma` is a factor on scikit-learn's `scale`."""
        width = self.columns(chosen).train.shape[1]
        options: dict[str, Any] = {"C": chosen["C"], "kernel": chosen["kernel"]}
        if chosen["kernel"] != "linear":
            options["gamma"] = float(chosen.get("gamma", 1.0)) / max(width, 1)
        if chosen["kernel"] == "poly":
            options |= {"degree": chosen.get("degree", 3), "coef0": 1.0}
        options |= {"cache_size": _CACHE, "max_iter": _ITERATIONS}
        if not self.fold.task.n_classes:
            return SVR(epsilon=chosen["epsilon"], **options)
        return calibrated(SVC(**options), self.fold.y_train, _FOLDS)
