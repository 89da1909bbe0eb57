"""Baselines that a search must beat: a constant prediction, and a linear model.

They are trained, scored and served like any family, and take seconds at most.
"""

from __future__ import annotations

import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn import linear_model
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from hpo.arrays import FloatArray
from hpo.space.parameters import Params
from pipelines.models.checkpoint import write_files
from pipelines.models.errors import TrainingError
from pipelines.models.legs import Curve, FamilyOptions, checked
from pipelines.table.data import Fold, Task
from pipelines.table.scores.losses import Loss
from pipelines.table.scores.metrics import Weights, weighted_quantile
from serving.features import Matrix
from serving.members import (
    MANIFEST,
    SCHEMA,
    LinearMember,
    LinearWeights,
    Member,
    TrivialMember,
    linear_design,
)

_ROWS = 20_000
_ONE_HOT_COLUMNS = 1_000
_ITERATIONS = 100
_CLIP = 5.0
_CELLS = 1 << 22
_WEIGHTS = "weights.json"


@dataclass(frozen=True)
class Fitted:
    """A fitted member, and the manifest keys and files of its folder."""

    member: Member
    facts: Mapping[str, Any]
    files: Mapping[str, bytes]


class BaselineFamily(ABC):
    """A baseline on one fold. It has no parameters, and one unit of budget is the whole fit."""

    budget_unit: ClassVar[str] = "fits"
    name: ClassVar[str]

    def __init__(self, fold: Fold, options: FamilyOptions) -> None:
        self.fold = fold
        self.metric = options.metric

    def start(self, params: Params, seed: int) -> Baseline:
        """A model that is not fitted yet; `params` is not used."""
        return Baseline(self, seed)

    def resume(self, params: Params, seed: int, directory: Path) -> Baseline:
        """The model, fitted again because that is cheap; `directory` is not read."""
        model = Baseline(self, seed)
        model.train(1)
        return model

    @abstractmethod
    def fit(self, seed: int) -> Fitted:
        """Fit the training rows.

        Raises:
            TrainingError: if a coefficient is not finite.
        """


class Trivial(BaselineFamily):
    """Predicts the class shares or the mean of the training rows."""

    name = "trivial"

    def fit(self, seed: int) -> Fitted:
        """The class shares, or the mean."""
        task, y, weight = self.fold.task, self.fold.y_train, self.fold.weight_train
        if task.kind == "regression":
            loss = Loss.parse(task.loss) if task.loss else None
            values = y.astype(np.float64)
            if loss and loss.kind == "quantile":
                prediction = np.array([weighted_quantile(values, loss.level, weight)])
            else:
                prediction = np.array([np.average(values, weights=weight)])
        else:
            counts = np.bincount(y.astype(np.int64), weight, minlength=task.n_classes)
            prediction = counts / counts.sum()
        return Fitted(TrivialMember(prediction), {"prediction": prediction.tolist()}, {})


class Ridge(BaselineFamily):
    """Logistic, softmax or ridge regression on scaled and one-hot columns.

    It is fitted to 20,000 rows at most.
    """

    name = "ridge"

    def fit(self, seed: int) -> Fitted:
        """The coefficients of a regularised fit, stored as JSON.

        Raises:
            TrainingError: if a coefficient is not finite.
        """
        rows, y, weight = _sample(self.fold, seed)
        center, scale = _location(rows.numeric), _spread(rows.numeric)
        cardinalities = self.fold.cardinalities
        frequent = _frequent(rows, cardinalities)
        design = _sparse_design(rows, center, scale, cardinalities, frequent)
        coefficients, intercept = _solve(design, y, weight, self.fold.task)
        numeric = 2 * len(center)  # the scaled columns and their indicators of missing values
        full = np.zeros((len(intercept), numeric + sum(cardinalities)))
        full[:, np.concatenate([np.arange(numeric), numeric + frequent])] = coefficients
        if not np.isfinite(full).all() or not np.isfinite(intercept).all():
            raise TrainingError("the linear model has coefficients that are not finite")
        weights = LinearWeights(center, scale, cardinalities, full, intercept, _CLIP)
        text = json.dumps(weights.to_dict(), allow_nan=False)
        member = LinearMember(weights, self.fold.task.kind)
        return Fitted(member, {"weights": _WEIGHTS}, {_WEIGHTS: text.encode()})


