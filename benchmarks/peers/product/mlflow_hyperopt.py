"""hyperopt as its users log it: `fmin`, and a fluent nested run in the objective."""

import time
from typing import Any

import hyperopt
import mlflow
import numpy as np

from benchmarks.peers.hyperopt_tpe import decoder, graph
from benchmarks.peers.product.noop import SPACE, metrics


def study(trials: int, uri: str, seed: int) -> float:
    """Run it; when its last trial was told."""
    decode = decoder(SPACE)

    def objective(drawn: Any) -> float:
        params = decode(drawn)
        with mlflow.start_run(nested=True):
            mlflow.log_params(dict(params))
            found = metrics(params)
            mlflow.log_metrics(found)
        return found["loss"]

    with mlflow.start_run():
        hyperopt.fmin(
            objective,
            graph(SPACE),
            algo=hyperopt.tpe.suggest,
            max_evals=trials,
            rstate=np.random.default_rng(seed),
            show_progressbar=False,
            verbose=False,
        )
    return time.perf_counter()
