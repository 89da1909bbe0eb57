"""Experiments with runs of other tools."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from pipelines.adopt import adopt
from pipelines.adoption.result import Adoption

TABLES = (
    "experiments",
    "experiment_tags",
    "runs",
    "params",
    "tags",
    "metrics",
    "latest_metrics",
    "inputs",
)
BY_HAND: Mapping[str, Any] = {
    "metric": "profit",
    "direction": "maximize",
    "mapping": {
        "lr": "learning_rate",
        "leaves": "num_leaves",
        "num_leaves": None,
        "sampling": {"name": "data_sample_strategy", "values": {0: "bagging", 1: "goss"}},
    },
}
ASKED: Mapping[str, Mapping[str, Any]] = {
    "hyperopt": {"metric": "auc"},
    "sklearn": {"metric": "mean_test_neg_log_loss"},
    "lightgbm": {"metric": "valid-auc"},
    "xgboost": {"metric": "validation_0-logloss", "model": "xgboost"},
    "by_hand": BY_HAND,
    "optuna": {"metric": "value", "means": "log_loss"},
}


@dataclass(frozen=True)
class Place:
    """A store with an experiment for each tool, and the table."""

    database: Path
    table: str

    def rows(self) -> dict[str, set[tuple[object, ...]]]:
        """All that MLflow holds, by table of its database."""
        with sqlite3.connect(self.database) as connection:
            return {name: set(connection.execute(f"SELECT * FROM {name}")) for name in TABLES}

    def adopted(self, experiment: str, **changes: Any) -> Adoption:
        found = adopt(experiment, self.table, "bought", **{**ASKED[experiment], **changes})
        assert isinstance(found, Adoption)
        return found


def logged(experiment: str, *rows: Mapping[str, Any], tags: Mapping[str, str] | None = None) -> str:
    """The id of a new experiment with runs of these parameters and a metric `auc`."""
    client = MlflowClient(mlflow.get_tracking_uri())
    experiment_id = str(client.create_experiment(experiment))
    for i, row in enumerate(rows):
        run_id = client.create_run(experiment_id, tags=dict(tags or {})).info.run_id
        params = [Param(name, str(value)) for name, value in row.items()]
        client.log_batch(
            run_id, [Metric("auc", 0.7 + i / 100, 0, 0), Metric("pct_auc", 70 + i, 0, 0)], params
        )
        client.set_terminated(run_id)
    return experiment_id


LIGHTGBM: Sequence[dict[str, Any]] = [
    {"learning_rate": 0.1, "num_leaves": 8 + i, "reg_lambda": i, "max_depth": 5} for i in range(6)
]
SAID: Mapping[str, Any] = {"target": "bought", "metric": "auc"}
