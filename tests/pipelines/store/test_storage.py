import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2

from hpo.errors import ParameterError, StudyError
from hpo.trial import Failure, Report, Trial
from pipelines.store import schema, study_run
from pipelines.store.bulk import BulkWriter, engine_for
from pipelines.store.lease import Driver, Lease
from pipelines.store.outbox import Unreachable
from pipelines.store.schema import Record
from pipelines.store.storage import MlflowStorage
from pipelines.store.studies import leaderboard, studies
from pipelines.store.tracking import CallWriter, ClientRuns, Writer, children, connect
from tests import stores


class Killed(BaseException):
    """The process is gone."""


def script(store: MlflowStorage) -> None:
    """What a driver does, deterministic and resumable: it looks at what is there and does what is missing."""
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
            result = Failure("boom") if number == 1 else told(trial.budget, number)
            trial = trial.with_outcome(result)
            store.update(trial)
            store.flush()
        if number == 2 and trial.budget == 9:
            trial = replace(trial, budget=27)
            store.update(trial)
            store.flush()
        if not trial.finished:
            store.update(trial.with_outcome(told(27, number)))
            store.flush()
    store.notes.set_winner(2)
    store.close()


def told(budget: float, number: int) -> Report:
    auc = number / 10 + budget / 100
    curve = tuple((b, auc / 2) for b in range(1, int(budget), 4))
    return Report(budget, -auc, {"auc": auc, "f1": 0.5}, 0.25, curve)


def picture(run_id: str, client: MlflowClient) -> dict[str, Any]:
    """Everything of a study that does not differ from run to run."""
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
    """Dies at the k-th call, before it has any effect or after it has had all of it."""

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
    """Dies in the k-th transaction, before its commit or after it."""

    def __init__(self, *args: Any, deadline: int, after: bool) -> None:
        super().__init__(*args)
        self.count = 0
        self.deadline = deadline
        self.after = after

    def __call__(self, records: Sequence[Record]) -> None:
        self.count += 1
        super().__call__(records)
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
    """Killed at each of its writes, until it comes through; how many there are depends on how they are merged."""
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
        with pytest.raises(StudyError, match="no study"):
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
    store.update(store.load()[0].with_outcome(told(27, 7)))
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
    assert stores.client().get_run(run_id).data.tags["hpo.trial.ended"] == "left at 27"
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
    again.update(lost.with_outcome(told(27, 3)))
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
    client.create_run(store.experiment_id, tags={**common, "hpo.trial.number": "0"}, start_time=1)
    orphan = client.create_run(store.experiment_id, tags=common)
    again = stores.reopen(store.run_id)
    assert again.load() == [trial.with_outcome(Report(1, -0.5, {"auc": 0.5}))]
    assert client.get_run(orphan.info.run_id).info.lifecycle_stage == "deleted"
    assert again.trial_run_id(0) == store.trial_run_id(0)
    again.close()


def test_a_run_whose_answer_was_lost_is_removed_at_the_end() -> None:
    class Lossy(ClientRuns):
        lost = 0

        def create(self, *args: Any) -> str:
            run_id = super().create(*args)
            Lossy.lost += 1
            if Lossy.lost == 1:
                raise MlflowException(
                    "timed out", error_code=databricks_pb2.TEMPORARILY_UNAVAILABLE
                )
            return run_id

    store = stores.study(make_writer=lambda c, e, r, known: CallWriter(Lossy(c), e, known))
    store.add(Trial(0, {"rate": 0.5}, 1))
    store.update(Trial(0, {"rate": 0.5}, 1).with_outcome(Report(1, -0.5, {"auc": 0.5})))
    assert store.close()
    assert Lossy.lost == 2
    runs = children(stores.client(), store.experiment_id, store.run_id)
    assert [run.data.tags.get("hpo.trial.number") for run in runs] == ["0"]


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


@pytest.mark.parametrize("make_writer", [None, stores.calls])
def test_a_deleted_study_ends_its_driver_with_a_word(
    make_writer: study_run.WriterMaker | None,
) -> None:
    store = stores.study(make_writer=make_writer)
    stores.client().delete_run(store.run_id)
    store.add(Trial(0, {"rate": 0.5}, 1))
    store.notes.annotate(tags={"note": "call by call, the trial alone would still be written"})
    with pytest.raises(StudyError, match=r"deleted|active"):
        store.flush()
    with pytest.raises(StudyError):
        store.close()
    stores.client().restore_run(store.run_id)
    again = stores.reopen(store.run_id)
    assert [trial.number for trial in again.load()] == [0]
    again.close()


