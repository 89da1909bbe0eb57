"""A store with runs that other tools have really logged."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from tests import foreign, stores
from tests.pipelines.adopting.runs import Place

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="package")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("adopt")
    stores.empty_database(folder / "mlflow.db")
    uri = f"sqlite:///{folder}/mlflow.db"
    foreign.table().to_csv(folder / "table.csv", index=False)
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.foreign", *foreign.TOOLS]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.setattr(mlflow, "get_tracking_uri", lambda: uri)
        yield Place(folder / "mlflow.db", str(folder / "table.csv"))


@pytest.fixture(autouse=True)
def nothing_is_left(place: Place) -> Iterator[None]:
    yield
    for run in MlflowClient(mlflow.get_tracking_uri()).search_runs(["0"]):
        MlflowClient(mlflow.get_tracking_uri()).delete_run(run.info.run_id)
