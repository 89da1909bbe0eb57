"""Studies whose driver was killed, and how the next driver resumes them."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from hpo.errors import StudyError
from hpo.trial import Failure, Report, Trial
from pipelines.store import schema, study_run
from pipelines.store.delivery.bulk import BulkWriter, engine_for
from pipelines.store.delivery.writers import OPEN, CallWriter, ClientRuns, Fence, Writer
from pipelines.store.records import Record
from pipelines.store.storage import MlflowStorage
from pipelines.store.tracking import children
from tests import stores


class Killed(BaseException):
    """Raised in place of the death of the process."""


def script(store: MlflowStorage) -> None:
    """What a driver does, deterministic and resumable: it does what is not stored yet."""
    there = {trial.number: trial for trial in store.load()}
    store.notes.add_baseline("linear", {"auc": 0.5}, seconds=0.1)
    store.flush()
    for number in range(3):
        trial = there.get(number)
        if trial is None:
            trial = Trial(
                number, {"model": "b", "rate": 0.1 * number, "flag": True}, 9 if number == 2 else 27
            )
            store.add(trial)
            store.flush()
        if not trial.reports and trial.failure is None:
            result = Failure("boom") if number == 1 else stores.report(trial.budget, number)
            trial = trial.with_outcome(result)
            store.update(trial)
            store.flush()
        if number == 2 and trial.budget == 9:
            trial = replace(trial, budget=27)
            store.update(trial)
            store.flush()
        if not trial.finished:
            store.update(trial.with_outcome(stores.report(27, number)))
            store.flush()
    store.notes.set_winner(2)
    store.close()


def picture(run_id: str, client: MlflowClient) -> dict[str, Any]:
    """Everything of a study that is equal in all runs of the script."""
    parent = client.get_run(run_id)
    runs = children(client, parent.info.experiment_id, run_id)
    names = {run.info.run_id: str(run.info.run_name) for run in runs}
    assert len(set(names.values())) == len(names)
    found = {names[run.info.run_id]: facts(run, client) for run in runs}
    winner = names[parent.data.tags[schema.WINNER]]
    return {**found, "parent": (parent.info.status, parent.data.metrics, winner)}


def facts(run: Run, client: MlflowClient) -> Any:
    history = {
        key: sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, key))
        for key in run.data.metrics
    }
    tags = {key: value for key, value in run.data.tags.items() if key != schema.PARENT_RUN}
    return run.info.status, run.data.params, run.data.metrics, history, tags


class Deadly(ClientRuns):
    """Dies at call number `deadline`, before or after its effect."""

    def __init__(self, client: MlflowClient, deadline: int, *, after: bool) -> None:
        super().__init__(client)
        self.count = 0
        self.deadline = deadline
        self.after = after

    def _call(self, call: Callable[..., Any], *args: Any) -> Any:
        self.count += 1
        if self.count == self.deadline and not self.after:
            raise Killed
        result = call(*args)
        if self.count == self.deadline:
            raise Killed
        return result

    def create(self, *args: Any) -> str:
        return str(self._call(super().create, *args))

    def log(self, *args: Any) -> None:
        self._call(super().log, *args)

    def set_status(self, *args: Any) -> None:
        self._call(super().set_status, *args)


class DeadlyBulk(BulkWriter):
    """Dies in transaction number `deadline`, before or after its commit."""

    def __init__(self, *args: Any, deadline: int, after: bool) -> None:
        super().__init__(*args)
        self.count = 0
        self.deadline = deadline
        self.after = after

    def __call__(self, records: Sequence[Record], fence: Fence = OPEN) -> None:
        self.count += 1
        super().__call__(records, fence)
        if self.count == self.deadline and self.after:
            raise Killed

    def before_commit(self, connection: Any) -> None:
        if self.count == self.deadline and not self.after:
            raise Killed


def by_calls(deadline: int, after: bool, runs: list[Any]) -> study_run.WriterMaker:
    def make(
        c: MlflowClient, experiment: str, run_id: str, known: MutableMapping[str, str]
    ) -> Writer:
        runs.append(Deadly(c, deadline, after=after))
        return CallWriter(runs[-1], experiment, known)

    return make


def in_bulk(deadline: int, after: bool, runs: list[Any]) -> study_run.WriterMaker:
    def make(
        c: MlflowClient, experiment: str, run_id: str, known: MutableMapping[str, str]
    ) -> Writer:
        engine = engine_for(c)
        assert engine is not None
        runs.append(DeadlyBulk(engine, experiment, run_id, known, deadline=deadline, after=after))
        return runs[-1]  # type: ignore[no-any-return]

    return make


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("maker", [by_calls, in_bulk])
def test_every_kill_point_can_be_resumed(
    maker: Callable[..., study_run.WriterMaker], after: bool
) -> None:
    """Kill the driver at each write; the number of writes depends on how they are merged."""
    client = stores.client()
    whole = stores.study(make_writer=maker(-1, after, []))
    script(whole)
    expected = picture(whole.run_id, client)
    for deadline in count(1):
        killed = stores.study(make_writer=maker(deadline, after, []))
        try:
            script(killed)
        except StudyError:
            stores.abandon(killed)
        else:
            break
        resumed = stores.reopen(killed.run_id, make_writer=maker(-1, after, []))
        script(resumed)
        assert picture(killed.run_id, client) == expected, deadline
    assert deadline > 10


def test_a_study_killed_while_it_is_created_never_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    client = stores.client()
    names = ["log_text", "log_inputs", "log_batch", "set_tag", "get_run"]

    class Mortal:
        def __init__(self, deadline: int) -> None:
            self.count = 0
            self.deadline = deadline
            self.tracking_uri = stores.sqlite_uri()

        def __getattr__(self, name: str) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                self.count += 1
                if self.count == self.deadline:
                    raise Killed
                return getattr(client, name)(*args, **kwargs)

            return call if name in names else getattr(client, name)

    run_id = client.create_run(client.create_experiment("killed while created")).info.run_id
    deadline = 0
    while schema.SCHEMA not in client.get_run(run_id).data.tags:
        with pytest.raises(StudyError, match="is not a study"):
            stores.reopen(run_id)
        deadline += 1
        mortal = Mortal(deadline)
        with monkeypatch.context() as patch:
            patch.setattr("pipelines.store.storage.connect", lambda uri, mortal=mortal: mortal)
            with pytest.raises(Killed):
                MlflowStorage.create(stores.HEADER, run_id=run_id, connection=stores.connection())
    assert deadline >= 7
    with pytest.raises(StudyError, match="a study already"):
        stores.study(run_id=run_id)
    again = stores.reopen(run_id)
    assert again.header == stores.HEADER
    again.close()


def test_kill_minus_nine(tmp_path: Path) -> None:
    """The driver dies with all results in its outbox; the next driver writes them and goes on."""
    name = "killed for real"
    code = f"""
