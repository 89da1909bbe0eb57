"""Remote pools: what the dispatcher does when hosts come, answer and go; no cluster is needed."""

import os
import pickle
import secrets
import socket
import tempfile
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from hpo.errors import JobError, PoolBroken, TimeLimitExceeded, WorkerDied
from hpo.workers.remote import dispatcher
from hpo.workers.remote.dial import Line, Switchboard
from hpo.workers.remote.fleet import Answered, Event, Lost, Order, Shelf, Up
from hpo.workers.remote.folder import PREFIX, NodeFolder, sweep, write_files
from hpo.workers.remote.host import Answer
from hpo.workers.remote.pool import RemotePool
from tests.hpo.workers.pools import eventually, outcome


class FakeFleet:
    """Hosts that a test moves."""

    def __init__(self, events: "SimpleQueue[Event]", wanted: int) -> None:
        self.events = events
        self.wanted = wanted
        self.starts: list[int] = []
        self.orders: dict[int, Order] = {}
        self.stopped: list[int] = []
        self.ended: set[int] | None = None
        self.come_up = True

    def missing(self, present: int) -> int:
        return max(self.wanted - present, 0)

    def start(self, serials: Sequence[int]) -> None:
        self.starts += serials
        for serial in serials:
            self.events.put(Up(serial, f"node-{serial}") if self.come_up else Lost(serial, "ill"))

    def send(self, serial: int, order: Order) -> None:
        self.orders[serial] = order

    def stop(self, serial: int) -> None:
        self.stopped.append(serial)

    def end(self, busy: Collection[int]) -> None:
        self.ended = set(busy)

    def waiting_for(self) -> str:
        return "a node"

    def answer(self, serial: int, answer: Answer) -> None:
        del self.orders[serial]
        self.events.put(Answered(serial, answer))

    def lose(self, serial: int) -> None:
        del self.orders[serial]
        self.events.put(Lost(serial, "its node has left"))


class Pooled:
    """A pool with a fake fleet."""

    def __init__(self, wanted: int = 1) -> None:
        self.fleet: FakeFleet
        self.shelf = Shelf()

        def make(events: "SimpleQueue[Event]") -> FakeFleet:
            self.fleet = FakeFleet(events, wanted)
            return self.fleet

        self.pool: RemotePool[Any, Any] = RemotePool(make, self.shelf)

    def runs(self, job: Any) -> int:
        """The host that has a job, once one has it."""
        body = pickle.dumps(job, pickle.HIGHEST_PROTOCOL)
        found: list[int] = []

        def sent() -> bool:
            found[:] = [s for s, order in dict(self.fleet.orders).items() if order.job == body]
            return bool(found)

        assert eventually(sent, 20)
        return found[0]


@pytest.fixture
def one(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pooled]:
    for name, seconds in (("_LOOK", 0.01), ("_BACK_OFF", 0.001), ("_SILENCE", 0.05)):
        monkeypatch.setattr(dispatcher, name, seconds)
    made = Pooled()
    yield made
    made.pool.shutdown(now=True)


def good(value: Any) -> Answer:
    return Answer("", pickle.dumps(value))


def test_a_job_of_a_lost_host_runs_on_another_one(one: Pooled) -> None:
    future = one.pool.submit("job")
    first = one.runs("job")
    one.fleet.lose(first)
    second = one.runs("job")
    assert second != first
    one.fleet.answer(second, good("done"))
    assert outcome(future) == "done"


def test_what_a_host_collects_comes_with_the_end_of_its_job(one: Pooled) -> None:
    failing, lost = one.pool.submit("fails"), one.pool.submit("is lost")
    answer = Answer("JobError", ("ValueError", "x", "trace"), collected="words")
    one.fleet.answer(one.runs("fails"), answer)
    assert isinstance(outcome(failing), JobError)
    assert one.pool.collected(failing) == "words"
    for _ in range(3):
        one.fleet.lose(one.runs("is lost"))
    assert isinstance(outcome(lost), WorkerDied)
    assert one.pool.collected(lost) is None


def test_a_job_that_loses_every_host_fails(one: Pooled) -> None:
    future = one.pool.submit("job")
    for _ in range(3):
        one.fleet.lose(one.runs("job"))
    error = outcome(future)
    assert isinstance(error, WorkerDied)
    assert str(error) == "3 workers were lost while they ran it, the last: its node has left"
    again = one.pool.submit("next")
    one.fleet.answer(one.runs("next"), good(1))
    assert outcome(again) == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer("JobError", ("ValueError", "x", "trace")), JobError),
        (Answer("TimeLimitExceeded", ("slow",)), TimeLimitExceeded),
        (Answer("WorkerDied", ("killed",)), WorkerDied),
        (Answer("", b"no pickle"), JobError),
    ],
)
def test_a_job_that_fails_keeps_its_host(
    one: Pooled, answer: Answer, kind: type[Exception]
) -> None:
    future = one.pool.submit("job")
    one.fleet.answer(one.runs("job"), answer)
    assert isinstance(outcome(future), kind)
    assert eventually(lambda: one.pool.free == 1)
    assert one.fleet.starts == [1]


def test_a_host_that_does_not_end_its_job_is_given_up(one: Pooled) -> None:
    future = one.pool.submit("job", 0.01)
    first = one.runs("job")
    assert isinstance(outcome(future), TimeLimitExceeded)
    assert one.fleet.stopped == [first]
    assert eventually(lambda: one.pool.size == 1)


