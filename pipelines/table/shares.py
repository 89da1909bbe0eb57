"""Nested shares of the training rows, seeded and stratified by class."""

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pipelines.table.data import Fold

_STREAM = 0x5A4E  # so that no other generator of (seed, fold) draws the same numbers


def subset(fold: Fold, share: float, seed: int) -> Fold:
    """The fold with the first ceil(share * n) of its n training rows in `training_order`.

    The rows keep the order of the fold, and the validation rows do not change. A share of 1 is the
    fold itself.
    """
    n = len(fold.train)
    count = math.ceil(share * n - 1e-9)  # 0.07 * 100 is 7.000000000000001
    if count >= n:
        return fold
    rows = np.sort(training_order(fold, seed)[: max(count, 1)])
    weight = None if fold.weight_train is None else fold.weight_train[rows]
    return replace(
        fold, train=fold.train.take(rows), y_train=fold.y_train[rows], weight_train=weight
    )


def training_order(fold: Fold, seed: int) -> npt.NDArray[np.intp]:
    """A random order `(n,)` of the training rows that depends only on the seed and the fold.

    For a classification, each prefix has about the class proportions of the whole: the j-th of the
    c rows of a class is placed at (j + 1/2) / c. The first row of each class goes before all
    others, the most frequent class first, so that the first k rows hold all k classes.
    """
    shuffled = np.random.default_rng([seed, fold.index, _STREAM]).permutation(len(fold.train))
    if fold.task.kind == "regression":
        return shuffled
    classes = np.asarray(fold.y_train)[shuffled]
    counts = np.bincount(classes)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    rank = np.empty(len(classes), dtype=np.int64)  # of a row within its class
    rank[np.argsort(classes, kind="stable")] = np.arange(len(classes)) - first
    size = counts[classes]
    place = np.where(rank == 0, -size.astype(np.float64), (rank + 0.5) / size)
    order: npt.NDArray[np.intp] = shuffled[np.argsort(place, kind="stable")]
    return order
