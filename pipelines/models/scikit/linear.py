"""Logistic, softmax and least-squares regression with an L2 or an elastic net penalty.

There is no smaller budget than the whole fit: scikit-learn's solvers go on until they converge, and
a model that has not converged says little about the one that has. Races therefore vary the rows.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, ClassVar

from sklearn.compose import ColumnTransformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import ElasticNet, LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, QuantileTransformer, StandardScaler

from hpo.arrays import FloatArray
from hpo.space.parameters import Params
from pipelines.models.catalog import single_family
from pipelines.models.checkpoint import read_files, write_files
from pipelines.models.legs import Curve, checked
from pipelines.models.scikit.columns import Encoded, columns
from pipelines.models.scikit.family import estimator_of, skops_bytes
from pipelines.table.data import Fold
from pipelines.table.scores.metrics import Metric
from serving.features import Matrix
from serving.members import MANIFEST, SCHEMA
from serving.scikit import predictions

_DTYPE = "float64"
_FILE, _STATE = "model.skops", "state.json"
_LEVELS = 100  # one-hot columns of a categorical column, at most
_QUANTILES = 1000
_ITERATIONS = 300
_TOLERANCE = 1e-3


class Linear:
    """Linear models on one fold; one unit of budget is the whole fit."""

    budget_unit: ClassVar[str] = "fits"
    name = "linear"

    def __init__(
        self,
        fold: Fold,
        metric: Metric,
        threads: int,
        *,
        horizon: int | None = None,
        fidelity: str = "rounds",
    ) -> None:
        self.fold = fold
        self.metric = metric
        self.description = single_family(self.name)
        self._encoded: dict[str, Encoded] = {}

    def start(self, params: Params, seed: int) -> Fit:
        """A model that is not fitted yet."""
        return Fit(self, params, seed)

    def resume(self, params: Params, seed: int, directory: Path) -> Fit:
        """The model that `Fit.save` wrote.

        Raises:
            CheckpointError: if it is missing, damaged or of another trial.
        """
        fit = Fit(self, params, seed)
        facts, files = read_files(directory, _STATE, fit.identity())
        fit.estimator, fit.reached = estimator_of(files[_FILE]), int(facts["reached"])
        return fit

    def encoded(self, scaling: str) -> Encoded:
        """The scaled and one-hot columns, from a cache."""
        if scaling not in self._encoded:
            self._encoded[scaling] = Encoded(self.fold, design(self.fold, scaling), _DTYPE)
        return self._encoded[scaling]


class Fit:
    """The model of one trial: a `Trainable` that is fitted with the first unit of budget."""

    horizon = 1
    best = 1

    def __init__(self, family: Linear, params: Params, seed: int) -> None:
        self._family = family
        self._params = dict(params)
        self._seed = seed
        defaults = family.description.settings(kind=family.fold.task.kind).first_points[0]
        self._chosen = {**defaults, **family.description.canonical(params)}
        self.estimator: Any = None
        self.reached = 0

    @property
    def stopped(self) -> bool:
        """Whether the model is fitted."""
        return self.estimator is not None

    def train(self, to: int) -> Curve:
        """Fit in the first call, which returns the one point of the curve."""
        self.reached = max(self.reached, to)
        if self.stopped or to < 1:
            return ()
        fold, encoded = self._family.fold, self._rows
        estimator = self._unfitted(len(fold.train))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.estimator = estimator.fit(encoded.train, fold.y_train, fold.training_weight)
        return ((1.0, fold.score(self._family.metric, self.predict(fold.valid))),)

    def predict(self, rows: Matrix) -> FloatArray:
        """`(n, k)` probabilities or `(n,)` standardised values."""
        if self.estimator is None:
            raise ValueError("the model is not fitted yet; call train first")
        fold, encoded = self._family.fold, self._rows
        x = encoded.valid if rows is fold.valid else encoded.of(rows)
        return checked(predictions(self.estimator, x, fold.task.n_classes), self.reached)

    def save(self, directory: Path) -> None:
        """Write the fitted pipeline, atomically."""
        facts = {**self.identity(), "reached": self.reached}
        write_files(directory, {_FILE: self._content()}, _STATE, facts)

    def export(self, directory: Path) -> None:
        """Write the fitted pipeline for `serving.scikit`."""
        task = self._family.fold.task
        facts = {
            "schema": SCHEMA,
            "family": self._family.name,
            "kind": task.kind,
            "model": _FILE,
            "n_classes": task.n_classes,
            "dtype": _DTYPE,
        }
        write_files(directory, {_FILE: self._content()}, MANIFEST, facts)

    def identity(self) -> dict[str, Any]:
        """The facts that a checkpoint must match."""
        fold = self._family.fold
        return {
            "family": self._family.name,
            "params": self._params,
            "seed": self._seed,
            "data": [len(fold.train), fold.index],
        }

    @property
    def _rows(self) -> Encoded:
        return self._family.encoded(str(self._chosen["scaling"]))

    def _content(self) -> bytes:
        return skops_bytes(Pipeline([("columns", self._rows.columns), ("model", self.estimator)]))

    def _unfitted(self, rows: int) -> Any:
        """The estimator; C is the inverse weight of the penalty, as in `LogisticRegression`."""
        c, l1_ratio = float(self._chosen["C"]), float(self._chosen.get("l1_ratio", 0.5))
        sparse = self._chosen["penalty"] == "elasticnet"
        options = {"max_iter": _ITERATIONS, "tol": _TOLERANCE, "random_state": self._seed}
        if not self._family.fold.task.n_classes:
            if sparse:
                return ElasticNet(alpha=1 / (c * rows), l1_ratio=l1_ratio, **options)
            return Ridge(alpha=1 / c, random_state=self._seed)
        if sparse:
            return LogisticRegression(C=c, solver="saga", l1_ratio=l1_ratio, **options)
        return LogisticRegression(C=c, **options)


def design(fold: Fold, scaling: str) -> ColumnTransformer:
    """Scaled numeric columns with indicators of missing values, and one-hot levels.

    `scaling` is `standard`, or `quantile` for values that are normally distributed.
    """
    steps: list[Any] = [StandardScaler(), SimpleImputer(strategy="constant", add_indicator=True)]
    if scaling == "quantile":
        quantiles = min(_QUANTILES, len(fold.train))
        steps.insert(
            0,
            QuantileTransformer(
                n_quantiles=quantiles, output_distribution="normal", random_state=0
            ),
        )
    one_hot = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=_LEVELS)
    return columns(fold, make_pipeline(*steps), one_hot)
