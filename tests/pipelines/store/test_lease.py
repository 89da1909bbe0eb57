"""The lease of a study: one driver at a time."""

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from hpo.errors import StudyError
from pipelines.store.lease import Driver, Lease
from tests import stores


def test_a_running_study_is_refused_on_the_same_machine() -> None:
    store = stores.study()
    with pytest.raises(StudyError, match="being run by another process"):
        stores.reopen(store.run_id)
    store.close()


def test_a_study_that_runs_elsewhere_is_refused_until_it_is_stale() -> None:
    store = stores.study()
    store.close()
    here = Driver.myself()
    away = replace(here, host="far", machine="far", token="other")
    stores.client().set_tag(store.run_id, "hpo.driver", away.to_tag())
    with pytest.raises(StudyError, match=f"process {here.pid} on far since .* last seen"):
        stores.reopen(store.run_id)
    stores.client().set_tag(store.run_id, "hpo.driver", replace(away, seen=away.seen - 61).to_tag())
    stores.reopen(store.run_id).close()


def test_a_dead_process_of_this_machine_is_no_driver() -> None:
    store = stores.study()
    store.close()
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    dead = replace(Driver.myself(), pid=child.pid)
    stores.client().set_tag(store.run_id, "hpo.driver", dead.to_tag())
    stores.reopen(store.run_id).close()


def test_of_two_takers_the_last_writer_wins() -> None:
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
