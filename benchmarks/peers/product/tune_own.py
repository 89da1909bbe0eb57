"""A real study of this project: `tune` on one table."""

import time
from pathlib import Path
from typing import Any

import mlflow

from pipelines.tune import tune

MILLISECONDS = 1e-3


def run(
    table: str, target: str, trials: int, rounds: int, workers: int, folder: str
) -> dict[str, Any]:
    """Run the study.

    The answer has the configurations with their trained rounds, the seconds in training, and the
    wall seconds from the start of the first trial to the end of the last in MLflow (`searching`)
    and of the whole call.
    """
    mlflow.set_tracking_uri(f"sqlite:///{Path(folder) / 'mlflow.db'}")
    start = time.perf_counter()
    result = tune(
        data=table,
        target=target,
        model="lightgbm",
        trials=trials,
        max_budget=rounds,
        workers=workers,
    )
    whole = time.perf_counter() - start
    client = mlflow.MlflowClient()
    experiment = client.get_run(result.run_id).info.experiment_id
    runs = client.search_runs(
        [experiment], f"tags.`hpo.role` = 'trial' and tags.`mlflow.parentRunId` = '{result.run_id}'"
    )
    done = [trial for trial in result.trials if trial.reports]
    return {
        "configurations": [
            {"params": dict(trial.params), "rounds": int(trial.reports[-1].metrics["reached"])}
            for trial in done
        ],
        "training": sum(trial.seconds for trial in done),
        "searching": MILLISECONDS
        * (max(r.info.end_time for r in runs) - min(r.info.start_time for r in runs)),
        "whole": whole,
        "best": result.best_score,
    }
