"""This project's network in its tuned default, on arrays."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.models import FamilyOptions
from pipelines.models.catalog import family, settings
from pipelines.table.data import Fold, Task
from pipelines.table.scores.metrics import METRICS
from serving.features import Matrix, TargetEncoder


def run(arrays: str, metric: str, seed: int, point: int) -> dict[str, Any]:
    """Train a first point (0: library's default, 1: tuned default).

    The answer has the CPU seconds and the file with the predictions of the test rows.
    """
    data = np.load(arrays)
    kind, n_classes = str(data["kind"]), int(data["n_classes"])
    rows = {
        part: Matrix(data[f"{part}_numeric"], data[f"{part}_categorical"])
        for part in ("train", "valid", "test")
    }
    cardinalities = tuple(int(n) for n in data["cardinalities"])
    target = TargetEncoder(kind, (), float(data["mean"]), float(data["scale"]))
    y = (data["train_y"], data["valid_y"])
    fold = Fold(
        rows["train"], y[0], rows["valid"], y[1], Task(kind, n_classes), target, cardinalities
    )
    found = settings("mlp", kind=kind, has_categorical=bool(cardinalities))
    start = time.process_time()
    training = family("mlp")(
        fold, FamilyOptions(METRICS[metric], 1, horizon=found.budget.max)
    ).start(found.first_points[point], seed)
    training.train(found.budget.max)
    seconds = time.process_time() - start
    prediction = str(Path(arrays).with_suffix(f".own-{point}.npy"))
    np.save(prediction, target.original(training.predict(rows["test"])))
    return {"cpu_seconds": seconds, "prediction": prediction}
