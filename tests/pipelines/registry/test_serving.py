"""Models of real libraries in fresh environments and behind servers; slow."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from pipelines.models import FAMILIES, FamilyOptions, family, settings
from pipelines.registry.logged import (
    log_winner,
)
from pipelines.table.data import Fold, Task
from pipelines.table.scores.metrics import METRICS
from serving.predictor import Predictor
from tests.pipelines.registry.models import (
    FEATURES,
    INCOME,
    assert_predictions,
    load_elsewhere,
    raw_table,
    register,
)


def train(name: str, directory: Path) -> Path:
    """A small model of a family on the raw table."""
    frame = raw_table(400)
    rng = np.random.default_rng(0)
    labels = pd.Series(np.where(frame["age"] + rng.normal(0, 10, len(frame)) > 55, ">50K", "<=50K"))
    rows, y = FEATURES.transform(frame), INCOME.encode(labels)
    part = np.arange(300), np.arange(300, 400)
    task = Task("binary", 2)
    fold = Fold(
        rows.take(part[0]),
        y[part[0]],
        rows.take(part[1]),
        y[part[1]],
        task,
        INCOME,
        FEATURES.cardinalities,
    )
    chosen = settings(name)
    trial = family(name)(fold, FamilyOptions(METRICS["roc_auc"], threads=1)).start(
        chosen.first_points[-1], seed=0
    )
    trial.train(chosen.budget.min)
    trial.export(directory / "member")
    Predictor(FEATURES, INCOME, ()).save(directory / "predictor", [directory / "member"])
    return directory / "predictor"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5)
        except OSError:
            time.sleep(0.3)
        else:
            return
    raise AssertionError(f"{url} does not answer")


@pytest.fixture
def serve() -> Iterator[Any]:
    """Start `mlflow …` with a free port; it is ended with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, health: str, cwd: Path) -> str:
        url = f"http://127.0.0.1:{(port := free_port())}"
        scripts = str(Path(sys.executable).parent)
        environment = {
            **os.environ,
            "PYTHONPATH": "",
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        }
        command = [sys.executable, "-m", "mlflow", *arguments, "--port", str(port)]
        process = subprocess.Popen(command, cwd=cwd, env=environment, start_new_session=True)
        started.append(process)
        wait_for(url + health, process)
        return url

    yield start
    for process in started:
        os.killpg(process.pid, 15)
        process.wait(timeout=30)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", FAMILIES)
def test_fresh_environment_made_from_the_requirements(
    name: str, client: MlflowClient, run_id: str, tmp_path: Path
) -> None:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        pytest.skip("uv is not installed")
    directory = train(name, tmp_path)
    logged = log_winner(client, run_id, directory, raw_table())
    model = mlflow.artifacts.download_artifacts(logged.uri)
    environment = tmp_path / "fresh"
    subprocess.run([uv, "venv", "--python", sys.executable, str(environment)], check=True)
    python = environment / "bin" / "python"
    subprocess.run(
        [uv, "pip", "install", "--python", str(python), "-r", f"{model}/requirements.txt"],
        check=True,
    )
    done = load_elsewhere(python, model, tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.split()[-1]).is_relative_to(model)
    assert_predictions(tmp_path, directory)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", FAMILIES)
def test_served_model_answers(
    name: str, client: MlflowClient, run_id: str, tmp_path: Path, serve: Any
) -> None:
    directory = train(name, tmp_path)
    logged = log_winner(client, run_id, directory, raw_table())
    url = serve(
        "models", "serve", "-m", logged.uri, "--env-manager", "local", health="/ping", cwd=tmp_path
    )
    rows = raw_table().head(8).drop(columns="id")
    table = rows.astype(object).where(rows.notna(), None).to_dict(orient="split")
    table["data"][0] = [None] * len(table["columns"])
    body = json.dumps({"dataframe_split": table}).encode()
    request = urllib.request.Request(
        f"{url}/invocations", body, {"Content-Type": "application/json"}
    )
    answer = json.load(urllib.request.urlopen(request, timeout=60))["predictions"]
    sent = pd.DataFrame(table["data"], columns=table["columns"])
    expected = Predictor.load(directory).predict(sent)
    pd.testing.assert_frame_equal(pd.DataFrame(answer), expected, check_dtype=False, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_logging_and_registering_through_a_tracking_server(
    predictor: Path, tmp_path: Path, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = f"sqlite:///{tmp_path}/server.db"
    url = serve(
        "server", "--backend-store-uri", store, "--workers", "1", health="/health", cwd=tmp_path
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    remote = MlflowClient()
    run = remote.create_run("0")
    logged = log_winner(
        remote, run.info.run_id, predictor, raw_table(), metrics={"test_roc_auc": 0.8}
    )
    assert register(remote, logged, "income") == register(remote, logged, "income")
    found = mlflow.pyfunc.load_model("models:/income@challenger").predict(raw_table())
    pd.testing.assert_frame_equal(found, Predictor.load(predictor).predict(raw_table()))
    metrics = remote.get_logged_model(logged.model_id).metrics or []
    assert [(metric.key, metric.value) for metric in metrics] == [("test_roc_auc", 0.8)]
