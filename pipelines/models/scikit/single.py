"""What families share whose models are fitted at once: one unit of budget is the whole fit.

There is no smaller budget, because a model that has not converged says little about the one that
has. Races therefore vary the rows.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from sklearn.pipeline import Pipeline

from hpo.arrays import FloatArray
from hpo.space.parameters import Params, Value
from pipelines.models.catalog import single_family
from pipelines.models.checkpoint import read_files, write_files
from pipelines.models.families import SingleFamily
from pipelines.models.legs import Curve, FamilyOptions, checked
from pipelines.models.scikit.columns import Encoded
from pipelines.models.scikit.family import estimator_of, skops_bytes
from pipelines.table.data import Fold
from pipelines.table.shares import subset
from serving.features import Matrix
from serving.members import MANIFEST, SCHEMA
from serving.scikit import predictions

DTYPE = "float64"
_FILE, _STATE = "model.skops", "state.json"


class SingleFit(ABC):
    """A family of estimators on one fold."""

    budget_unit: ClassVar[str] = "fits"
    name: str

    def __init__(self, fold: Fold, options: FamilyOptions) -> None:
        self.description = self.described()
        self.fold = _at_most(fold, self.description.max_rows)
        self.metric = options.metric
        self.threads = options.threads
        self._encoded: dict[str, Encoded] = {}

    def described(self) -> SingleFamily:
        """The family as the driver knows it."""
        return single_family(self.name)

    @abstractmethod
    def unfitted(self, chosen: Params, seed: int) -> Any:
        """An estimator with the parameters of `chosen`."""

    @abstractmethod
    def columns(self, chosen: Params) -> Encoded:
        """The rows in the form that the estimator takes."""

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

    def cached(self, key: str, transformer: Any) -> Encoded:
        """The rows as a new transformer encodes them, from a cache by its key."""
        if key not in self._encoded:
            self._encoded[key] = Encoded(self.fold, transformer, DTYPE)
        return self._encoded[key]

    def chosen(self, params: Params) -> dict[str, Value]:
        """The parameters of a trial under main names, and the defaults of the others."""
        default = self.description.settings(kind=self.fold.task.kind).first_points[0]
        return {**default, **self.description.canonical(params)}

    def fitted(self, estimator: Any, x: Any) -> Any:
        """The estimator, fitted to the encoded training rows."""
        return estimator.fit(x, self.fold.y_train, sample_weight=self.fold.training_weight)

    def predictions(self, estimator: Any, x: Any) -> FloatArray:
        """`(n, k)` probabilities or `(n,)` standardised values of encoded rows."""
        return predictions(estimator, x, self.fold.task.n_classes)

    def facts(self, estimator: Any) -> Mapping[str, Any]:
        """What `member.json` says of the family and of a fitted estimator."""
        return {"family": self.name}


class Fit:
    """The model of one trial: a `Trainable` that is fitted with the first unit of budget."""

    horizon = 1
    best = 1

    def __init__(self, family: SingleFit, params: Params, seed: int) -> None:
        self._family = family
        self._params = dict(params)
        self._seed = seed
        self._chosen = family.chosen(params)
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
        family, fold = self._family, self._family.fold
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of convergence, and of rare classes
            estimator = family.unfitted(self._chosen, self._seed)
            self.estimator = family.fitted(estimator, self._rows.train)
        return ((1.0, fold.score(family.metric, self.predict(fold.valid))),)

    def predict(self, rows: Matrix) -> FloatArray:
        """`(n, k)` probabilities or `(n,)` standardised values."""
        if self.estimator is None:
            raise ValueError("the model is not fitted yet; call train first")
        fold, encoded = self._family.fold, self._rows
        x = encoded.valid if rows is fold.valid else encoded.of(rows)
        return checked(self._family.predictions(self.estimator, x), self.reached)

    def save(self, directory: Path) -> None:
        """Write the fitted pipeline, atomically."""
        facts = {**self.identity(), "reached": self.reached}
        write_files(directory, {_FILE: self.content()}, _STATE, facts)

    def export(self, directory: Path) -> None:
        """Write the fitted pipeline for `serving.scikit`."""
        task = self._family.fold.task
        facts = {
            "schema": SCHEMA,
            **self._family.facts(self.estimator),
            "kind": task.kind,
            "model": _FILE,
            "n_classes": task.n_classes,
            "dtype": DTYPE,
        }
        write_files(directory, {_FILE: self.content()}, MANIFEST, facts)

    def identity(self) -> dict[str, Any]:
        """The facts that a checkpoint must match."""
        fold = self._family.fold
        return {
            "family": self._family.name,
            "params": self._params,
            "seed": self._seed,
            "data": [len(fold.train), fold.index],
        }

    def content(self) -> bytes:
        """The fitted pipeline as a skops file."""
        return skops_bytes(Pipeline([("columns", self._rows.columns), ("model", self.estimator)]))

    @property
    def _rows(self) -> Encoded:
        return self._family.columns(self._chosen)


def _at_most(fold: Fold, rows: int | None) -> Fold:
    """The fold with so many of its training rows at most, of all classes."""
    if rows is None or len(fold.train) <= rows:
        return fold
    return subset(fold, rows / len(fold.train), fold.index)
