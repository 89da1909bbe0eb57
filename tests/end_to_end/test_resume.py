import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pandas as pd
import pytest
from mlflow import MlflowClient

from hpo.trial import Trial
from tests.end_to_end.conftest import Place, command_line

SETTINGS = {"target": "income", "trials": 8, "max_budget": 40, "seed": 5, "workers": 2}


def trials_of(place: Place, study: str, monkeypatch: pytest.MonkeyPatch) -> list[Trial]:
    from pipelines.store.storage import MlflowStorage
    from pipelines.store.study_run import Connection

    monkeypatch.setenv("HPO_CACHE_DIR", str(place.folder / "cache"))
    storage = MlflowStorage.open(study, connection=Connection(place.tracking_uri))
    trials = storage.load()
    storage.close()
    return trials


def facts(trials: list[Trial]) -> list[tuple[object, ...]]:
    return [(t.number, t.params, t.loss, t.origin, t.failure, t.budget) for t in trials]


def study_id(output: str) -> str:
    found = re.search(r"study (\w{32}):", output)
    assert found, output
    return found.group(1)


def read_until(stream: IO[str], words: str) -> str:
    output = ""
    for line in stream:
        output += line
        if words in line:
            return output
    raise AssertionError(f"{words!r} never came:\n{output}")


def wait_for_a_trial(place: Place) -> None:
    client, end = MlflowClient(place.tracking_uri), time.monotonic() + 60
    while not client.search_runs(["0"], "tags.`hpo.role` = 'trial'"):
        assert time.monotonic() < end, "no trial was ever granted"
        time.sleep(0.2)


@pytest.fixture
def other_place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place.made_in(tmp_path_factory.mktemp("other"))


def test_killed_and_resumed_is_as_if_never_killed(
    place: Place, other_place: Place, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, output = other_place.command("tune", data=table, **SETTINGS)
    assert code == 0, output
    expected = trials_of(other_place, study_id(output), monkeypatch)

    process = place.start(*command_line("tune", data=table, **SETTINGS))
    assert process.stdout
    output = read_until(process.stdout, "trial 3/8")
    process.kill()
    process.wait()
    study = study_id(output)
    code, output = place.command("tune", study=study)
    assert code == 0, output
    assert "done before" in output
    assert facts(trials_of(place, study, monkeypatch)) == facts(expected)


def test_first_interrupt_finishes_what_runs_and_keeps_it(
    place: Place, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = place.start(*command_line("tune", data=table, **(SETTINGS | {"trials": 500})))
    assert process.stdout
    output = read_until(process.stdout, "trial 2/500")
    os.kill(process.pid, signal.SIGINT)
    output += process.stdout.read()
    assert process.wait(timeout=60) == 0, output
    assert "finishing the trials that run" in output
    assert "Leaderboard" in output
    resume = f"tune --study={study_id(output)} --trials=500"
    assert f"resume   mlflow-warmstart {resume}" in output
    trials = trials_of(place, study_id(output), monkeypatch)
    assert len(trials) < 500
    assert all(trial.finished for trial in trials)


def test_second_interrupt_stops_now(
    place: Place, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SETTINGS | {"model": "mlp", "max_budget": 100_000, "trials": 5}
    process = place.start(*command_line("tune", data=table, **settings))
    assert process.stdout
    output = read_until(process.stdout, "study ")
    wait_for_a_trial(place)
    os.kill(process.pid, signal.SIGINT)
    output += read_until(process.stdout, "finishing the trials")
    time.sleep(1.1)
    os.kill(process.pid, signal.SIGINT)
    output += process.stdout.read()
    assert process.wait(timeout=60) == 130, output
    assert "resume   mlflow-warmstart tune --study=" in output


def test_a_study_is_refused_to_a_second_driver(place: Place, table: Path) -> None:
    with place.start(*command_line("tune", data=table, **(SETTINGS | {"trials": 500}))) as process:
        assert process.stdout
        study = study_id(read_until(process.stdout, "trial 0/500"))
        code, output = place.command("tune", study=study)
        process.kill()
    assert code == 2
    assert "is being run by another" in output


def test_what_a_study_began_with_cannot_be_changed(
    place: Place, table: Path, make_table: Callable[[int], pd.DataFrame]
) -> None:
    code, output = place.command("tune", data=table, **(SETTINGS | {"trials": 2}))
    assert code == 0, output
    study = study_id(output)
    code, output = place.command("tune", study=study, model="xgboost", seed=9)
    assert code == 2
    assert "began with model='lightgbm', but got 'xgboost'" in output
    assert "began with seed=5, but got 9" in output
    make_table(300).to_csv(place.folder / "other.csv", index=False)
    code, output = place.command("tune", study=study, data=place.folder / "other.csv", trials=4)
    assert code == 2
    assert "this study has another data: digest was" in output
