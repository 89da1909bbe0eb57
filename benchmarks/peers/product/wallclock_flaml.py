"""FLAML's `AutoML.fit` with LightGBM only, on encoded rows.

FLAML chooses the number of training rows of each trial; it always validates on the same rows.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.environments import QUIET

PARTS = ("train", "valid", "test")


def run(
    rows: str, task: str, metric: str, seed: int, seconds: float, workers: int, folder: str
) -> dict[str, Any]:
    """Search for `seconds`, one trial at a time with `workers` threads.

    The answer has the trials as `[seconds since the call, loss]` in order, and the winner's test
    loss. The last trial may end late; the caller leaves out what is later than `seconds`. The
    winner is not trained again on all rows, so its test loss is that of the validated model, as on
    our side.
    """
    # Passive waiting of threads is our setting, not FLAML's. OpenMP reads it when it is loaded.
    for name in QUIET:
        os.environ.pop(name, None)
    from flaml import AutoML  # type: ignore[import-not-found]

    parts = np.load(rows)
    x, y = (
        {part: _frame(parts, part) for part in PARTS},
        {part: parts[f"{part}-target"] for part in PARTS},
    )
    log = Path(folder) / "flaml.log"
    search, start = AutoML(), time.perf_counter()
    search.fit(
        X_train=x["train"],
        y_train=y["train"],
        X_val=x["valid"],
        y_val=y["valid"],
        task="regression" if task == "regression" else "classification",
        metric=metric,
        estimator_list=["lgbm"],
        eval_method="holdout",
        time_budget=seconds,
        n_jobs=workers,
        seed=seed,
        retrain_full=False,
        log_file_name=str(log),
        log_type="all",
        verbose=0,
    )
    whole = time.perf_counter() - start
    return {
        "events": trials(log.read_text()),
        "test": _test_loss(search, metric, x["test"], y["test"]),
        "whole": whole,
    }


def trials(log: str) -> list[tuple[float, float]]:
    """`(seconds since the call, loss)` of each trial in FLAML's log."""
    lines = [json.loads(line) for line in log.splitlines() if line]
    return [
        (line["wall_clock_time"], line["validation_loss"])
        for line in lines
        if "validation_loss" in line
    ]


def _frame(parts: Any, part: str) -> pd.DataFrame:
    """Numeric columns and categorical ones; missing values stay missing."""
    numeric, codes = parts[f"{part}-numeric"], parts[f"{part}-categorical"]
    columns: dict[str, Any] = {f"number {i}": numeric[:, i] for i in range(numeric.shape[1])}
    for i, levels in enumerate(parts["cardinalities"]):
        names = pd.Index([str(level) for level in range(levels)])
        columns[f"category {i}"] = pd.Categorical.from_codes(codes[:, i], names)
    return pd.DataFrame(columns)


def _test_loss(search: Any, metric: str, x: pd.DataFrame, y: npt.NDArray[Any]) -> float:
    from sklearn.metrics import log_loss, roc_auc_score, root_mean_squared_error

    if metric == "rmse":
        return float(root_mean_squared_error(y, search.predict(x)))
    probabilities = search.predict_proba(x)
    if metric == "log_loss":
        return float(log_loss(y, probabilities))
    return 1.0 - float(roc_auc_score(y, probabilities[:, 1]))
