"""The runs that a study writes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from hpo.errors import ParameterError, StudyError
from hpo.trial import Failure, Report, Trial
from pipelines.store import study_run
from pipelines.store.storage import MlflowStorage
from tests import stores


def test_study_run(tmp_path: Path) -> None:
    store = stores.study(name="my study")
    run = stores.client().get_run(store.run_id)
    tags = run.data.tags
    assert run.info.run_name == "my study"
    assert tags["hpo.schema"] == "1"
    assert tags["hpo.role"] == "study"
    assert tags["hpo.metric"] == "auc"
    assert tags["hpo.data.digest"] == "d1"
    assert "adult.csv" in tags["mlflow.note.content"]
    assert run.data.params["model"] == "lightgbm"
    assert run.inputs is not None
    assert [i.dataset.digest for i in run.inputs.dataset_inputs] == ["d1"]
    text = stores.client().download_artifacts(store.run_id, "space.yaml", str(tmp_path))
    assert "rate" in Path(text).read_text()
    store.close()
    closed = stores.client().get_run(store.run_id)
    assert closed.info.status == "FINISHED"
    assert closed.data.tags["hpo.driver"] == ""


def test_parameters_of_mlflow_run_stay_as_they_are() -> None:
    client = stores.client()
    run = client.create_run(client.create_experiment("quoted parameters"))
    client.log_param(run.info.run_id, "model", "'lightgbm'")
    store = stores.study(run_id=run.info.run_id)
    assert store.run_id == run.info.run_id
    params = client.get_run(run.info.run_id).data.params
    assert params["model"] == "'lightgbm'"
    assert params["algorithm"] == "tpe"
    store.close()


def test_trial_run() -> None:
    store = stores.study()
    store.add(Trial(7, {"model": "a", "rate": 0.1, "depth": 3}, 27, origin="default"))
    store.flush()
    run = stores.client().get_run(store.trial_run_id(7))
    assert (run.info.run_name, run.info.status) == ("lightgbm-007", "RUNNING")
    assert run.data.params == {"model": "a", "rate": "0.1", "depth": "3"}
    assert run.data.tags["mlflow.parentRunId"] == store.run_id
    assert run.data.tags["hpo.trial.number"] == "7"
    assert run.data.tags["mlflow.user"]
    store.update(store.load()[0].with_outcome(stores.report(27, 7)))
    store.flush()
    run = stores.client().get_run(store.trial_run_id(7))
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"auc": 0.97, "f1": 0.5, "hpo.seconds": 0.25}
    steps = [m.step for m in stores.client().get_metric_history(run.info.run_id, "auc")]
    assert sorted(steps) == [1, 5, 9, 13, 17, 21, 25, 27]
    parent = stores.client().get_run(store.run_id)
    assert parent.data.metrics == {"best_auc": 0.97}
    store.close()


@pytest.mark.parametrize(("over", "word"), [(False, "full budget"), (True, "stopped early")])
def test_a_trial_run_has_its_seconds_in_all_and_why_it_ended(over: bool, word: str) -> None:
    store, full = stores.study(rungs=[27, 81]), 81.0
    trial = Trial(0, {"model": "a", "rate": 0.1, "depth": 3}, 27.0)
    store.add(trial)
    store.update(trial := trial.with_outcome(Report(27.0, 0.5, seconds=2.0)))
    store.flush()
    run_id = store.trial_run_id(0)
    assert stores.client().get_run(run_id).data.tags["hpo.trial.ended"] == "paused at 27"
    store.update(trial := replace(trial, budget=full))
    store.update(trial.with_outcome(Report(full, 0.4, seconds=0.5, over=over)))
    store.flush()
    run = stores.client().get_run(run_id)
    assert run.data.tags["hpo.trial.ended"] == word
    points = stores.client().get_metric_history(run_id, "hpo.seconds")
    assert [(point.step, point.value) for point in points] == [(27, 2.0), (full, 2.5)]
    store.close()


def test_failed_trial_run() -> None:
    store = stores.study()
    trial = Trial(0, {"rate": 0.1}, 27)
    store.add(trial)
    store.update(trial.with_outcome(Failure("e" * 10_000)))
    store.flush()
    run = stores.client().get_run(store.trial_run_id(0))
    assert run.info.status == "FAILED"
    assert run.data.tags["hpo.failure"].endswith("(cut, 10,000 characters in all)")
    assert len(run.data.tags["hpo.failure"]) == 8000
    store.close("FAILED", "everything failed")
    parent = stores.client().get_run(store.run_id)
    assert (parent.info.status, parent.data.tags["hpo.failure"]) == ("FAILED", "everything failed")


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"x": "y" * 6001}, "6,001 characters"),
        ({"x": ["list"]}, "must be a string, a number or a boolean"),
        ({"a[0]": 1}, "rename it"),
        ({"../a": 1}, "rename it"),
    ],
)
def test_refused_parameters(params: Any, words: str) -> None:
    store = stores.study()
    with pytest.raises(ParameterError, match=words):
        store.add(Trial(0, params, 1))
    assert store.load() == []
    store.close()


def test_experiment_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    client = stores.client()
    wanted = client.create_experiment("from the environment")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", wanted)
    monkeypatch.setenv("MLFLOW_PARENT_RUN_ID", "outer")
    store = MlflowStorage.create(stores.HEADER, connection=stores.connection())
    assert store.experiment_id == wanted
    assert client.get_run(store.run_id).data.tags["mlflow.parentRunId"] == "outer"
    store.close()
    found = client.search_runs([wanted], "tags.`hpo.role` = 'study'", ViewType.ACTIVE_ONLY)
    assert [run.info.run_id for run in found] == [store.run_id]


def test_a_study_that_cannot_be_created_ends_as_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(MlflowClient, "log_text", full)
    client = stores.client()
    experiment = client.create_experiment("cannot be created")
    with pytest.raises(StudyError, match="No space left"):
        MlflowStorage.create(
            stores.HEADER,
            experiment="cannot be created",
            connection=stores.connection(),
        )
    (run,) = client.search_runs([experiment])
    assert run.info.status == "FAILED"
    assert "No space left" in run.data.tags["hpo.failure"]
    assert "hpo.schema" not in run.data.tags
    assert not study_run.journal_path(run.info.run_id).exists()