@pytest.mark.parametrize("make_writer", [None, stores.calls])
def test_a_deleted_trial_does_not_end_the_study(make_writer: study_run.WriterMaker | None) -> None:
    store = stores.study(make_writer=make_writer)
    trial = Trial(0, {"rate": 0.5}, 1)
    store.add(trial)
    store.flush()
    stores.client().delete_run(store.trial_run_id(0))
    store.update(trial.with_outcome(Report(1, -0.5, {"auc": 0.5})))
    store.add(Trial(1, {"rate": 0.5}, 1))
    assert store.close()
    assert stores.client().get_run(store.trial_run_id(1)).info.status == "KILLED"


class TestLease:
    def test_a_running_study_is_refused_on_the_same_machine(self) -> None:
        store = stores.study()
        with pytest.raises(StudyError, match="being run by another process"):
            stores.reopen(store.run_id)
        store.close()

    def test_a_study_that_runs_elsewhere_is_refused_until_it_is_stale(self) -> None:
        store = stores.study()
        store.close()
        here = Driver.myself()
        away = replace(here, host="far", machine="far", token="other")
        stores.client().set_tag(store.run_id, "hpo.driver", away.to_tag())
        with pytest.raises(StudyError, match=f"process {here.pid} on far since .* last seen"):
            stores.reopen(store.run_id)
        stores.client().set_tag(
            store.run_id, "hpo.driver", replace(away, seen=away.seen - 61).to_tag()
        )
        stores.reopen(store.run_id).close()

    def test_a_dead_process_of_this_machine_is_no_driver(self) -> None:
        store = stores.study()
        store.close()
        child = subprocess.Popen([sys.executable, "-c", ""])
        child.wait()
        dead = replace(Driver.myself(), pid=child.pid)
        stores.client().set_tag(store.run_id, "hpo.driver", dead.to_tag())
        stores.reopen(store.run_id).close()

    def test_of_two_takers_the_last_writer_wins(self) -> None:
        tag = {"value": ""}

        class Client:
            def get_run(self, run_id: str) -> Any:
                class Data:
                    tags = {"hpo.driver": tag["value"]}

                class Found:
                    data = Data()

                return Found()

        away = replace(Driver.myself(), host="far", machine="far")
        tag["value"] = replace(away, seen=0.0).to_tag()

        def write_then_lose(value: str) -> None:
            tag["value"] = replace(away, token="faster").to_tag()

        with pytest.raises(StudyError, match="another driver"):
            Lease(Client(), "r", write_then_lose).acquire(settle=0)  # type: ignore[arg-type]

        tag["value"] = ""
        mine = Lease(Client(), "r", lambda value: tag.update(value=value))  # type: ignore[arg-type]
        mine.acquire()
        mine.renew()
        tag["value"] = replace(away, token="thief").to_tag()
        with pytest.raises(StudyError, match="another driver"):
            mine.renew()
        mine.release()
        assert json.loads(tag["value"])["token"] == "thief"


def test_kill_minus_nine(tmp_path: Path) -> None:
    """The driver dies with everything in its outbox; the next one finds it there, and takes the study over."""
    name = "killed for real"
    code = f"""
import sys, time
from tests import stores
from pipelines.store.storage import MlflowStorage
from pipelines.store.outbox import Pace
from pipelines.store.study_run import Connection
from hpo.trial import Trial, Report
store = MlflowStorage.create(stores.HEADER, experiment={name!r}, connection=Connection(pace=Pace(gather=600.0)))
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


def test_connect_says_what_is_wrong() -> None:
    start = time.monotonic()
    with pytest.raises(StudyError, match=r"http://\*\*\*@127.0.0.1:9 cannot be used"):
        connect("http://user:secret@127.0.0.1:9")
    assert time.monotonic() - start < 30
    with pytest.raises(StudyError, match="cannot be used"):
        connect("nonsense://somewhere")


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


def test_results_that_wait_on_disk_survive_a_later_promotion() -> None:
    away = False

    def make(
        client: MlflowClient, experiment: str, run_id: str, known: MutableMapping[str, str]
    ) -> Writer:
        write = CallWriter(ClientRuns(client), experiment, known)

        def sometimes(records: Sequence[Record]) -> None:
            if away:
                raise Unreachable("away")
            write(records)

        return sometimes

    store = stores.study(make_writer=make)
    store.add(Trial(0, {"rate": 0.1}, 1.0))
    first = Trial(0, {"rate": 0.1}, 1.0).with_outcome(Report(1.0, 5.0))
    store.update(first)
    assert store.flush(30)
    away = True
    store.update(replace(first, budget=3.0))
    second = replace(first, budget=3.0).with_outcome(Report(3.0, 2.0))
    store.update(second)
    store.update(replace(second, budget=9.0))
    stores.abandon(store)

    again = stores.reopen(store.run_id)
    (loaded,) = again.load()
    assert [(report.budget, report.loss) for report in loaded.reports] == [(1.0, 5.0), (3.0, 2.0)]
    assert loaded.budget == 9.0
    assert not loaded.finished
    again.close()
