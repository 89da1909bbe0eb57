"""A race that is killed on one machine and resumed on another.

The machines share only MLflow and the folder of the checkpoints.
"""

import json
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from mlflow import MlflowClient
from moto.server import ThreadedMotoServer

from pipelines.files.checkpoints import Checkpoints
from pipelines.store import schema
from tests.end_to_end.conftest import Place, command_line
from tests.end_to_end.test_resume import facts, read_until, study_id, trials_of

SETTINGS = {
    "target": "income",
    "algorithm": "bohb",
    "trials": 8,
    "min_budget": 4,
    "max_budget": 41,
    "seed": 5,
    "workers": 1,
    "warm_start": "off",
}


@dataclass(frozen=True)
class Machine(Place):
    """A place with its tracking store in another folder, and more environment variables."""

    store: Path
    more: Mapping[str, str]

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.store / 'mlflow.db'}"

    @property
    def environment(self) -> Mapping[str, str]:
        folder = self.folder / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        return {**super().environment, "HOME": str(self.folder), "TMPDIR": str(folder), **self.more}


@pytest.fixture(params=[pytest.param("folder", marks=pytest.mark.slow), "s3"])
def shared(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The location of checkpoints, and the environment variables to access it."""
    if request.param == "folder":
        yield str(tmp_path / "shared"), {}
        return
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ACCESS_KEY_ID": "an-id",
        "AWS_SECRET_ACCESS_KEY": "a-secret-of-mine",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="models")
        yield "s3://models/races", environment
    server.stop()


def change_driver(study: str, uri: str, **changes: object) -> None:
    """Change the tag of the driver that was killed."""
    client = MlflowClient(uri)
    driver = json.loads(client.get_run(study).data.tags[schema.DRIVER])
    client.set_tag(study, schema.DRIVER, json.dumps(driver | changes))


def test_a_race_is_resumed_on_another_machine(
    tmp_path: Path,
    table: Path,
    shared: tuple[str, Mapping[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place, environment = shared
    alone, first, second = (
        Machine(tmp_path / name, tmp_path, environment) for name in ("c", "a", "b")
    )
    code, output = alone.command("tune", data=table, checkpoints=place, **SETTINGS)
    assert code == 0, output
    expected = trials_of(alone, study_id(output), monkeypatch)

    process = first.start(*command_line("tune", data=table, checkpoints=place, **SETTINGS))
    assert process.stdout
    output = read_until(process.stdout, "trial 4/8")
    process.kill()
    process.wait()
    study = study_id(output)
    kept = Checkpoints(f"{place}/{study}")
    assert kept.stored(), "checkpoints of its trials are stored"
    shutil.rmtree(first.folder)

    change_driver(study, first.tracking_uri, machine="another", host="box-a", seen=time.time())
    code, output = second.command("tune", study=study)
    assert code == 2
    assert "on box-a" in output
    assert "if it was killed, try again in" in output
    change_driver(study, first.tracking_uri, seen=time.time() - 70)
    moved = {}
    if "://" not in place:  # the folder is mounted elsewhere
        moved = {"checkpoints": "shared there"}
        shutil.move(place, second.folder / "shared there")
        kept = Checkpoints(str(second.folder / "shared there" / study))
    code, output = second.command("tune", study=study, **moved)
    assert code == 0, output
    assert "again from the start" not in output
    found = trials_of(second, study, monkeypatch)
    assert facts(found) == facts(expected)
    assert any(len(trial.reports) > 1 for trial in found)
    assert kept.stored() == [], "the study is done"
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        assert "a-secret-of-mine" not in "".join(database.iterdump())
