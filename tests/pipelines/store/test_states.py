"""What MLflow says of the state of a study and of its trials, at each end and resume."""

import errno
import os
from dataclasses import replace
from typing import Any

import pytest
from mlflow.entities import Run

from hpo.errors import StudyError
from hpo.trial import Failure, Report, Trial
from pipelines.store import study_run
from pipelines.store.delivery.journal import Journal
from pipelines.store.records import Record
from pipelines.store.storage import MlflowStorage
from tests import stores

RACE: dict[str, Any] = {"rungs": [9, 27]}
HERE = [pytest.param(None, id="in bulk"), pytest.param(stores.calls, id="by calls")]
Maker = study_run.WriterMaker | None


def trained(number: int, *budgets: float) -> Trial:
    """A trial with a report at each budget."""
    trial = Trial(number, {"rate": 0.5}, budgets[0])
    for budget in budgets:
        trial = replace(trial, budget=budget).with_outcome(Report(budget, -0.5, {"auc": 0.5}))
    return trial


def run(store: MlflowStorage, number: int | None = None) -> Run:
    run_id = store.run_id if number is None else store.trial_run_id(number)
    return stores.client().get_run(run_id)


def state(store: MlflowStorage, number: int) -> tuple[str, str]:
    found = run(store, number)
    return found.info.status, found.data.tags["hpo.trial.ended"]


@pytest.mark.parametrize("make", HERE)
def test_the_reason_of_a_failure_is_gone_after_a_good_end(make: Maker) -> None:
    store = stores.study(make_writer=make)
    store.add(trained(0, 27))
    store.close("FAILED", "the disk was full")
    assert run(store).data.tags["hpo.failure"] == "the disk was full"
    again = stores.reopen(store.run_id, make_writer=make)
    assert run(store).info.status == "RUNNING"
    again.close()
    assert run(store).info.status == "FINISHED"
    assert "hpo.failure" not in run(store).data.tags


@pytest.mark.parametrize("make", HERE)
def test_a_paused_trial_reads_as_paused_until_its_study_is_complete(make: Maker) -> None:
    store = stores.study(make_writer=make, **RACE)
    for trial in (trained(0, 9), trained(1, 9, 27), Trial(2, {"rate": 0.5}, 9)):
        store.add(trial)
    store.close("KILLED", "interrupted")
    assert state(store, 0) == ("FINISHED", "paused at 9")
    assert state(store, 1) == ("FINISHED", "full budget")
    assert state(store, 2) == ("KILLED", "stopped on the way from 0 to 9")
    again = stores.reopen(store.run_id, make_writer=make)
    again.flush()
    assert state(again, 2) == ("RUNNING", "running")
    again.update(trained(2, 9))
    again.close(complete=True)
    assert state(again, 0) == state(again, 2) == ("FINISHED", "left at 9")
    for part in (False, True):  # nothing is written that is there already
        more = stores.reopen(store.run_id, make_writer=make)
        assert more.waiting == 0
        more.close("KILLED", complete=part)
        assert state(more, 0) == ("FINISHED", "left at 9")


@pytest.mark.parametrize("make", HERE)
def test_a_full_cache_leaves_no_study_that_seems_to_run(
    make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stores.study(make_writer=make)
    store.add(Trial(0, {"rate": 0.5}, 27))

    def full(journal: Journal, record: Record) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Journal, "append", full)
    with pytest.raises(StudyError, match="free space or set HPO_CACHE_DIR") as caught:
        store.update(trained(0, 27))
    store.close("FAILED", str(caught.value))
    monkeypatch.undo()
    assert state(store, 0) == ("FINISHED", "full budget")
    assert run(store).info.status == "FAILED"
    assert run(store).data.tags["hpo.failure"] == str(caught.value)
    again = stores.reopen(store.run_id, make_writer=make)
    assert again.load()[0].loss == -0.5
    again.close()


@pytest.mark.parametrize("make", HERE)
def test_states_that_a_killed_driver_left_are_corrected(make: Maker) -> None:
    store = stores.study(make_writer=make, **RACE)
    failed = Trial(2, {"rate": 0.5}, 9).with_outcome(Failure("boom"))
    for trial in (trained(0, 9, 27), trained(1, 9), failed, Trial(3, {"rate": 0.5}, 9)):
        store.add(trial)
    store.flush()
    client = stores.client()
    for number, status in enumerate(["RUNNING", "KILLED", "FINISHED", "KILLED"]):
        client.update_run(store.trial_run_id(number), status=status)
        client.set_tag(store.trial_run_id(number), "hpo.trial.ended", "nobody knows")
    stores.abandon(store)
    again = stores.reopen(store.run_id, make_writer=make)
    again.flush()
    assert [state(again, number) for number in range(4)] == [
        ("FINISHED", "full budget"),
        ("FINISHED", "paused at 9"),
        ("FAILED", "failed"),
        ("RUNNING", "running"),
    ]
    assert all(run(again, number).info.end_time for number in range(3))
    again.close("KILLED")


@pytest.mark.parametrize("make", HERE)
def test_the_end_checks_the_runs_at_a_cost_that_does_not_grow(
    make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stores.study(make_writer=make)
    for number in range(5):
        store.add(trained(number, 27))
    store.add(Trial(5, {"rate": 0.5}, 27))
    store.notes.add_baseline("trivial", {"auc": 0.5})
    store.flush()
    client = stores.client()
    baseline = store._run.run_id_of("baseline-trivial", 10)
    for run_id in (store.trial_run_id(3), baseline):
        client.update_run(run_id, status="RUNNING")
    read: list[int] = []
    search = type(store.client).search_runs

    def counted(*args: Any, **options: Any) -> Any:
        page = search(*args, **options)
        read.append(len(page))
        return page

    monkeypatch.setattr(type(store.client), "search_runs", counted)
    store.close("KILLED")
    assert read == [2]
    assert {number: state(store, number)[0] for number in range(6)} == {
        **dict.fromkeys(range(5), "FINISHED"),
        5: "KILLED",
    }
    assert client.get_run(baseline).info.status == "FINISHED"
