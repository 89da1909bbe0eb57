import re
from pathlib import Path

from mlflow import MlflowClient

from pipelines import entry_points
from tests.end_to_end.conftest import ROOT, Place


def test_mlproject_is_made_from_the_signatures() -> None:
    assert (ROOT / "MLproject").read_text() == entry_points.mlproject(), (
        "run: python -m pipelines.entry_points > MLproject"
    )


def test_values_are_never_quoted_by_the_project_file() -> None:
    commands = re.findall(r"^    command: (.*)$", entry_points.mlproject(), re.MULTILINE)
    assert len(commands) == len(entry_points.NAMES)
    for command in commands:
        assert not set(command) & set("'\";&|$`")


def test_every_entry_point_runs(place: Place, table: Path) -> None:
    code, output = place.mlflow_run(
        "tune",
        data=table,
        target="income",
        trials=4,
        max_budget=30,
        register="people",
        algorithm="random",
    )
    assert code == 0, output
    assert "Leaderboard by roc_auc" in output
    study = re.search(r"study=(\w{32})", output)
    assert study, output
    client = MlflowClient(place.tracking_uri)
    parent = client.get_run(study.group(1))
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["hpo.role"] == "study"
    assert "hpo.schema" in parent.data.tags
    runs = client.search_runs([parent.info.experiment_id])
    children = [
        run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    ]
    roles = sorted(run.data.tags["hpo.role"] for run in children)
    assert roles == ["baseline"] * 2 + ["trial"] * 4
    trials = [run for run in children if run.data.tags["hpo.role"] == "trial"]
    assert sorted(int(run.data.tags["hpo.trial.number"]) for run in trials) == [0, 1, 2, 3]
    assert all("roc_auc" in run.data.metrics for run in trials)

    code, output = place.mlflow_run("report", study=study.group(1))
    assert code == 0, output
    trial = re.search(r"trial=(\w{32})", output)
    assert trial, output

    code, output = place.mlflow_run("train", trial=trial.group(1), register="people")
    assert code == 0, output
    best = max(run.data.metrics["roc_auc"] for run in trials)
    assert f"{best:.5g}" in output

    code, output = place.mlflow_run("promote", name="people", version=1)
    assert code == 0, output
    assert int(client.get_model_version_by_alias("people", "champion").version) == 1
    code, output = place.mlflow_run("promote", name="people")
    assert code != 0
    assert "the champion stays version 1" in output
    code, output = place.mlflow_run("rollback", name="people")
    assert code != 0
    assert "has no previous champion: version 1 is the first one" in output


def test_a_mistake_fails_the_run_with_its_reason(place: Place, table: Path) -> None:
    code, output = place.mlflow_run("tune", data=table, target="incme; touch pwned", trials=2)
    assert code != 0
    assert "error: the table has no target column" in output
    assert not list(place.folder.rglob("pwned"))
    assert not (ROOT / "pwned").exists()
    client = MlflowClient(place.tracking_uri)
    runs = client.search_runs(["0"])
    assert [run.info.status for run in runs] == ["FAILED"]
    assert "no target column" in runs[0].data.tags["hpo.failure"]


def test_a_mistyped_parameter_is_told(place: Place, table: Path) -> None:
    code, output = place.mlflow_run("tune", data=table, target="income", trails=2)
    assert code != 0
    assert "unknown parameter 'trails', did you mean 'trials'" in output
