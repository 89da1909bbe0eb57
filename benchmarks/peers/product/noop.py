"""An objective that does nothing, and the MLflow store for its trials."""

import resource
import time
from collections.abc import Callable

import mlflow

from benchmarks.search.problems import NETWORK, network
from hpo.space import Params, SearchSpace

SPACE: SearchSpace = NETWORK
EXPERIMENT = "overhead"


def metrics(params: Params) -> dict[str, float]:
    """Three metrics."""
    loss = network(params)
    return {"loss": loss, "accuracy": 1 / (1 + loss), "log_loss": 2 * loss}


def touch(uri: str) -> None:
    """Create and migrate the store, before the measurement."""
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(EXPERIMENT)


def count(uri: str) -> int:
    """How many runs the store has."""
    client = mlflow.MlflowClient(uri)
    ids = [str(e.experiment_id) for e in client.search_experiments()]
    runs, token = 0, None
    while True:
        page = client.search_runs(ids, max_results=1000, page_token=token)
        runs, token = runs + len(page), page.token
        if not token:
            return runs


def timed(study: Callable[[], float]) -> dict[str, float]:
    """Wall and CPU seconds of `study`, which returns the `time.perf_counter` of its last result."""
    wall, cpu = time.perf_counter(), _cpu()
    last = study()
    return {
        "wall": time.perf_counter() - wall,
        "cpu": _cpu() - cpu,
        "loop": last - wall,
    }


def _cpu() -> float:
    """CPU seconds of this process and of its children that have ended, such as workers."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)
