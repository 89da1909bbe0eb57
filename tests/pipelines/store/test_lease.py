"""The lease of a study: one driver at a time."""

import json
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from hpo.errors import StudyError, TakenError
from hpo.trial import Trial
from pipelines.store import lease
from pipelines.store.delivery.outbox import Unreachable
from pipelines.store.lease import FRESH, Driver, Heart, Lease
from pipelines.store.study_run import WriterMaker, journal_path
from pipelines.store.tracking import children
from tests import stores


def test_a_running_study_is_refused_on_the_same_machine() -> None:
    store = stores.study()
    with pytest.raises(StudyError, match="being run by another process"):
        stores.reopen(store.run_id)
    store.close()


def test_a_study_that_runs_elsewhere_is_refused_until_it_is_stale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = stores.study()
    store.close()
    here = Driver.myself()
    away = replace(here, host="far", machine="far", token="other")
    stores.client().set_tag(store.run_id, "hpo.driver", away.to_tag())
    with pytest.raises(StudyError, match=f"process {here.pid} on far since .* last seen"):
        stores.reopen(store.run_id)
    monkeypatch.setattr(lease, "WATCH", 0.0)
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


class Tag:
    """The tag of a study, in memory."""

    def __init__(self, value: str | None = None) -> None:
        self.value = value

    def read(self) -> str | None:
        return self.value

    def write(self, value: str) -> None:
        self.value = value

    def lease(self) -> Lease:
        return Lease("r", self.read, self.write)


AWAY = replace(Driver.myself(), host="far", machine="far", token="thief")


def test_of_two_takers_the_last_writer_wins() -> None:
    tag = Tag(replace(AWAY, seen=0.0).to_tag())

    def write_then_lose(value: str) -> None:
        tag.value = replace(AWAY, token="faster").to_tag()

    with pytest.raises(TakenError, match="another driver"):
        Lease("r", tag.read, write_then_lose).acquire(settle=0, watch=0)

    tag = Tag()
    mine = tag.lease()
    mine.acquire()
    mine.renew()
    tag.value = AWAY.to_tag()
    with pytest.raises(TakenError, match="another driver"):
        mine.renew()
    mine.release()
    assert json.loads(tag.value)["token"] == "thief"


@pytest.mark.parametrize("after", [AWAY.to_tag(), ""], ids=["runs", "has ended"])
def test_a_driver_that_lost_its_study_may_not_write(after: str) -> None:
    tag = Tag()
    mine = tag.lease()
    mine.acquire()
    mine.verify()
    tag.value = after
    mine.verify()  # read a moment ago
    mine._held_at -= FRESH
    with pytest.raises(TakenError, match="taken over by another driver.* writes nothing more"):
        mine.verify()
    with pytest.raises(TakenError, match="taken over by another driver"):
        mine.renew()
    assert tag.value == after


def test_a_driver_that_was_frozen_while_it_read_the_tag_reads_it_again() -> None:
    tag, now = Tag(), [0.0]

    def read_slowly() -> str | None:
        value = tag.value
        if now[0] == 100.0:  # the answer is on its way: the machine sleeps for an hour
            now[0], tag.value = 3700.0, AWAY.to_tag()
        return value

    mine = Lease("r", read_slowly, tag.write, clock=lambda: now[0])
    mine.acquire()
    mine.renew()
    for act in (mine.verify, mine.renew):
        now[0] = 100.0
        with pytest.raises(TakenError, match="taken over by another driver"):
            act()
        assert tag.value == AWAY.to_tag()
        tag.value = replace(mine._me).to_tag()


def test_a_driver_with_a_wrong_clock_is_alive_while_its_tag_changes() -> None:
    tag = Tag(replace(AWAY, seen=0.0).to_tag())

    def read_and_beat() -> str | None:
        value, tag.value = tag.value, replace(AWAY, seen=15.0).to_tag()
        return value

    with pytest.raises(TakenError, match="process .* on far"):
        Lease("r", read_and_beat, tag.write).acquire(watch=0.1)


def test_the_heart_beats_by_itself_until_the_study_is_lost() -> None:
    beats, lost = threading.Semaphore(0), threading.Event()
    errors: list[BaseException] = [Unreachable("no answer")]

    def renew() -> None:
        beats.release()
        if errors:
            raise errors.pop()

    heart = Heart(renew, lambda error: lost.set(), pause=0.01)
    for _ in range(3):
        assert beats.acquire(timeout=10)
    assert not lost.is_set()
    errors.append(TakenError("lost"))
    assert lost.wait(10)
    heart.stop()


def test_a_process_that_was_frozen_doubts_its_lease_until_it_is_renewed() -> None:
    now, renewing, renewed = [0.0], threading.Event(), threading.Event()

    def renew() -> None:
        renewing.set()
        assert renewed.wait(10)

    heart = Heart(renew, lambda error: None, pause=15.0, clock=lambda: now[0])
    assert not heart.was_frozen
    now[0] += 100.0
    assert heart.was_frozen
    assert renewing.wait(10)
    assert heart.was_frozen  # as long as the answer is on its way
    renewed.set()
    for _ in range(1000):
        if not heart.was_frozen:
            break
        time.sleep(0.01)
    assert not heart.was_frozen
    heart.stop()


@pytest.mark.parametrize("make_writer", [None, stores.calls])
def test_a_driver_that_was_frozen_takes_no_result_for_a_study_that_it_lost(
    make_writer: WriterMaker | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stores.study(make_writer=make_writer)
    monkeypatch.setattr(Heart, "was_frozen", True)
    store.add(Trial(0, {"rate": 0.5}, 1))
    stores.client().set_tag(store.run_id, "hpo.driver", AWAY.to_tag())
    store._run._lease._held_at -= FRESH
    with pytest.raises(TakenError, match="taken over by another driver"):
        store.add(Trial(1, {"rate": 0.5}, 1))
    with pytest.raises(TakenError):
        store.close()


@pytest.mark.parametrize("make_writer", [None, stores.calls])
@pytest.mark.parametrize("after", [AWAY.to_tag(), ""], ids=["runs", "has ended"])
def test_a_driver_that_wakes_up_after_another_took_its_study_changes_nothing(
    make_writer: WriterMaker | None, after: str
) -> None:
    store = stores.study(make_writer=make_writer)
    stores.client().set_tag(store.run_id, "hpo.driver", after)
    store.add(Trial(0, {"rate": 0.5}, 1))
    store.notes.annotate(tags={"note": "mine"})
    for write in (store.verify, lambda: store.notes.save_text("mine", "a.txt")):
        with pytest.raises(TakenError, match="taken over by another driver"):
            write()
    with pytest.raises(StudyError, match="taken over by another driver"):
        store.flush(30)
    with pytest.raises(StudyError, match="taken over by another driver"):
        store.close()
    tags = stores.client().get_run(store.run_id).data.tags
    assert tags.get("hpo.driver", "") == after
    assert "note" not in tags
    assert "a.txt" not in [f.path for f in stores.client().list_artifacts(store.run_id)]
    assert not journal_path(store.run_id).exists()
    assert not children(stores.client(), store.experiment_id, store.run_id)
    stores.client().set_tag(store.run_id, "hpo.driver", "")
    stores.reopen(store.run_id, make_writer=make_writer).close()
