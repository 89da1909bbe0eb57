"""`tune` with a time limit on one table: validation losses of its legs over real seconds."""

import os
import time
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Metric

from pipelines.store import schema
from pipelines.table.scores.metrics import METRICS
from pipelines.tune import tune

TRIALS = 100_000  # more than there is time for
MILLISECONDS = 1e-3


def run(
    table: str,
    target: str,
    metric: str,
    seed: int,
    seconds: float,
    workers: int,
    folder: str,
    algorithm: str,
) -> dict[str, Any]:
    """Search for `seconds`.

    The answer has the legs as `[seconds since the call, loss]` in order, and the winner's test
    loss. Reading and splitting the table, encoding and the start of the workers count; creating the
    database does not, because it is done once for all studies. The time limit of `tune` starts
    after the table is read; the caller leaves out what is later than `seconds` after the call.
    """
    os.environ["HPO_CACHE_DIR"] = str(Path(folder) / "cache")
    mlflow.set_tracking_uri(f"sqlite:///{Path(folder) / 'mlflow.db'}")
    mlflow.search_experiments()
    start = time.time()
    result = tune(
        data=table,
        target=target,
        model="lightgbm",
        algorithm=algorithm,
        trials=TRIALS,
        timeout=seconds,
        metric=metric,
        workers=workers,
        seed=seed,
    )
    whole = time.time() - start
    return {
        "events": legs(mlflow.MlflowClient(), result.run_id, metric, start),
        "test": loss_of(metric, result.test[metric]),
        "whole": whole,
    }


def legs(
    client: mlflow.MlflowClient, study: str, metric: str, start: float
) -> list[tuple[float, float]]:
    """`(seconds since start, loss)` of each leg of a study, in order.

    `start` is in seconds since 1970.
    """
    experiment = client.get_run(study).info.experiment_id
    wanted = f"tags.`hpo.role` = 'trial' and tags.`mlflow.parentRunId` = '{study}'"
    found, token = [], None
    while True:
        page = client.search_runs([experiment], wanted, page_token=token)
        for run in page:
            found += _reports(client, run.info.run_id, metric)
        token = page.token
        if not token:
            break
    return sorted(
        (MILLISECONDS * point.timestamp - start, loss_of(metric, point.value)) for point in found
    )


def _reports(client: mlflow.MlflowClient, run_id: str, metric: str) -> list[Metric]:
    """The points of a metric that are reports; those of the learning curve have no seconds."""
    reported = {
        (point.step, point.timestamp) for point in client.get_metric_history(run_id, schema.SECONDS)
    }
    points = client.get_metric_history(run_id, metric)
    return [point for point in points if (point.step, point.timestamp) in reported]


def loss_of(metric: str, value: float) -> float:
    """The loss that FLAML minimises for this metric: 1 - value if greater is better."""
    return 1.0 - value if METRICS[metric].goal.greater_is_better else value
