"""This project: `tune` with the table, the target, the held-out rows and the seconds, no more."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.peers.race.entry import Entry, Predict, compete

MODEL = re.compile(r"^Model: (models:/\S+)", re.MULTILINE)


def fit(entry: Entry) -> Predict:
    """Run the command line on an empty server; the logged model predicts."""
    here = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    options = {
        "data": entry.train,
        "target": entry.target,
        "test": entry.test,
        "timeout": f"{entry.seconds:g}",
        **entry.settings,
    }
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", "tune", *(f"--{k}={v}" for k, v in options.items())],
        env=here | {"HPO_CACHE_DIR": str(Path.cwd() / "cache")},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    print(done.stdout)
    found = MODEL.search(done.stdout)
    if found is None:
        raise ValueError("no model was logged")
    return _served(found[1], entry)


def _served(uri: str, entry: Entry) -> Predict:
    """The model, when it is first needed: loading it does not count."""
    loaded: list[object] = []

    def predict(rows: pd.DataFrame) -> npt.NDArray[np.float64]:
        import mlflow.pyfunc

        if not loaded:
            loaded.append(mlflow.pyfunc.load_model(uri))
        answer = loaded[0].predict(rows)  # type: ignore[attr-defined]
        if entry.is_regression:
            return np.asarray(answer["prediction"], dtype=float)
        return np.asarray(answer[[f"probability_{label}" for label in entry.classes]], dtype=float)

    return predict


if __name__ == "__main__":
    compete(fit)