def test_the_pool_breaks_when_no_host_comes_up(one: Pooled) -> None:
    one.fleet.come_up = False
    future = one.pool.submit("job")
    one.fleet.lose(one.runs("job"))
    error = outcome(future)
    assert isinstance(error, PoolBroken)
    assert str(error) == "no worker of the cluster came up: ill"
    assert one.pool.free == 1  # so that the loop submits, and is told
    with pytest.raises(PoolBroken, match="came up: ill"):
        one.pool.submit("next")


def test_a_host_whose_worker_cannot_start_breaks_a_new_pool(one: Pooled) -> None:
    future = one.pool.submit("job")
    one.fleet.answer(one.runs("job"), Answer("PoolBroken", ("no lightgbm here",)))
    assert isinstance(outcome(future), PoolBroken)


def test_a_host_whose_worker_cannot_start_costs_a_proved_pool_nothing(one: Pooled) -> None:
    one.fleet.wanted = 2
    assert eventually(lambda: one.pool.size == 2)
    first, second = one.pool.submit("first"), one.pool.submit("second")
    one.fleet.answer(one.runs("first"), good(1))
    assert outcome(first) == 1
    one.fleet.answer(one.runs("second"), Answer("PoolBroken", ("no lightgbm here",)))
    one.fleet.answer(one.runs("second"), good(2))
    assert outcome(second) == 2


def test_places_follow_the_cluster(one: Pooled) -> None:
    assert eventually(lambda: one.pool.free == 1)
    one.fleet.wanted = 3
    assert eventually(lambda: one.pool.free == 3)
    futures = [one.pool.submit(number) for number in range(3)]
    assert one.pool.free == 0
    one.fleet.wanted = 2
    one.fleet.lose(one.runs(0))
    assert eventually(lambda: one.pool.size == 2)
    for number in (1, 2, 0):
        one.fleet.answer(one.runs(number), good(number))
    assert [outcome(future) for future in futures] == [0, 1, 2]


def test_a_host_that_the_cluster_starts_again_is_taken_back(one: Pooled) -> None:
    assert eventually(lambda: one.pool.size == 1)
    one.fleet.wanted = 0
    one.fleet.events.put(Lost(1, "preempted"))
    assert eventually(lambda: one.pool.size == 0)
    one.fleet.events.put(Up(1, "another node"))
    assert eventually(lambda: one.pool.free == 1)


def test_each_host_gets_shared_content_once(one: Pooled, tmp_path: Path) -> None:
    one.shelf.folders["folds"] = tmp_path
    for job, expected in (("a", {"folds": tmp_path}), ("b", {})):
        future = one.pool.submit(job)
        host = one.runs(job)
        assert one.fleet.orders[host].shared == expected
        one.fleet.answer(host, good(job))
        assert outcome(future) == job


def test_shutdown_now_cancels_and_ends_the_fleet(one: Pooled) -> None:
    running, waiting = one.pool.submit("a"), one.pool.submit("b")
    host = one.runs("a")
    one.pool.shutdown(now=True)
    assert one.fleet.ended == {host}
    assert isinstance(running.exception(timeout=0), CancelledError)
    assert waiting.cancelled()


def test_the_hosts_of_one_machine_share_a_folder_that_the_last_one_deletes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    session = secrets.token_hex(8)
    first, second = NodeFolder(session), NodeFolder(session)
    first.receive("models/a", {"deep/x": b"1"})
    second.receive("models/a", {"deep/x": b"2"})
    assert second.has("models/a")
    assert (second.shared / "models/a/deep/x").read_bytes() == b"1"
    assert first.root.stat().st_mode & 0o077 == 0
    first.close()
    assert second.has("models/a")
    second.close()
    assert list(tmp_path.iterdir()) == []


def test_folders_of_killed_hosts_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    used = NodeFolder("a" * 16)
    left = tmp_path / f"{PREFIX}{'b' * 16}"
    left.mkdir()
    (left / "in-use").touch()
    for folder in (used.root, left):
        os.utime(folder, (0, 0))
    sweep()
    assert list(tmp_path.iterdir()) == [used.root]
    used.close()


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/../../x"])
def test_content_stays_in_its_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leads out"):
        write_files(tmp_path, {name: b""})


def test_who_has_another_key_is_not_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hpo.workers.remote import dial

    monkeypatch.setattr(dial, "_RETRY", 1.0)
    events: SimpleQueue[Event] = SimpleQueue()
    board = Switchboard(events, "127.0.0.1")
    (tmp_path / "ours").write_bytes(board.key)
    (tmp_path / "theirs").write_bytes(b"guessed")
    with pytest.raises(ConnectionError, match="does not answer"):
        Line(["127.0.0.1"], board.port, tmp_path / "theirs").dial()
    with socket.create_connection(("127.0.0.1", board.port)) as silent:  # holds up nobody
        silent.send(b"\x00")
        with Line(["127.0.0.1"], board.port, tmp_path / "ours").dial() as line:
            line.send(Up(7, "here"))
            assert events.get(timeout=20) == Up(7, "here")
    assert events.get(timeout=20) == Lost(7, "its connection has ended")
    board.close()
