"""Small pairs of training and validation rows, with gaps, unseen levels and useless columns."""

import numpy as np

from pipelines.table.data import Fold, Task
from serving.features import Matrix, TargetEncoder

KINDS = ("binary", "multiclass", "regression")
CARDINALITIES = (3, 40, 2)


def make_fold(kind: str, n: int = 240, seed: int = 0, *, categorical: bool = True) -> Fold:
    """A fold of `n` rows, two thirds of them to train on.

    It has 5 numeric columns, one of them empty and one constant, and 3 categorical ones.
    """
    rng = np.random.default_rng(seed)
    numeric = rng.normal(size=(n, 5))
    numeric[:, 3], numeric[:, 4] = np.nan, 1.0
    signal = 2 * numeric[:, 0] + numeric[:, 1] ** 2
    codes = np.column_stack([rng.integers(0, c, n) for c in CARDINALITIES]).astype(np.int32)
    if categorical:
        signal = signal + 1.5 * (codes[:, 0] == 1)
    signal = signal + rng.normal(scale=0.3, size=n)
    numeric[rng.random(n) < 0.2, 0] = np.nan
    cut = 2 * n // 3
    codes[cut:, 1][rng.random(n - cut) < 0.2] = -1
    rows = Matrix(numeric, codes if categorical else codes[:, :0])
    task, target, y = _target(kind, signal)
    train, valid = np.arange(cut), np.arange(cut, n)
    cardinalities = CARDINALITIES if categorical else ()
    return Fold(rows.take(train), y[train], rows.take(valid), y[valid], task, target, cardinalities)


def _target(kind: str, signal: np.ndarray) -> tuple[Task, TargetEncoder, np.ndarray]:
    if kind == "regression":
        target = TargetEncoder(kind, (), 100.0, 25.0)
        return Task(kind, 0), target, (signal - signal.mean()) / signal.std()
    n_classes = 2 if kind == "binary" else 4
    edges = np.quantile(signal, np.linspace(0, 1, n_classes + 1)[1:-1])
    names = tuple(f"class {i}" for i in range(n_classes))
    return (
        Task(kind, n_classes),
        TargetEncoder(kind, names),
        np.searchsorted(edges, signal).astype(np.int64),
    )
