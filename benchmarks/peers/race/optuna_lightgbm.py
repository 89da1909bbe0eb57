"""The script that everybody writes: Optuna and LightGBM with early stopping on a hold-out.

The ranges are those of Optuna's own LightGBM example, with a learning rate; the best configuration
is trained once more on all rows, with the rounds that it took.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.peers.race.entry import BINARY, Entry, Predict, compete, with_categories

HOLDOUT, ROUNDS, PATIENCE = 0.2, 2_000, 50
METRICS = {"roc_auc": "auc", "log_loss": "multi_logloss", "rmse": "rmse"}
OBJECTIVES = {BINARY: "binary", "multiclass": "multiclass", "regression": "regression"}


def fit(entry: Entry) -> Predict:
    """Search for the seconds of the entry, then train on all rows."""
    import lightgbm as lgb
    import optuna
    from sklearn.model_selection import train_test_split

    raw, y = entry.rows(entry.train)
    transform = with_categories(raw)
    rows = transform(raw)
    fixed: dict[str, Any] = {
        "objective": OBJECTIVES[entry.task],
        "metric": METRICS[entry.metric],
        "num_threads": entry.cores,
        "seed": entry.seed,
        "verbosity": -1,
    }
    if entry.task == "multiclass":
        fixed["num_class"] = len(entry.classes)
    x_fit, x_valid, y_fit, y_valid = train_test_split(
        rows,
        y,
        test_size=HOLDOUT,
        random_state=entry.seed,
        stratify=None if entry.is_regression else y,
    )

    def objective(trial: optuna.Trial) -> float:
        params = fixed | {
            "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
            "num_leaves": trial.suggest_int("num_leaves", 2, 256),
            "lambda_l1": trial.suggest_float("lambda_l1", 1e-8, 10.0, log=True),
            "lambda_l2": trial.suggest_float("lambda_l2", 1e-8, 10.0, log=True),
            "feature_fraction": trial.suggest_float("feature_fraction", 0.4, 1.0),
            "bagging_fraction": trial.suggest_float("bagging_fraction", 0.4, 1.0),
            "bagging_freq": trial.suggest_int("bagging_freq", 1, 7),
            "min_child_samples": trial.suggest_int("min_child_samples", 5, 100),
        }
        booster = lgb.train(
            params,
            lgb.Dataset(x_fit, y_fit),
            num_boost_round=ROUNDS,
            valid_sets=[lgb.Dataset(x_valid, y_valid)],
            callbacks=[lgb.early_stopping(PATIENCE, verbose=False)],
        )
        trial.set_user_attr("rounds", booster.best_iteration)
        return float(booster.best_score["valid_0"][METRICS[entry.metric]])

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize" if entry.metric == "roc_auc" else "minimize",
        sampler=optuna.samplers.TPESampler(seed=entry.seed),
    )
    study.optimize(objective, timeout=entry.seconds)
    best = study.best_trial
    final = lgb.train(fixed | best.params, lgb.Dataset(rows, y), best.user_attrs["rounds"])

    def predict(rows: pd.DataFrame) -> npt.NDArray[np.float64]:
        return np.asarray(final.predict(transform(rows), num_threads=entry.cores), dtype=float)

    return predict


if __name__ == "__main__":
    compete(fit)
