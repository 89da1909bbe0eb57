"""Landmarks: how well cheap models do on a small sample.

Pfahringer, Bensusan & Giraud-Carrier (2000), "Meta-learning by landmarking various learning
algorithms"; differences between them: Fürnkranz & Petrak (2001), "An evaluation of landmarking
variants".

All models but naive Bayes are regressions, of the target or of the indicators of its classes. The
squared error of indicators is the Gini impurity, so that a tree is the usual classification tree,
and least squares on indicators is a linear discriminant; and a class that a fold lacks is no
special case.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.metrics import cohen_kappa_score, r2_score, roc_auc_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeRegressor

from hpo.arrays import FloatArray, IntArray
from warmstart.sample import Sample
from warmstart.statistics import standardised, winsorised

FOLDS = 3
MIN_ROWS = 12
MAX_CLASSES = 30
MAX_LEVELS = 5
NEIGHBOURS = 5

MODELS: Mapping[str, Callable[[int], Any]] = {
    "stump": lambda seed: DecisionTreeRegressor(max_depth=1, random_state=seed),
    "shallow_tree": lambda seed: DecisionTreeRegressor(max_depth=3, random_state=seed),
    "tree": lambda seed: DecisionTreeRegressor(random_state=seed),
    "neighbours": lambda seed: KNeighborsRegressor(NEIGHBOURS),
    "linear": lambda seed: Ridge(alpha=1.0, solver="cholesky"),
}


def landmarks(sample: Sample, seed: int) -> dict[str, float]:
    """Out-of-fold scores of cheap models, the best of them, and differences; empty where none can be measured.

    A score is 0 for a model that knows nothing and 1 for a perfect one: 2 AUC - 1 for binary tasks,
    Cohen's kappa for multiclass ones, R² for regressions, where less than -1 counts as -1.
    """
    kept, labels = _learnable(sample)
    if len(kept) < MIN_ROWS or len(np.unique(labels)) < 2:
        return {}
    x = _design(sample, kept)
    if x.shape[1] == 0:
        return {}
    fold = _folds(labels)
    wanted = standardised(labels) if sample.kind == "regression" else _indicators(labels)
    scores = {
        name: _score(sample.kind, labels, _out_of_fold(make, seed, x, wanted, fold))
        for name, make in MODELS.items()
    }
    if sample.kind != "regression":
        scores["naive_bayes"] = _score(
            sample.kind, labels, _naive_bayes(x, labels.astype(np.int64), fold)
        )
    return scores | {
        "best": max(scores.values()),
        "tree_minus_shallow": scores["tree"] - scores["shallow_tree"],
        "tree_minus_linear": scores["tree"] - scores["linear"],
        "neighbours_minus_linear": scores["neighbours"] - scores["linear"],
    }


def _learnable(sample: Sample) -> tuple[IntArray, FloatArray]:
    """Rows, and their targets: of a classification, those of its most frequent classes that every fold has."""
    if sample.kind == "regression":
        return np.arange(len(sample)), winsorised(sample.target)
    classes, counts = np.unique(sample.target, return_counts=True)
    frequent = classes[np.argsort(-counts, kind="stable")[:MAX_CLASSES]]
    rows = np.flatnonzero(
        np.isin(sample.target, np.intersect1d(frequent, classes[counts >= FOLDS]))
    )
    return rows, np.unique(sample.target[rows], return_inverse=True)[1].astype(np.float64)


def _folds(labels: FloatArray) -> IntArray:
    """`(n,)` numbers of folds, each with its share of every class, or of every part of a numeric target's range."""
    fold = np.empty(len(labels), dtype=np.int64)
    fold[np.argsort(labels, kind="stable")] = np.arange(len(labels)) % FOLDS
    return fold


def _out_of_fold(
    make: Callable[[int], Any], seed: int, x: FloatArray, wanted: FloatArray, fold: IntArray
) -> FloatArray:
    predicted = np.empty_like(wanted)
    for i in range(FOLDS):
        predicted[fold == i] = make(seed).fit(x[fold != i], wanted[fold != i]).predict(x[fold == i])
    return predicted


def _naive_bayes(x: FloatArray, labels: IntArray, fold: IntArray) -> FloatArray:
    predicted = np.zeros((len(labels), labels.max() + 1))
    for i in range(FOLDS):
        model = GaussianNB(var_smoothing=1e-3).fit(x[fold != i], labels[fold != i])
        predicted[np.ix_(fold == i, model.classes_)] = model.predict_proba(x[fold == i])
    return predicted


def _score(kind: str, labels: FloatArray, predicted: FloatArray) -> float:
    if kind == "regression":
        return max(-1.0, float(r2_score(standardised(labels), predicted)))
    if kind == "binary":
        return 2 * float(roc_auc_score(labels, predicted[:, 1])) - 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(cohen_kappa_score(labels, predicted.argmax(axis=1)))


def _indicators(labels: FloatArray) -> FloatArray:
    """`(n, k)`: 1 in the column of the row's class."""
    return np.equal(labels[:, None], np.unique(labels)).astype(np.float64)


def _design(sample: Sample, rows: IntArray) -> FloatArray:
    """`(n, d)`: standardised numbers, 0 where missing, and indicators of each category's most frequent levels."""
    columns = [standardised(winsorised(column)) for column in sample.numeric[rows].T]
    for codes in sample.categorical[rows].T:
        levels, counts = np.unique(codes, return_counts=True)
        columns += [
            codes == level for level in levels[np.argsort(-counts, kind="stable")[:MAX_LEVELS]]
        ]
    used = [column for column in columns if column.min() < column.max()]
    return np.array(used, dtype=np.float64).reshape(len(used), len(rows)).T
