import pytest

from pipelines.study.runs import fail_run
from tests.stores import client, sqlite_uri, study


@pytest.fixture(autouse=True)
def _store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_uri())


def test_a_run_that_came_to_nothing_says_why() -> None:
    run_id = client().create_run("0").info.run_id

    fail_run(run_id, "no such table")

    run = client().get_run(run_id)
    assert (run.info.status, run.data.tags["hpo.failure"]) == ("FAILED", "no such table")


def test_a_study_keeps_the_end_that_it_has() -> None:
    storage = study()
    storage.close()

    fail_run(storage.run_id, "run is a study already")
    fail_run("no such run", "nobody hears")

    run = client().get_run(storage.run_id)
    assert run.info.status == "FINISHED"
    assert "hpo.failure" not in run.data.tags
