"""What a competitor is given, and how it answers.

The process of a competitor reads a job, trains, notes when its model was ready, and predicts the
held-out rows. The driver counts its seconds from the start of the process until then.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

ANSWER, PREDICTIONS = "answer.json", "predictions.npy"
REPEATS = 3  # predictions of the held-out rows, of which the fastest counts
REGRESSION, BINARY = "regression", "binary"

Predict = Callable[[pd.DataFrame], npt.NDArray[np.float64]]  # `(n,)` values, `(n, k)` probabilities


@dataclass(frozen=True)
class Entry:
    """The work of a competitor.

    Attributes:
        train: a CSV file with the training rows.
        test: a CSV file with the held-out rows.
        target: the column to predict.
        task: `binary`, `multiclass` or `regression`.
        metric: that decides, by scikit-learn's name.
        classes: the labels as text, sorted; empty for a regression.
        seconds: that it may take.
        seed: of what is random.
        settings: of the competitor.
    """

    train: str
    test: str
    target: str
    task: str
    metric: str
    classes: tuple[str, ...]
    seconds: float
    seed: int
    settings: dict[str, Any]

    @property
    def is_regression(self) -> bool:
        """Whether the target is a number."""
        return self.task == REGRESSION

    @property
    def cores(self) -> int:
        """The cores that this process may use."""
        return len(os.sched_getaffinity(0))

    def rows(self, path: str) -> tuple[pd.DataFrame, npt.NDArray[Any]]:
        """The features of a file, and its targets: numbers, or positions in `classes`."""
        frame = pd.read_csv(path, dtype=None if self.is_regression else {self.target: str})
        y = frame.pop(self.target)
        if self.is_regression:
            return frame, y.to_numpy(float)
        return frame, pd.Categorical(y, list(self.classes)).codes.astype(int)


def compete(fit: Callable[[Entry], Predict]) -> None:
    """Answer the job in the file that the command line names, in the working directory."""
    plain = json.loads(Path(sys.argv[1]).read_text())
    entry = Entry(**{**plain, "classes": tuple(plain["classes"])})
    predict = fit(entry)
    ready = time.time()
    rows, _ = entry.rows(entry.test)
    seconds = []
    for _ in range(REPEATS):
        began = time.process_time()
        predicted = predict(rows)
        seconds.append(time.process_time() - began)
    np.save(PREDICTIONS, predicted)
    Path(ANSWER).write_text(json.dumps({"ready": ready, "prediction": min(seconds) / len(rows)}))


def with_categories(train: pd.DataFrame) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """What makes text columns categorical, with the levels of the training rows."""
    levels = {
        str(name): pd.CategoricalDtype(sorted(column.dropna().astype(str).unique()))
        for name, column in train.items()
        if not pd.api.types.is_numeric_dtype(column)
    }

    def transform(frame: pd.DataFrame) -> pd.DataFrame:
        changed = {
            name: pd.Categorical(text.where(text.isin(dtype.categories)), dtype=dtype)
            for name, dtype in levels.items()
            for text in [frame[name].astype(str)]
        }
        return frame.assign(**changed)

    return transform
