"""A plain Optuna objective with LightGBM as in Optuna's examples.

It builds a `Dataset` per trial and runs one process per core. It trains given configurations for
given numbers of rounds, so that both sides grow the same trees. Optuna still stores the study (in a
journal file, as it recommends for several processes), and each trial asks its TPE for a suggestion,
which is not used. The processes start their first trial together.
"""

import json
import multiprocessing
import os
import time
import warnings
from pathlib import Path
from typing import Any

import lightgbm as lgb
import optuna
import pandas as pd
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from benchmarks.peers.optuna_tpe import suggest
from hpo.space import SearchSpace

FIXED = {
    "objective": "binary",
    "metric": "auc",
    "verbosity": -1,
    "num_threads": 1,
    "bagging_freq": 1,
}


def run(
    table: str,
    target: str,
    configurations: list[dict[str, Any]],
    space: dict[str, Any],
    workers: int,
    folder: str,
    watch: bool,
) -> dict[str, Any]:
    """Train all configurations.

    The answer has the wall seconds from the start of the first trial to the end of the last
    (`searching`) and of the whole call. With `watch`, the validation rows are scored after every
    round, as for early stopping.
    """
    start = time.perf_counter()
    optuna.create_study(study_name="plain", storage=_storage(folder), direction="maximize")
    (Path(folder) / "work.json").write_text(
        json.dumps({"configurations": configurations, "space": space})
    )
    context = multiprocessing.get_context("spawn")
    shared = (context.Value("i", 0), context.Barrier(workers))
    arguments = (table, target, folder, *shared, watch)
    processes = [context.Process(target=_work, args=arguments) for _ in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    trials = optuna.load_study(study_name="plain", storage=_storage(folder)).trials
    spans = [
        (t.datetime_start.timestamp(), t.datetime_complete.timestamp())
        for t in trials
        if t.datetime_start and t.datetime_complete
    ]
    return {
        "trials": len(trials),
        "training": sum(t.user_attrs["training"] for t in trials),
        "searching": max(end for _, end in spans) - min(begin for begin, _ in spans),
        "whole": time.perf_counter() - start,
    }


def _work(table: str, target: str, folder: str, counter: Any, ready: Any, watch: bool) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    work = json.loads((Path(folder) / "work.json").read_text())
    space = SearchSpace.from_dict(work["space"])
    x, y = _table(table, target)
    rest_x, _, rest_y, _ = train_test_split(x, y, test_size=0.2, stratify=y, random_state=0)
    train_x, valid_x, train_y, valid_y = train_test_split(
        rest_x, rest_y, test_size=0.2, stratify=rest_y, random_state=0
    )

    def objective(trial: optuna.Trial) -> float:
        suggest(space, trial)
        chosen = work["configurations"][trial.number]
        start = time.perf_counter()
        train = lgb.Dataset(train_x, label=train_y)
        valid = [lgb.Dataset(valid_x, label=valid_y, reference=train)] if watch else None
        booster = lgb.train(
            FIXED | chosen["params"], train, num_boost_round=chosen["rounds"], valid_sets=valid
        )
        score = float(roc_auc_score(valid_y, booster.predict(valid_x)))
        trial.set_user_attr("training", time.perf_counter() - start)
        return score

    sampler = optuna.samplers.TPESampler(seed=os.getpid())
    study = optuna.load_study(study_name="plain", storage=_storage(folder), sampler=sampler)
    ready.wait()
    while True:
        with counter.get_lock():
            if counter.value >= len(work["configurations"]):
                return
            counter.value += 1
        study.optimize(objective, n_trials=1)


def _storage(folder: str) -> Any:
    return JournalStorage(JournalFileBackend(str(Path(folder) / "optuna.log")))


def _table(table: str, target: str) -> tuple[pd.DataFrame, Any]:
    frame = pd.read_csv(table).dropna(subset=[target])
    y = frame.pop(target).astype("category").cat.codes.to_numpy()
    for name in frame.select_dtypes(exclude="number"):
        frame[name] = frame[name].astype("category")
    return frame, y
