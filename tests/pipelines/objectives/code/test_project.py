"""MLflow projects as objectives, without running one."""

import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import ExecutionException

from hpo.errors import ParameterError
from pipelines.objectives.code.project import _logged_since, _why, project_code


def test_a_leg_has_the_metrics_that_it_has_logged_itself(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient(store)
    run = client.create_run("0").info.run_id
    now = round(1e3 * time.time())
    for name, value, at, step in (
        ("err", 9.0, now - 5_000, 0),  # of an earlier leg …
        ("err", 9.0, now - 4_000, 3),  # … and as the study has stored it
        ("old", 1.0, now - 5_000, 0),
        ("hpo.seconds", 1.0, now, 3),
        ("err", 4.0, now, 0),
        ("err", 2.0, now, 1),
    ):
        client.log_metric(run, name, value, at, step)
    monkeypatch.setattr("pipelines.objectives.code.project.MlflowClient", lambda: client)
    assert _logged_since(now - 1_000, run) == {"err": 2.0}


@pytest.mark.parametrize(
    ("said", "error", "expected"),
    [
        ("ValueError: x", "Run (ID 'abc') failed", ": ValueError: x"),
        ("", "Run (ID 'abc') failed", " and printed nothing"),
        ("", "there is no uv", ": there is no uv"),
    ],
)
def test_the_reason_of_a_failed_run_is_what_it_has_printed(
    said: str, error: str, expected: str
) -> None:
    assert _why(said, ExecutionException(error)) == expected


def test_a_project_in_a_folder_of_another(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    (inner / "src").mkdir(parents=True)
    (inner / "MLproject").write_text("name: a\nentry_points:\n  main: {command: 'true'}\n")
    code = project_code(f"project:{tmp_path}#inner#main")
    assert code.takes == frozenset()
    before = code.digest
    (inner / "src" / "train.py").write_text("print(1)")
    assert project_code(f"project:{tmp_path}#inner#main").digest != before


def test_a_secret_is_neither_stored_nor_shown() -> None:
    with pytest.raises(ParameterError) as error:
        project_code("project:https://bob:s3cr3t@localhost:1/x.git#main")
    assert "s3cr3t" not in str(error.value)


def test_a_broken_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "MLproject").write_text("name: [a\n")
    with pytest.raises(ParameterError, match="MLproject cannot be read"):
        _ = project_code(f"project:{tmp_path}").takes
