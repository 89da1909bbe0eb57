"""A training script as an MLflow project: it logs the metric `err` to its run."""

import sys

import mlflow

rate, rows = float(sys.argv[1]), float(sys.argv[2])
with mlflow.start_run():
    mlflow.log_metric("err", (rate - 0.1) ** 2 + 1 / rows)
