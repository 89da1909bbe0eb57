"""AutoGluon's tabular predictor with one of its presets."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.peers.race.entry import Entry, Predict, compete

METRICS = {"rmse": "root_mean_squared_error"}


def fit(entry: Entry) -> Predict:
    """Train for the seconds of the entry; the cores are those of this process."""
    from autogluon.tabular import TabularPredictor  # type: ignore[import-not-found]

    rows, y = entry.rows(entry.train)
    predictor = TabularPredictor(
        label=entry.target,
        problem_type=entry.task,
        eval_metric=METRICS.get(entry.metric, entry.metric),
        path="autogluon",
    ).fit(
        rows.assign(**{entry.target: y}),
        time_limit=entry.seconds,
        num_cpus=entry.cores,
        num_gpus=0,
        **entry.settings,
    )

    def predict(rows: pd.DataFrame) -> npt.NDArray[np.float64]:
        if entry.is_regression:
            return np.asarray(predictor.predict(rows), dtype=float)
        answer = predictor.predict_proba(rows)
        return np.asarray(answer[list(range(len(entry.classes)))], dtype=float)

    return predict


if __name__ == "__main__":
    compete(fit)
