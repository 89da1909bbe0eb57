"""Studies on a server as a team shares one: users, PostgreSQL, artifacts in S3.

`make services-test` runs these tests; they are not in the gate, because the server takes a while to
start.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pandas as pd
import pytest
from mlflow import MlflowClient

from benchmarks.services import Services, obstacle, services
from tests.end_to_end.conftest import Place, command_line
from tests.end_to_end.test_resume import read_until, study_id

pytestmark = pytest.mark.services

SETTINGS: Mapping[str, object] = {
    "target": "income",
    "algorithm": "random",
    "trials": 4,
    "max_budget": 30,
    "seed": 1,
    "workers": 1,
}
USERS = ("ann", "ben")


@dataclass(frozen=True)
class Seat(Place):
    """The place of one user of the server."""

    variables: Mapping[str, str]

    @property
    def environment(self) -> Mapping[str, str]:
        return {**super().environment, **self.variables}


@pytest.fixture(scope="module")
def server() -> Iterator[Services]:
    if reason := obstacle():
        pytest.skip(reason)
    with services() as found, pytest.MonkeyPatch.context() as patch:
        for name, text in found.environment().items():
            patch.setenv(name, text)
        for user in USERS:
            found.add_user(user, f"the password of {user}")
        yield found


def seat(server: Services, user: str, folder: Path) -> Seat:
    return Seat(folder, server.environment(user, f"the password of {user}"))


@pytest.fixture
def ann(server: Services, tmp_path: Path) -> Seat:
    return seat(server, "ann", tmp_path)


def as_user(server: Services, user: str, patch: pytest.MonkeyPatch) -> MlflowClient:
    for name, text in server.environment(user, f"the password of {user}").items():
        patch.setenv(name, text)
    return MlflowClient(server.uri)


def begin_experiment(server: Services, user: str, name: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        as_user(server, user, patch).create_experiment(name)


def tune(place: Place, table: Path, experiment: str, **changes: object) -> str:
    code, output = place.run(
        "env",
        f"MLFLOW_EXPERIMENT_NAME={experiment}",
        *command_line("tune", data=table, **{**SETTINGS, **changes}),
    )
    assert code == 0, output
    return output


def reading(process: "subprocess.Popen[str]") -> IO[str]:
    assert process.stdout is not None
    return process.stdout


@pytest.fixture
def people(tmp_path: Path, make_table: Callable[[int], pd.DataFrame]) -> Path:
    path = tmp_path / "people.csv"
    make_table(300).to_csv(path, index=False)
    return path


def test_a_study_is_resumed_registered_and_promoted(
    server: Services, ann: Seat, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_experiment(server, "ann", "registry")
    output = tune(ann, people, "registry", register="income")
    study = study_id(output)
    client = as_user(server, "ann", monkeypatch)
    first = client.get_model_version_by_alias("income", "challenger").version
    assert ann.command("promote", name="income")[0] == 0
    assert client.get_model_version_by_alias("income", "champion").version == first
    resumed = tune(ann, people, "registry", study=study, trials=6)
    assert "4 trials done before" in resumed
    tune(ann, people, "registry", register="income", trials=3, seed=2)
    second = client.get_model_version_by_alias("income", "challenger").version
    assert int(second) > int(first)
    _, shown = ann.command("promote", name="income", dry_run=True)
    assert re.search(rf"roc_auc [\d.]+ against [\d.]+ of version {first}", shown)
    keys = server.objects()
    assert any(study in key and key.endswith("report/report.html") for key in keys)
    assert not any((ann.folder / name).exists() for name in ("mlruns", "mlartifacts"))
    assert str(ann.variables["MLFLOW_TRACKING_PASSWORD"]) not in output + resumed + shown


def test_who_may_not_read_a_study_never_hears_of_it(
    server: Services, tmp_path: Path, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {}
    for user in USERS:
        (tmp_path / user).mkdir()
        places[user] = seat(server, user, tmp_path / user)
        begin_experiment(server, user, f"private of {user}")
    secret = study_id(tune(places["ann"], people, "private of ann"))
    for warm_start in ("auto", "own"):
        output = tune(places["ben"], people, "private of ben", warm_start=warm_start, seed=3)
        assert secret not in output
        assert "private of ann" not in output
        client = as_user(server, "ben", monkeypatch)
        warm = client.download_artifacts(study_id(output), "warm_start.json", str(tmp_path))
        assert secret not in Path(warm).read_text()
    code, output = places["ben"].run(
        "env",
        "MLFLOW_EXPERIMENT_NAME=private of ben",
        *command_line("tune", data=people, **{**SETTINGS, "warm_start": secret}),
    )
    assert code == 2
    assert re.search(f"warm_start={secret}: .*{secret}", output)
    assert "private of ann" not in output
    own = tune(places["ann"], people, "private of ann", warm_start="own", seed=4)
    assert "this very table" in own or "same table" in own
    code, output = places["ben"].command("report", study=secret)
    assert code == 2
    assert "roc_auc" not in output
    code, output = places["ben"].command("watch", study=secret)
    assert code == 2
    assert "roc_auc" not in output


def test_an_outage_of_the_server_costs_no_trial(
    server: Services, ann: Seat, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_experiment(server, "ann", "outage")
    values = {**SETTINGS, "trials": 40, "max_budget": 200}
    process = ann.start(
        "env", "MLFLOW_EXPERIMENT_NAME=outage", *command_line("tune", data=people, **values)
    )
    output = read_until(reading(process), "trial 3/")
    server.stop()
    time.sleep(3)
    server.start()
    rest, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output + rest
    client = as_user(server, "ann", monkeypatch)
    study = client.get_run(study_id(output))
    rule = f"tags.`mlflow.parentRunId` = '{study.info.run_id}' AND tags.`hpo.role` = 'trial'"
    runs = client.search_runs([study.info.experiment_id], rule)
    assert sorted(int(run.data.tags["hpo.trial.number"]) for run in runs) == list(range(40))
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_a_killed_driver_is_resumed(
    server: Services, ann: Seat, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_experiment(server, "ann", "kill")
    process = ann.start(
        "env", "MLFLOW_EXPERIMENT_NAME=kill", *command_line("tune", data=people, **SETTINGS)
    )
    output = read_until(reading(process), "trial 1/")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    resumed = tune(ann, people, "kill", study=study_id(output))
    assert study_id(resumed) == study_id(output)
    client = as_user(server, "ann", monkeypatch)
    assert client.get_run(study_id(output)).info.status == "FINISHED"


def test_a_wrong_password_is_one_sentence(server: Services, ann: Seat, people: Path) -> None:
    variables = {**ann.variables, "MLFLOW_TRACKING_PASSWORD": "wrong"}
    code, output = Seat(ann.folder, variables).command("tune", data=people, **SETTINGS)
    assert code == 2
    assert "it refuses the user or password (HTTP 401)" in output
