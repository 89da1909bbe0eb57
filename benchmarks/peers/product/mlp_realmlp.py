"""pytabkit's RealMLP-TD on arrays, with categorical columns marked and the study's metric."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytabkit import RealMLP_TD_Classifier, RealMLP_TD_Regressor  # type: ignore[import-not-found]

WATCHED = {
    "roc_auc": "1-auc_ovr",
    "accuracy": "class_error",
    "r2": "rmse",
    "log_loss": "cross_entropy",
}


def run(arrays: str, metric: str, seed: int) -> dict[str, Any]:
    """The CPU seconds of `fit`, and the file with the predictions of the test rows."""
    torch.set_num_threads(1)
    data = np.load(arrays)
    regression = str(data["kind"]) == "regression"
    medians = _medians(data["train_numeric"])
    train, valid, test = (_frame(data, part, medians) for part in ("train", "valid", "test"))
    x, y = (
        pd.concat([train, valid], ignore_index=True),
        np.concatenate([data["train_y"], data["valid_y"]]),
    )
    for name in x.columns[data["train_numeric"].shape[1] :]:
        x[name] = x[name].astype("category")
    made = RealMLP_TD_Regressor if regression else RealMLP_TD_Classifier
    model = made(
        device="cpu", n_threads=1, random_state=seed, verbosity=0, val_metric_name=WATCHED[metric]
    )
    start = time.process_time()
    model.fit(x, y, val_idxs=np.arange(len(train), len(x)))
    seconds = time.process_time() - start
    answer = (
        model.predict(test) * data["scale"] + data["mean"]
        if regression
        else model.predict_proba(test)
    )
    prediction = str(Path(arrays).with_suffix(".realmlp.npy"))
    np.save(prediction, np.asarray(answer, dtype=np.float64))
    return {"cpu_seconds": seconds, "prediction": prediction}


def _medians(numeric: Any) -> Any:
    """Medians of the training rows, which replace missing numbers.

    RealMLP takes no missing numbers; a categorical column marks them.
    """
    return np.array(
        [np.median(c[~np.isnan(c)]) if (~np.isnan(c)).any() else 0.0 for c in numeric.T]
    )


def _frame(data: Any, part: str, medians: Any) -> pd.DataFrame:
    numeric, codes = data[f"{part}_numeric"], data[f"{part}_categorical"]
    missing = np.isnan(numeric)
    gaps = np.isnan(data["train_numeric"]).any(axis=0)
    columns = {
        f"n{j}": np.where(missing[:, j], medians[j], numeric[:, j]) for j in range(numeric.shape[1])
    }
    columns |= {f"c{j}": codes[:, j].astype(str) for j in range(codes.shape[1])}
    columns |= {f"m{j}": missing[:, j].astype(str) for j in np.flatnonzero(gaps)}
    return pd.DataFrame(columns)
