"""A whole study of this project with its MLflow storage."""

import time

from benchmarks.peers.own import sampler
from benchmarks.peers.product.noop import EXPERIMENT, SPACE, metrics
from hpo.schedulers.full import Full
from hpo.study import Study
from hpo.trial import Report
from pipelines.store.storage import MlflowStorage
from pipelines.store.study_run import Connection


def study(trials: int, uri: str, seed: int, name: str) -> float:
    """Run it; when its last trial was told."""
    header = {
        "space": SPACE.to_dict(),
        "metric": "loss",
        "direction": "minimize",
        "model": "nothing",
        "seed": seed,
    }
    storage = MlflowStorage.create(header, experiment=EXPERIMENT, connection=Connection(uri))
    running = Study(SPACE, sampler(name), Full(1), storage, seed=seed, max_trials=trials)
    while trial := running.ask():
        found = metrics(trial.params)
        running.tell(trial.number, Report(1, found["loss"], found))
    told = time.perf_counter()
    storage.close(timeout=None)
    return told
