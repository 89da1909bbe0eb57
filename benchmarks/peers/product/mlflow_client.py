"""The least that three calls of MLflow's client a trial cost, with random search."""

import time

import mlflow
import numpy as np
from mlflow.entities import Metric, Param

from benchmarks.peers.product.noop import EXPERIMENT, SPACE, metrics


def study(trials: int, uri: str, seed: int) -> float:
    """Run it; when its last trial was told."""
    client, rng = mlflow.MlflowClient(uri), np.random.default_rng(seed)
    experiment = client.search_experiments(filter_string=f"name = '{EXPERIMENT}'")[0].experiment_id
    parent = client.create_run(experiment)
    for number in range(trials):
        params = SPACE.sample(rng)
        tags = {"mlflow.parentRunId": parent.info.run_id, "number": str(number)}
        run = client.create_run(experiment, tags=tags)
        now = int(time.time() * 1000)
        client.log_batch(
            run.info.run_id,
            metrics=[Metric(name, value, now, 1) for name, value in metrics(params).items()],
            params=[Param(name, str(value)) for name, value in params.items()],
        )
        client.set_terminated(run.info.run_id)
    client.set_terminated(parent.info.run_id)
    return time.perf_counter()
