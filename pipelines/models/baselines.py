"""What a search must beat: always the same answer, and a linear model that costs seconds at most.

They are trained, scored and shipped like any family, but have no parameters; one unit of budget is
the whole fit.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

from hpo.arrays import FloatArray
from hpo.space.parameters import Params
from pipelines.models.checkpoint import write_files
from pipelines.models.errors import TrainingError
from pipelines.models.legs import Curve, checked
from pipelines.table.data import Fold, Task
from pipelines.table.metrics import Metric
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
    """A member with what its folder holds: keys of the manifest, and files."""

    member: Member
    facts: Mapping[str, Any]
    files: Mapping[str, bytes]


class Trivial:
    """Predicts the class shares or the mean of the training rows."""

    budget_unit: ClassVar[str] = "fits"
    name = "trivial"

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

    def start(self, params: Params, seed: int) -> Baseline:
        """A model that has not been fitted yet; there are no parameters."""
        return Baseline(self, seed)

    def resume(self, params: Params, seed: int, directory: Path) -> Baseline:
        """The fit is so cheap that it is made again."""
        return _fitted_again(self, seed)

    def fit(self, seed: int) -> Fitted:
        """The shares, or the mean."""
        task, y = self.fold.task, self.fold.y_train
        if task.kind == "regression":
            prediction = np.array([float(y.astype(np.float64).mean())])
        else:
            prediction = np.bincount(y.astype(np.int64), minlength=task.n_classes) / len(y)
        return Fitted(TrivialMember(prediction), {"prediction": prediction.tolist()}, {})


class Linear:
    """Logistic, softmax or ridge regression on scaled and one-hot columns, from 20,000 rows at most."""

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

    def start(self, params: Params, seed: int) -> Baseline:
        """A model that has not been fitted yet; there are no parameters."""
        return Baseline(self, seed)

    def resume(self, params: Params, seed: int, directory: Path) -> Baseline:
        """The fit is so cheap that it is made again."""
        return _fitted_again(self, seed)

    def fit(self, seed: int) -> Fitted:
        """The coefficients of a regularised fit, as JSON.

        Raises:
            TrainingError: when they are not finite.
        """
        rows, y = _sample(self.fold, seed)
        center, scale = _location(rows.numeric), _spread(rows.numeric)
        kept = _frequent(rows, self.fold.cardinalities)
        design = _sparse_design(rows, center, scale, self.fold.cardinalities, kept)
        coefficients, intercept = _solve(design, y, self.fold.task)
        full = np.zeros((len(intercept), 2 * len(center) + sum(self.fold.cardinalities)))
        full[:, np.concatenate([np.arange(2 * len(center)), 2 * len(center) + kept])] = coefficients
        if not np.all(np.isfinite(full)) or not np.all(np.isfinite(intercept)):
            raise TrainingError("the linear model has coefficients that are not finite")
        weights = LinearWeights(center, scale, self.fold.cardinalities, full, intercept, _CLIP)
        text = json.dumps(weights.to_dict(), allow_nan=False)
        member = LinearMember(weights, self.fold.task.kind)
        return Fitted(member, {"weights": _WEIGHTS}, {_WEIGHTS: text.encode()})


class Baseline:
    """One baseline's model: a `Trainable` whose first unit of budget is the whole fit."""

    def __init__(self, family: Trivial | Linear, seed: int) -> None:
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
        """Whether it is fitted."""
        return self._fitted is not None

    def train(self, to: int) -> Curve:
        """Fit at the first call; one curve point."""
        self.reached = max(self.reached, to)
        if self._fitted is not None or to < 1:
            return ()
        self._fitted = self._family.fit(self._seed)
        fold = self._family.fold
        return ((float(to), fold.score(self._family.metric, self.predict(fold.valid))),)

    def predict(self, rows: Matrix) -> FloatArray:
        """`(n, k)` probabilities or `(n,)` standardised values."""
        width = 2 * rows.numeric.shape[1] + sum(self._family.fold.cardinalities)
        step = max(1, _CELLS // max(width, 1))  # the one-hot design is dense: a slice at a time
        starts = range(0, max(len(rows), 1), step)
        parts = [self._done().member.predict(_slice(rows, start, start + step)) for start in starts]
        return checked(np.concatenate(parts), self.reached)

    def save(self, directory: Path) -> None:
        """Write the member."""
        self.export(directory)

    def export(self, directory: Path) -> None:
        """Write what `serving.members` reads."""
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


def _fitted_again(family: Trivial | Linear, seed: int) -> Baseline:
    model = Baseline(family, seed)
    model.train(1)
    return model


def _slice(rows: Matrix, start: int, end: int) -> Matrix:
    return Matrix(rows.numeric[start:end], rows.categorical[start:end])


def _sample(fold: Fold, seed: int) -> tuple[Matrix, npt.NDArray[Any]]:
    """At most 20,000 training rows; at least one of every class, which the solver needs."""
    n = len(fold.train)
    if n <= _ROWS:
        return fold.train, fold.y_train
    chosen = np.random.default_rng(seed).choice(n, _ROWS, replace=False)
    if fold.task.kind != "regression":
        first = np.unique(fold.y_train, return_index=True)[1]
        chosen = np.union1d(chosen, first)
    chosen = np.sort(chosen)
    return fold.train.take(chosen), fold.y_train[chosen]


def _location(numeric: FloatArray) -> FloatArray:
    """`(p,)` medians; 0 where a column has no value."""
    return np.array(
        [np.median(c[~np.isnan(c)]) if not np.all(np.isnan(c)) else 0.0 for c in numeric.T]
    )


def _spread(numeric: FloatArray) -> FloatArray:
    """`(p,)` standard deviations; 1 where a column does not vary."""
    deviations = np.array(
        [np.std(c[~np.isnan(c)]) if not np.all(np.isnan(c)) else 0.0 for c in numeric.T]
    )
    return np.where(np.isfinite(deviations) & (deviations > 0), deviations, 1.0)


def _frequent(rows: Matrix, cardinalities: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """The one-hot columns worth a coefficient: levels that occur, the most frequent 1,000."""
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
    kept: npt.NDArray[np.int64],
) -> sparse.csr_matrix:
    """`(n, 2p + len(kept))`: the columns of `serving.members.linear_design` that get a coefficient."""
    numeric = linear_design(Matrix(rows.numeric, rows.categorical[:, :0]), center, scale, (), _CLIP)
    first = np.cumsum([0, *cardinalities[:-1]]) if cardinalities else np.zeros(0, dtype=np.int64)
    known = rows.categorical >= 0
    row = np.nonzero(known)[0]
    level = (rows.categorical + first)[known]
    used = np.isin(level, kept)
    position = np.searchsorted(kept, level[used])
    one_hot = sparse.csr_matrix(
        (np.ones(len(position)), (row[used], position)), shape=(len(rows), len(kept))
    )
    return sparse.hstack([sparse.csr_matrix(numeric), one_hot], format="csr")


def _solve(
    design: sparse.csr_matrix, y: npt.NDArray[Any], task: Task
) -> tuple[FloatArray, FloatArray]:
    """`(m, width)` coefficients and `(m,)` intercepts; a fit that has not converged by then is good enough."""
    if task.kind == "regression":
        ridge = Ridge(alpha=1.0, solver="sparse_cg", max_iter=_ITERATIONS).fit(design, y)
        return np.atleast_2d(ridge.coef_), np.atleast_1d(ridge.intercept_)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        logistic = LogisticRegression(C=1.0, max_iter=_ITERATIONS).fit(design, y)
    if task.kind == "binary":
        return logistic.coef_, logistic.intercept_
    return _every_class(logistic, task.n_classes)


def _every_class(logistic: LogisticRegression, n_classes: int) -> tuple[FloatArray, FloatArray]:
    """Rows for all classes; one that the training rows lack gets a probability of about e^-30."""
    coefficients, intercept = logistic.coef_, logistic.intercept_
    if len(intercept) == 1:
        coefficients = np.vstack([np.zeros_like(coefficients), coefficients])
        intercept = np.concatenate([[0.0], intercept])
    all_coefficients = np.zeros((n_classes, coefficients.shape[1]))
    all_intercepts = np.full(n_classes, -30.0)
    all_coefficients[logistic.classes_] = coefficients
    all_intercepts[logistic.classes_] = intercept
    return all_coefficients, all_intercepts
