"""The rows of a race as files: every competitor reads the same."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import log_loss, roc_auc_score, root_mean_squared_error
from sklearn.model_selection import train_test_split

from benchmarks.datasets import Dataset
from benchmarks.peers.race.entry import BINARY, REGRESSION
from hpo.arrays import FloatArray

HELD_OUT = 0.25
METRICS = {BINARY: "roc_auc", "multiclass": "log_loss", REGRESSION: "rmse"}


@dataclass(frozen=True)
class Split:
    """Training rows and held-out rows of a table.

    Attributes:
        train: their file.
        test: their file.
        task: of the table.
        classes: the labels as text, sorted; empty for a regression.
        y: the held-out targets `(n,)`, as numbers or as positions in `classes`.
    """

    train: Path
    test: Path
    task: str
    classes: tuple[str, ...]
    y: npt.NDArray[np.float64]

    @classmethod
    def of(cls, dataset: Dataset, number: int, folder: Path) -> "Split":
        """Write the rows of a split of a table; rows without a target are left out."""
        is_regression = dataset.task == REGRESSION
        frame = pd.read_csv(dataset.path, dtype=None if is_regression else {dataset.target: str})
        frame = frame.dropna(subset=[dataset.target])
        target = frame[dataset.target]
        parts = train_test_split(
            frame,
            test_size=HELD_OUT,
            random_state=number,
            stratify=None if is_regression else target,
        )
        paths = [folder / "train.csv", folder / "test.csv"]
        for part, path in zip(parts, paths, strict=True):
            part.to_csv(path, index=False)
        held_out = parts[1][dataset.target]
        classes = () if is_regression else tuple(sorted(target.unique()))
        y = held_out if is_regression else pd.Categorical(held_out, list(classes)).codes
        return cls(paths[0], paths[1], dataset.task, classes, np.asarray(y, dtype=float))

    @property
    def metric(self) -> str:
        """What decides."""
        return METRICS[self.task]

    def error(self, predicted: FloatArray) -> float:
        """1 - ROC AUC, log loss or RMSE of predictions `(n,)` or `(n, k)`."""
        if self.task == REGRESSION:
            return float(root_mean_squared_error(self.y, predicted))
        if self.task == BINARY:
            positive = predicted[:, 1] if predicted.ndim > 1 else predicted
            return 1.0 - float(roc_auc_score(self.y, positive))
        whole = predicted / predicted.sum(axis=1, keepdims=True)
        return float(log_loss(self.y, whole, labels=range(len(self.classes))))
