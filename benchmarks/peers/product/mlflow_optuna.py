"""Optuna with the MLflow callback of optuna-integration, one nested run a trial."""

import time
import warnings

import mlflow
import optuna
from optuna_integration.mlflow import MLflowCallback

from benchmarks.peers.optuna_tpe import sampler, suggest
from benchmarks.peers.product.noop import SPACE, metrics

warnings.simplefilter("ignore")


def study(trials: int, uri: str, seed: int, jobs: int = 1) -> float:
    """Run it; when its last trial was told."""
    callback = MLflowCallback(
        tracking_uri=uri,
        metric_name="loss",
        create_experiment=False,
        mlflow_kwargs={"nested": True},
    )

    @callback.track_in_mlflow()  # type: ignore[untyped-decorator]
    def objective(trial: optuna.Trial) -> float:
        found = metrics(suggest(SPACE, trial))
        mlflow.log_metrics({name: value for name, value in found.items() if name != "loss"})
        return found["loss"]

    with mlflow.start_run():
        optuna.create_study(sampler=sampler(seed)).optimize(
            objective, n_trials=trials, n_jobs=jobs, callbacks=[callback]
        )
    return time.perf_counter()