import sys, time
from tests import stores
from pipelines.store.storage import MlflowStorage
from pipelines.store.delivery.outbox import Pace
from pipelines.store.study_run import Connection
from hpo.trial import Trial, Report
store = MlflowStorage.create(
    stores.HEADER, experiment={name!r}, connection=Connection(pace=Pace(gather=600.0))
)
for number in range(3):
    store.add(Trial(number, {{"rate": 0.5, "depth": number}}, 1))
store.update(Trial(0, {{"rate": 0.5, "depth": 0}}, 1).with_outcome(Report(1, -0.5, {{"auc": 0.5}})))
print(store.run_id, flush=True)
time.sleep(600)
"""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": stores.sqlite_uri(), "OMP_NUM_THREADS": "1"}
    driver = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert driver.stdout is not None
    run_id = driver.stdout.readline().strip()
    try:
        with pytest.raises(StudyError, match="being run by another process"):
            stores.reopen(run_id)
    finally:
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
        driver.stdout.close()
    run = stores.client().get_run(run_id)
    assert children(stores.client(), run.info.experiment_id, run_id) == []
    store = stores.reopen(run_id)
    assert [trial.finished for trial in store.load()] == [True, False, False]
    assert [trial.params["depth"] for trial in store.load()] == [0, 1, 2]
    store.close()


def test_unfinished_trials_end_with_the_study_and_come_back() -> None:
    store = stores.study()
    store.add(Trial(0, {"rate": 0.5}, 27))
    store.close("KILLED", "stopped by Ctrl-C")
    run = stores.client().get_run(store.trial_run_id(0))
    assert run.info.status == "KILLED"
    again = stores.reopen(store.run_id)
    assert stores.client().get_run(store.run_id).info.status == "RUNNING"
    (lost,) = again.load()
    assert not lost.finished
    again.update(lost.with_outcome(stores.report(27, 3)))
    again.close()
    assert stores.client().get_run(run.info.run_id).info.status == "FINISHED"


def test_best_so_far_goes_on_after_a_resume() -> None:
    store = stores.study()
    for number, auc in enumerate([0.5, 0.7]):
        store.add(Trial(number, {"rate": 0.5}, 1))
        store.update(Trial(number, {"rate": 0.5}, 1).with_outcome(Report(1, -auc, {"auc": auc})))
    store.close()
    again = stores.reopen(store.run_id)
    again.add(Trial(2, {"rate": 0.5}, 1))
    again.update(Trial(2, {"rate": 0.5}, 1).with_outcome(Report(1, -0.6, {"auc": 0.6})))
    again.close()
    history = stores.client().get_metric_history(store.run_id, "best_auc")
    assert [(m.step, m.value) for m in sorted(history, key=lambda m: m.step)] == [
        (1, 0.5),
        (2, 0.7),
        (3, 0.7),
    ]


def test_of_a_trial_that_was_written_twice_the_one_that_got_further_counts() -> None:
    store = stores.study()
    trial = Trial(0, {"rate": 0.5}, 1)
    store.add(trial)
    store.update(trial.with_outcome(Report(1, -0.5, {"auc": 0.5})))
    store.close()
    client = stores.client()
    common = {"mlflow.parentRunId": store.run_id, "hpo.role": "trial", "hpo.trial.budget": "1"}
    orphan = client.create_run(store.experiment_id, tags=common)
    late = client.create_run(
        store.experiment_id, tags={**common, "hpo.trial.number": "0"}, start_time=1
    )
    again = stores.reopen(store.run_id)
    assert again.load() == [trial.with_outcome(Report(1, -0.5, {"auc": 0.5}))]
    for run in (orphan, late):
        assert client.get_run(run.info.run_id).info.lifecycle_stage == "deleted"
    assert again.trial_run_id(0) == store.trial_run_id(0)
    again.close()
