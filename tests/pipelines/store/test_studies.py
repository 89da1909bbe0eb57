"""Finding and reading studies, and opening the tracking store."""

import time

import pytest

from hpo.errors import StudyError
from hpo.trial import Failure, Report, Trial
from pipelines.store.studies import leaderboard, studies
from pipelines.store.tracking import connect
from tests import stores


def test_more_than_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.store import tracking

    monkeypatch.setattr(tracking, "PAGE", 7)
    store = stores.study()
    for number in range(25):
        store.add(Trial(number, {"rate": 0.5}, 1))
    store.close()
    again = stores.reopen(store.run_id)
    assert [trial.number for trial in again.load()] == list(range(25))
    again.close()


def test_leaderboard_and_studies() -> None:
    store = stores.study()
    for number, auc in enumerate([0.5, 0.9, None, 0.7]):
        trial = Trial(number, {"rate": 0.5}, 1)
        store.add(trial)
        result = Failure("boom") if auc is None else Report(1, -auc, {"auc": auc})
        store.update(trial.with_outcome(result))
    store.close()
    rows = leaderboard(store.run_id, tracking_uri=stores.sqlite_uri())
    assert [row["number"] for row in rows] == [1, 3, 0, 2]
    assert rows[0]["metrics"] == {"auc": 0.9}
    assert rows[-1]["failure"] == "boom"
    assert len(leaderboard(store.run_id, 2, tracking_uri=stores.sqlite_uri())) == 2
    name = stores.client().get_experiment(store.experiment_id).name
    assert [run.info.run_id for run in studies(name, tracking_uri=stores.sqlite_uri())] == [
        store.run_id
    ]
    assert studies("no such experiment", tracking_uri=stores.sqlite_uri()) == []


def test_what_is_no_study_is_refused() -> None:
    client = stores.client()
    store = stores.study()
    store.add(Trial(0, {"rate": 0.5}, 1))
    store.close()
    with pytest.raises(StudyError, match="no run 'nonsense'"):
        stores.reopen("nonsense")
    with pytest.raises(StudyError, match=f"is a trial of study {store.run_id}"):
        stores.reopen(store.trial_run_id(0))
    with pytest.raises(StudyError, match="is a study already"):
        stores.study(run_id=store.run_id)
    client.set_tag(store.run_id, "hpo.schema", "99")
    with pytest.raises(StudyError, match="has schema 99"):
        stores.reopen(store.run_id)
    client.delete_run(store.run_id)
    with pytest.raises(StudyError, match="was deleted"):
        stores.reopen(store.run_id)


def test_connect_says_what_is_wrong() -> None:
    start = time.monotonic()
    with pytest.raises(StudyError, match=r"http://\*\*\*@127.0.0.1:9 cannot be used"):
        connect("http://user:secret@127.0.0.1:9")
    assert time.monotonic() - start < 30
    with pytest.raises(StudyError, match="cannot be used"):
        connect("nonsense://somewhere")
