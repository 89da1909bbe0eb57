"""A whole study of a Python function by `tune(objective=…)`, with its worker and its report."""

import os
import time

from benchmarks.peers.product.noop import EXPERIMENT, SPACE, metrics
from pipelines.tune import tune


def study(trials: int, uri: str, seed: int, workers: int = 1) -> float:
    """Run it; when it has ended."""
    os.environ |= {"MLFLOW_TRACKING_URI": uri, "MLFLOW_EXPERIMENT_NAME": EXPERIMENT}
    tune(
        objective=metrics, space=SPACE, trials=trials, workers=workers, seed=seed, warm_start="off"
    )
    return time.perf_counter()
