"""Results that wait on disk for a store that is away, refuses or hangs."""

import threading
import time
from collections.abc import MutableMapping, Sequence
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import REQUEST_LIMIT_EXCEEDED, TEMPORARILY_UNAVAILABLE

from hpo.trial import Report, Trial
from pipelines.store.delivery.outbox import Pace, Unreachable
from pipelines.store.delivery.writers import CallWriter, ClientRuns, Fence, Writer
from pipelines.store.records import Record
from pipelines.store.tracking import children
from tests import stores


def test_results_of_a_dead_driver_get_through_to_a_store_that_refuses_now_and_then() -> None:
    class Flaky(ClientRuns):
        asked = 0

        def log(self, *args: Any) -> None:
            Flaky.asked += 1
            if Flaky.asked % 2:
                raise MlflowException("slow down", REQUEST_LIMIT_EXCEEDED)
            super().log(*args)

    store = stores.study(pace=Pace(gather=60.0))
    for number in range(5):
        store.add(Trial(number, {"rate": 0.5}, 1))
    stores.abandon(store)
    again = stores.reopen(store.run_id, make_writer=lambda c, e, r, k: CallWriter(Flaky(c), e, k))
    assert [trial.number for trial in again.load()] == [0, 1, 2, 3, 4]
    again.close()


@pytest.mark.timeout(60)
def test_closing_waits_for_nothing_when_the_store_hangs() -> None:
    release = threading.Event()

    class Hangs(ClientRuns):
        def create(self, *args: Any) -> str:
            release.wait(60)
            raise MlflowException("no answer", TEMPORARILY_UNAVAILABLE)

    store = stores.study(make_writer=lambda c, e, r, k: CallWriter(Hangs(c), e, k))
    store.add(Trial(0, {"rate": 0.5}, 1))
    store._run._lease._read = lambda: str(release.wait(60))
    began = time.monotonic()
    assert not store.close("KILLED", timeout=0.1)
    assert time.monotonic() - began < 5.0
    release.set()
    stores.bury(store)
    stores.reopen(store.run_id).close()


def test_the_end_removes_what_a_driver_wrote_that_had_lost_the_study() -> None:
    """Its request may have been on the way while the study was taken over."""
    store = stores.study(make_writer=stores.calls)
    store.add(Trial(0, {"rate": 0.5}, 1))
    client = stores.client()
    late = client.create_run(
        store.experiment_id,
        tags={**client.get_run(store.trial_run_id(0)).data.tags, "hpo.trial.reports": "[]"},
        start_time=1,
    )
    store.close("KILLED")
    runs = children(client, store.experiment_id, store.run_id)
    assert [run.info.run_id for run in runs] == [store.trial_run_id(0)]
    assert client.get_run(late.info.run_id).info.lifecycle_stage == "deleted"


@pytest.mark.parametrize("overtaken", [True, False])
def test_results_that_wait_on_disk_are_of_use_until_another_driver_runs_the_study(
    overtaken: bool, caplog: pytest.LogCaptureFixture
) -> None:
    store = stores.study(pace=Pace(gather=60.0))
    store.add(Trial(0, {"rate": 0.5}, 1))
    stores.abandon(store)
    if overtaken:  # with another cache directory: on another machine
        with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as cache:
            patch.setenv("HPO_CACHE_DIR", cache)
            stores.reopen(store.run_id).close()
    for _ in range(2):
        again = stores.reopen(store.run_id)
        assert len(again.load()) == (0 if overtaken else 1)
        again.close()
    assert ("are left out" in caplog.text) is overtaken


def test_results_that_wait_on_disk_survive_a_later_promotion() -> None:
    away = False

    def make(
        client: MlflowClient, experiment: str, run_id: str, known: MutableMapping[str, str]
    ) -> Writer:
        write = CallWriter(ClientRuns(client), experiment, known)

        def sometimes(records: Sequence[Record], fence: Fence) -> None:
            if away:
                raise Unreachable("away")
            write(records, fence)

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
