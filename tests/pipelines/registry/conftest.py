"""A store with a logged model."""

from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from pipelines.registry.logged import (
    LoggedWinner,
    log_winner,
)
from tests.pipelines.registry.models import raw_table, write_predictor


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowClient]:
    directory = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{directory}/mlflow.db")
        found = MlflowClient()
        found.create_experiment("registry", artifact_location=(directory / "artifacts").as_uri())
        yield found


@pytest.fixture
def run_id(client: MlflowClient) -> str:
    experiment = client.get_experiment_by_name("registry")
    assert experiment is not None
    return str(client.create_run(experiment.experiment_id).info.run_id)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_predictor(tmp_path_factory.mktemp("predictor") / "income")


@pytest.fixture(scope="module")
def winner(client: MlflowClient, predictor: Path) -> LoggedWinner:
    run = client.create_run("0")
    metrics = {"test_roc_auc": 0.8125, "test_log_loss": float("inf")}
    params = {"learning_rate": 0.1}
    tags = {"hpo.trial": "abc"}
    return log_winner(
        client, run.info.run_id, predictor, raw_table(), metrics=metrics, params=params, tags=tags
    )


@pytest.fixture(scope="module")
def files(winner: LoggedWinner) -> Path:
    return Path(mlflow.artifacts.download_artifacts(winner.uri))
