"""Runs as other tools log them: `python -m tests.foreign TOOL …` logs each tool's to an experiment.

It runs in a process of its own, because autologging patches the libraries permanently.
"""

import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import mlflow
import numpy as np
import pandas as pd

from tests import stores

ROWS, TRAIN = 240, 160
QUIET: Mapping[str, Any] = {"log_models": False, "log_datasets": False, "silent": True}


def table() -> pd.DataFrame:
    """A table with two classes, four numeric columns and a categorical one."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(ROWS, 4)), columns=list("abcd")).round(4)
    frame["kind"] = rng.choice(["x", "y", "z"], ROWS)
    frame["bought"] = np.where(
        frame["a"] * frame["b"] + frame["c"] + rng.normal(0, 0.5, ROWS) > 0, "yes", "no"
    )
    return frame


def arrays() -> tuple[np.ndarray, np.ndarray]:
    frame = table()
    return frame[list("abcd")].to_numpy(), (frame["bought"] == "yes").to_numpy().astype(int)


def auc(params: Mapping[str, Any], rounds: int = 5) -> float:
    import lightgbm
    from sklearn.metrics import roc_auc_score

    x, y = arrays()
    model = lightgbm.LGBMClassifier(n_estimators=rounds, verbose=-1, n_jobs=1, **params)
    model.fit(x[:TRAIN], y[:TRAIN])
    probabilities = np.asarray(model.predict_proba(x[TRAIN:]))
    return float(roc_auc_score(y[TRAIN:], probabilities[:, 1]))


def hyperopt() -> None:
    """A parent run with a nested run for each evaluation, logged in the objective; one fails."""
    from math import log

    from hyperopt import STATUS_FAIL, STATUS_OK, fmin, hp, tpe

    space = {
        "learning_rate": hp.loguniform("learning_rate", log(0.02), log(0.4)),
        "num_leaves": hp.quniform("num_leaves", 4, 60, 1),
        "reg_lambda": hp.choice("reg_lambda", [0.0, 0.1, 5.0]),
    }
    calls = iter(range(100))

    def objective(params: dict[str, Any]) -> dict[str, Any]:
        try:
            with mlflow.start_run(nested=True):
                mlflow.log_params(params)
                if next(calls) == 3:
                    raise MemoryError
                score = auc({**params, "num_leaves": int(params["num_leaves"])})
                mlflow.log_metrics({"auc": score, "loss": 1 - score})
        except MemoryError:
            return {"status": STATUS_FAIL}
        return {"status": STATUS_OK, "loss": 1 - score}

    with mlflow.start_run(run_name="fmin"):
        rstate = np.random.default_rng(0)
        best = fmin(
            objective, space, tpe.suggest, max_evals=12, rstate=rstate, show_progressbar=False
        )
        mlflow.log_params({f"best_{name}": value for name, value in best.items()})


def sklearn() -> None:
    """A randomised search; autologging logs its candidates as nested runs."""
    import lightgbm
    from scipy.stats import loguniform, randint
    from sklearn.model_selection import RandomizedSearchCV

    mlflow.sklearn.autolog(max_tuning_runs=None, **QUIET)
    choices = {
        "learning_rate": loguniform(1e-2, 0.5),
        "num_leaves": randint(4, 300),
        "subsample": [0.5, 0.8],
    }
    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1)
    scoring = ["neg_log_loss", "roc_auc"]
    RandomizedSearchCV(
        model, choices, n_iter=7, cv=2, scoring=scoring, refit="roc_auc", random_state=0
    ).fit(*arrays())


def lightgbm() -> None:
    """Flat runs of `lightgbm.train` with early stopping and two numbers of rounds."""
    import lightgbm

    mlflow.lightgbm.autolog(**QUIET)
    x, y = arrays()
    for i in range(6):
        train = lightgbm.Dataset(x[:TRAIN], y[:TRAIN])
        valid = lightgbm.Dataset(x[TRAIN:], y[TRAIN:], reference=train)
        params = {"eta": 0.02 * (i + 1), "max_leaves": 4 + i, "max_depth": 3 + i}
        stop = lightgbm.early_stopping(3, verbose=False)
        with mlflow.start_run():
            lightgbm.train(
                {**params, "objective": "binary", "metric": "auc", "verbose": -1, "num_threads": 1},
                train,
                8 if i % 2 else 12,
                [valid],
                ["valid"],
                callbacks=[stop],
            )


def xgboost() -> None:
    """Flat runs that autologging starts for `XGBClassifier`; it logs unset parameters as None."""
    import xgboost

    mlflow.xgboost.autolog(**QUIET)
    x, y = arrays()
    for i in range(6):
        options = {"reg_lambda": 10.0**i} if i % 2 else {}
        model = xgboost.XGBClassifier(
            n_estimators=4, learning_rate=0.05 * (i + 1), eval_metric="logloss", n_jobs=1, **options
        )
        model.fit(x[:TRAIN], y[:TRAIN], eval_set=[(x[TRAIN:], y[TRAIN:])], verbose=False)


def by_hand() -> None:
    """Flat runs with custom names and an unknown metric; one of them has nested folds."""
    for i in range(10):
        with mlflow.start_run(run_name=f"try {i}"):
            params = {
                "lr": 0.01 * (i + 1),
                "leaves": 2 ** (i + 1),
                "sampling": i % 2,
                "num_leaves": "auto",
            }
            mlflow.log_params(params | {"note": f"try {i}"})
            mlflow.log_metric("profit", 100.0 + i)
            mlflow.log_metric("gini", float("inf") if i == 7 else 0.1 * i)
            for fold in range(3 if i == 5 else 0):
                with mlflow.start_run(run_name=f"fold {fold}", nested=True):
                    mlflow.log_params(params)
                    mlflow.log_metric("profit", 90.0 + 10 * fold)


def optuna() -> None:
    """Flat runs of Optuna's MLflow callback: six trials complete, one is pruned, one fails."""
    import optuna
    from optuna_integration.mlflow import MLflowCallback

    def objective(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("learning_rate", 1e-3, 0.3, log=True)
        trial.suggest_int("num_leaves", 4, 64, log=True)
        trial.suggest_categorical("extra_trees", [True, False])
        if trial.number == 2:
            raise optuna.TrialPruned
        if trial.number == 3:
            raise MemoryError
        return abs(rate - 0.1)

    study = optuna.create_study(study_name="optuna", sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(
        objective, n_trials=8, callbacks=[MLflowCallback(metric_name="value")], catch=MemoryError
    )


TOOLS: Mapping[str, Callable[[], None]] = {
    tool.__name__: tool for tool in (hyperopt, sklearn, lightgbm, xgboost, by_hand, optuna)
}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    stores.do_not_wait(mlflow.MlflowClient())
    for name in sys.argv[1:] or TOOLS:
        mlflow.set_experiment(name)
        TOOLS[name]()