class Baseline:
    """The model of a baseline: a `Trainable` that is fitted with the first unit of budget."""

    def __init__(self, family: BaselineFamily, seed: int) -> None:
        self._family = family
        self._seed = seed
        self._fitted: Fitted | None = None
        self.reached = 0
        self.horizon = 1

    @property
    def best(self) -> int:
        """The whole fit."""
        return self.horizon

    @property
    def stopped(self) -> bool:
        """Whether the model is fitted."""
        return self._fitted is not None

    def train(self, to: int) -> Curve:
        """Fit in the first call, which returns one curve point."""
        self.reached = max(self.reached, to)
        if self._fitted is not None or to < 1:
            return ()
        self._fitted = self._family.fit(self._seed)
        fold = self._family.fold
        return ((float(to), fold.score(self._family.metric, self.predict(fold.valid))),)

    def predict(self, rows: Matrix) -> FloatArray:
        """`(n, k)` probabilities or `(n,)` standardised values."""
        member = self._done().member
        width = 2 * rows.numeric.shape[1] + sum(self._family.fold.cardinalities)
        step = max(1, _CELLS // max(width, 1))  # in slices, because the one-hot design is dense
        starts = range(0, max(len(rows), 1), step)
        parts = [member.predict(_slice(rows, start, start + step)) for start in starts]
        return checked(np.concatenate(parts), self.reached)

    def save(self, directory: Path) -> None:
        """Write the member."""
        self.export(directory)

    def export(self, directory: Path) -> None:
        """Write the member for `serving.members`."""
        fitted, family = self._done(), self._family
        facts = {
            "schema": SCHEMA,
            "family": family.name,
            "kind": family.fold.task.kind,
            **fitted.facts,
        }
        write_files(directory, fitted.files, MANIFEST, facts)

    def _done(self) -> Fitted:
        if self._fitted is None:
            raise ValueError("the model is not fitted yet; call train first")
        return self._fitted


def _slice(rows: Matrix, start: int, end: int) -> Matrix:
    return Matrix(rows.numeric[start:end], rows.categorical[start:end])


def _sample(fold: Fold, seed: int) -> tuple[Matrix, npt.NDArray[Any], Weights]:
    """At most 20,000 training rows, with every class that occurs, which the solver needs."""
    n = len(fold.train)
    if n <= _ROWS:
        return fold.train, fold.y_train, fold.weight_train
    chosen = np.random.default_rng(seed).choice(n, _ROWS, replace=False)
    if fold.task.kind != "regression":
        first = np.unique(fold.y_train, return_index=True)[1]
        chosen = np.union1d(chosen, first)
    chosen = np.sort(chosen)
    weight = None if fold.weight_train is None else fold.weight_train[chosen]
    return fold.train.take(chosen), fold.y_train[chosen], weight


def _present(numeric: FloatArray) -> list[FloatArray]:
    """The columns without their missing values."""
    return [column[~np.isnan(column)] for column in numeric.T]


def _location(numeric: FloatArray) -> FloatArray:
    """`(p,)` medians; 0 where a column has no value."""
    return np.array([np.median(c) if len(c) else 0.0 for c in _present(numeric)])


def _spread(numeric: FloatArray) -> FloatArray:
    """`(p,)` standard deviations; 1 where a column does not vary."""
    deviations = np.array([np.std(c) if len(c) else 0.0 for c in _present(numeric)])
    return np.where(np.isfinite(deviations) & (deviations > 0), deviations, 1.0)


def _frequent(rows: Matrix, cardinalities: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """The one-hot columns that get a coefficient: the 1,000 most frequent levels that occur."""
    counts = [
        np.bincount(codes[codes >= 0], minlength=cardinality)
        for codes, cardinality in zip(rows.categorical.T, cardinalities, strict=True)
    ]
    together = np.concatenate([*counts, np.zeros(0, dtype=np.int64)]).astype(np.int64)
    order = np.argsort(-together, kind="stable")[:_ONE_HOT_COLUMNS]
    return np.sort(order[together[order] > 0])


def _sparse_design(
    rows: Matrix,
    center: FloatArray,
    scale: FloatArray,
    cardinalities: tuple[int, ...],
    frequent: npt.NDArray[np.int64],
) -> sparse.csr_matrix:
    """The columns of `serving.members.linear_design` with a coefficient, `(n, 2p + frequent)`."""
    numeric = linear_design(Matrix(rows.numeric, rows.categorical[:, :0]), center, scale, (), _CLIP)
    first = np.cumsum([0, *cardinalities[:-1]]) if cardinalities else np.zeros(0, dtype=np.int64)
    known = rows.categorical >= 0
    row = np.nonzero(known)[0]
    level = (rows.categorical + first)[known]
    used = np.isin(level, frequent)
    position = np.searchsorted(frequent, level[used])
    one_hot = sparse.csr_matrix(
        (np.ones(len(position)), (row[used], position)), shape=(len(rows), len(frequent))
    )
    return sparse.hstack([sparse.csr_matrix(numeric), one_hot], format="csr")


def _solve(
    design: sparse.csr_matrix, y: npt.NDArray[Any], weight: Weights, task: Task
) -> tuple[FloatArray, FloatArray]:
    """`(m, width)` coefficients and `(m,)` intercepts.

    Fits that have not converged after the last iteration are good enough for a baseline.
    """
    if task.kind == "regression":
        ridge = linear_model.Ridge(alpha=1.0, solver="sparse_cg", max_iter=_ITERATIONS).fit(
            design, y, weight
        )
        return np.atleast_2d(ridge.coef_), np.atleast_1d(ridge.intercept_)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        logistic = LogisticRegression(C=1.0, max_iter=_ITERATIONS).fit(design, y, weight)
    if task.kind == "binary":
        return logistic.coef_, logistic.intercept_
    return _every_class(logistic, task.n_classes)


def _every_class(logistic: LogisticRegression, n_classes: int) -> tuple[FloatArray, FloatArray]:
    """Coefficients of all classes; one without training rows gets a probability of about e^-30."""
    coefficients, intercept = logistic.coef_, logistic.intercept_
    if len(intercept) == 1:
        coefficients = np.vstack([np.zeros_like(coefficients), coefficients])
        intercept = np.concatenate([[0.0], intercept])
    all_coefficients = np.zeros((n_classes, coefficients.shape[1]))
    all_intercepts = np.full(n_classes, -30.0)
    all_coefficients[logistic.classes_] = coefficients
    all_intercepts[logistic.classes_] = intercept
    return all_coefficients, all_intercepts
