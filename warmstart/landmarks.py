"""Landmarks: the scores of cheap models on a small sample.

Pfahringer, Bensusan & Giraud-Carrier (2000), "Meta-learning by landmarking various learning
algorithms"; differences between them: Fürnkranz & Petrak (2001), "An evaluation of landmarking
variants".

All models except naive Bayes are regressions, of the target or of indicators of its classes. The
squared error of indicators is the Gini impurity, so a tree is the usual classification tree, and
least squares on indicators is a linear discriminant. A class that a fold lacks needs no special
treatment.
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
from warmstart.sample import Sample, as_columns
from warmstart.statistics import standardised, winsorised

FOLDS = 3
MIN_ROWS = 12
MAX_CLASSES = 30
MAX_CATEGORIES = 5
NEIGHBOURS = 5

MODELS: Mapping[str, Callable[[int], Any]] = {
    "stump": lambda seed: DecisionTreeRegressor(max_depth=1, random_state=seed),
    "shallow_tree": lambda seed: DecisionTreeRegressor(max_depth=3, random_state=seed),
    "tree": lambda seed: DecisionTreeRegressor(random_state=seed),
    "neighbours": lambda seed: KNeighborsRegressor(NEIGHBOURS),
    "linear": lambda seed: Ridge(alpha=1.0, solver="cholesky"),
}


def landmarks(sample: Sample, seed: int) -> dict[str, float]:
    """Out-of-fold scores of cheap models, the best of them, and differences.

    A score is 0 without any skill and 1 for a perfect prediction: 2 AUC - 1 for binary tasks,
    Cohen's kappa for multiclass ones, and R² for regressions, at least -1.

    Returns:
        The scores by name; empty if the sample is too small or its target or columns are constant.
    """
    rows, labels = _learnable(sample)
    if len(rows) < MIN_ROWS or len(np.unique(labels)) < 2:
        return {}
    x = _design(sample, rows)
    if x.shape[1] == 0:
        return {}
    fold = _folds(labels)
    is_regression = sample.kind == "regression"
    target = standardised(labels) if is_regression else _indicators(labels)
    scores = {}
    for name, make in MODELS.items():
        predicted = _out_of_fold(make, seed, x, target, fold)
        scores[name] = _score(sample.kind, labels, predicted)
    if not is_regression:
        predicted = _naive_bayes(x, labels.astype(np.int64), fold)
        scores["naive_bayes"] = _score(sample.kind, labels, predicted)
    return scores | {
        "best": max(scores.values()),
        "tree_minus_shallow": scores["tree"] - scores["shallow_tree"],
        "tree_minus_linear": scores["tree"] - scores["linear"],
        "neighbours_minus_linear": scores["neighbours"] - scores["linear"],
    }


def _learnable(sample: Sample) -> tuple[IntArray, FloatArray]:
    """The rows to learn from and their targets.

    Of a classification, these are the rows of the most frequent classes that every fold can hold.
    """
    if sample.kind == "regression":
        return np.arange(len(sample)), winsorised(sample.target)
    classes, counts = np.unique(sample.target, return_counts=True)
    frequent = np.argsort(-counts, kind="stable")[:MAX_CLASSES]
    usable = classes[frequent][counts[frequent] >= FOLDS]
    rows = np.flatnonzero(np.isin(sample.target, usable))
    return rows, np.unique(sample.target[rows], return_inverse=True)[1].astype(np.float64)


def _folds(labels: FloatArray) -> IntArray:
    """`(n,)` fold numbers, stratified by class or by the range of a numeric target."""
    fold = np.empty(len(labels), dtype=np.int64)
    fold[np.argsort(labels, kind="stable")] = np.arange(len(labels)) % FOLDS
    return fold


def _out_of_fold(
    make: Callable[[int], Any], seed: int, x: FloatArray, target: FloatArray, fold: IntArray
) -> FloatArray:
    predicted = np.empty_like(target)
    for i in range(FOLDS):
        model = make(seed).fit(x[fold != i], target[fold != i])
        predicted[fold == i] = model.predict(x[fold == i])
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
    """`(n, d)`: standardised numbers, 0 where missing, and indicators of frequent categories."""
    columns = [standardised(winsorised(column)) for column in sample.numeric[rows].T]
    for codes in sample.categorical[rows].T:
        categories, counts = np.unique(codes, return_counts=True)
        frequent = categories[np.argsort(-counts, kind="stable")[:MAX_CATEGORIES]]
        columns.extend(np.equal(frequent[:, None], codes).astype(np.float64))
    x = as_columns(columns, len(rows), np.float64)
    return x[:, x.min(axis=0) < x.max(axis=0)]
