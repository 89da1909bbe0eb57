"""FLAML's AutoML with the estimators that are installed with it."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.peers.race.entry import Entry, Predict, compete


def fit(entry: Entry) -> Predict:
    """Search for the seconds of the entry; FLAML trains the best model on all rows in the end."""
    from flaml import AutoML  # type: ignore[import-not-found]

    rows, y = entry.rows(entry.train)
    search = AutoML()
    search.fit(
        rows,
        y,
        task="regression" if entry.is_regression else "classification",
        metric=entry.metric,
        time_budget=entry.seconds,
        n_jobs=entry.cores,
        seed=entry.seed,
        verbose=0,
        **entry.settings,
    )

    def predict(rows: pd.DataFrame) -> npt.NDArray[np.float64]:
        answer = search.predict(rows) if entry.is_regression else search.predict_proba(rows)
        return np.asarray(answer, dtype=float)

    return predict


if __name__ == "__main__":
    compete(fit)
