"""Optuna with the storage that MLflow has for it: trials are runs of MLflow."""

import time
import warnings

import mlflow
import optuna
from mlflow.optuna.storage import MlflowStorage

from benchmarks.peers.optuna_tpe import sampler, suggest
from benchmarks.peers.product.noop import EXPERIMENT, SPACE, metrics

warnings.simplefilter("ignore")


def study(trials: int, uri: str, seed: int, jobs: int = 1) -> float:
    """Run it; when its last trial was told."""
    mlflow.set_tracking_uri(uri)
    place = mlflow.set_experiment(EXPERIMENT).experiment_id
    storage = MlflowStorage(experiment_id=place, name="overhead")

    def objective(trial: optuna.Trial) -> float:
        found = metrics(suggest(SPACE, trial))
        for name in ("accuracy", "log_loss"):
            trial.set_user_attr(name, found[name])
        return found["loss"]

    created = optuna.create_study(storage=storage, sampler=sampler(seed))
    created.optimize(objective, n_trials=trials, n_jobs=jobs)
    return time.perf_counter()
