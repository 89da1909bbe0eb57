import errno
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from hpo.errors import StudyError
from pipelines.files.cache import cache_dir
from pipelines.store.delivery.journal import Journal
from pipelines.store.delivery.outbox import Outbox, Pace, Unreachable
from pipelines.store.records import Record

QUICK = Pace(gather=0.0, beat=60.0, retry=0.005, max_retry=0.02)


class Store:
    """Collects what it is given, and answers only while `answers` is set."""

    def __init__(self) -> None:
        self.batches: list[list[Record]] = []
        self.answers = threading.Event()
        self.answers.set()
        self.asked = threading.Event()
        self.error: BaseException | None = None

    def __call__(self, records: Sequence[Record]) -> None:
        self.asked.set()
        if self.error is not None:
            raise self.error
        if not self.answers.is_set():
            raise Unreachable("no answer")
        self.batches.append(list(records))

    @property
    def written(self) -> list[Record]:
        return [record for batch in self.batches for record in batch]


def record(key: str, **tags: str) -> Record:
    return Record(key, tags=tags, mark=("n", key))


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "deep" / "study.jsonl")


def test_records_arrive_in_order_and_the_journal_is_emptied(journal: Journal) -> None:
    store = Store()
    outbox = Outbox(journal, store, pace=QUICK)
    for i in range(50):
        outbox.put(record(f"t{i}"))
    assert outbox.flush(10)
    assert [r.key for r in store.written] == [f"t{i}" for i in range(50)]
    assert journal.size() == 0
    assert outbox.waiting == 0
    assert outbox.close(10)
    assert not journal.path.exists()


def test_records_of_a_run_that_wait_together_are_merged(journal: Journal) -> None:
    store = Store()
    outbox = Outbox(journal, store, pace=Pace(gather=60.0))
    outbox.put(
        Record("a", "name", {"x": "1"}, {"p": "1"}, (("m", 1.0, 5, 1),), ("n", "0"), "RUNNING", 5)
    )
    outbox.put(record("b"))
    outbox.put(Record("a", tags={"x": "2"}, metrics=(("m", 2.0, 6, 2),), status="FINISHED", end=9))
    assert outbox.flush(10)
    merged = Record(
        "a",
        "name",
        {"x": "2"},
        {"p": "1"},
        (("m", 1.0, 5, 1), ("m", 2.0, 6, 2)),
        ("n", "0"),
        "FINISHED",
        5,
        9,
    )
    assert store.written == [merged, record("b")]
    outbox.close()


def test_a_store_that_is_away_delays_nothing_but_the_log(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store()
    store.answers.clear()
    outbox = Outbox(journal, store, pace=QUICK)
    outbox.put(record("a"))
    assert store.asked.wait(10)
    for i in range(100):
        outbox.put(record(f"t{i}"))
    outbox.put(record("a", late="yes"))
    assert not outbox.flush(0.05)
    assert [r.key for r in journal.read()] == ["a", *(f"t{i}" for i in range(100)), "a"]
    store.answers.set()
    assert outbox.flush(10)
    assert [r.key for r in store.written] == ["a", *(f"t{i}" for i in range(100))]
    assert store.written[0].tags == {"late": "yes"}
    words = [r.getMessage() for r in caplog.records]
    assert len([w for w in words if "does not answer (no answer)" in w]) == 1
    assert len([w for w in words if "answers again" in w]) == 1
    outbox.close()


def test_a_full_outbox_pauses_its_driver_with_a_word(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store()
    store.answers.clear()
    outbox = Outbox(journal, store, pace=QUICK, max_waiting=3)
    done = threading.Event()

    def drive() -> None:
        for i in range(10):
            outbox.put(record(f"t{i}"))
        done.set()

    driver = threading.Thread(target=drive)
    driver.start()
    assert not done.wait(0.2)
    assert outbox.waiting <= 7  # three wait, and at most those that were taken with them
    store.answers.set()
    assert done.wait(10)
    driver.join()
    assert outbox.flush(10)
    assert [r.key for r in store.written] == [f"t{i}" for i in range(10)]
    assert "MLflow is behind" in caplog.text
    outbox.close()


def test_what_cannot_heal_reaches_the_driver_and_stays_in_the_journal(journal: Journal) -> None:
    store = Store()
    store.error = StudyError("the experiment was deleted")
    outbox = Outbox(journal, store, pace=QUICK)
    outbox.put(record("a"))
    with pytest.raises(StudyError, match=r"experiment was deleted.*study\.jsonl"):
        outbox.flush(10)
    with pytest.raises(StudyError, match="experiment was deleted"):
        outbox.put(record("b"))
    with pytest.raises(StudyError, match="experiment was deleted"):
        outbox.close()
    again = Journal(journal.path)
    assert again.read() == [record("a")]
    again.close()


def test_a_full_disk_ends_the_study_and_loses_nothing(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store()
    outbox = Outbox(journal, store, pace=QUICK)
    outbox.put(record("a"))
    assert outbox.flush(10)

    def half(descriptor: int, data: bytes) -> int:
        if len(data) < 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[: len(data) // 2])

    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", half)
        with pytest.raises(StudyError, match=r"study\.jsonl \(No space left.*set HPO_CACHE_DIR"):
            outbox.put(record("b"))
        assert journal.read() == []  # and not half a record
        outbox.put(record("end"))  # how the study ends goes straight to MLflow
    assert outbox.close(10)
    assert [r.key for r in store.written] == ["a", "b", "end"]


def test_a_journal_that_cannot_be_flushed_or_rewritten_stops_nothing(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    store = Store()
    store.answers.clear()
    monkeypatch.setattr("pipelines.store.delivery.outbox.COMPACT_BYTES", 0)
    monkeypatch.setattr(journal, "sync", refuse)
    monkeypatch.setattr(journal, "rewrite", refuse)
    outbox = Outbox(journal, store, pace=QUICK)
    outbox.put(record("a"))
    assert store.asked.wait(10)
    outbox.put(record("b"))
    store.answers.set()
    assert outbox.close(10)
    assert [r.key for r in store.written] == ["a", "b"]


def test_closing_while_the_store_is_away_keeps_everything(journal: Journal) -> None:
    store = Store()
    store.answers.clear()
    outbox = Outbox(journal, store, pace=QUICK)
    outbox.put(record("a"))
    assert outbox.close(0.05) is False
    again = Journal(journal.path)
    assert again.read() == [record("a")]
    again.close()


def test_what_got_through_is_not_sent_again(journal: Journal) -> None:
    sent: list[str] = []

    def write(records: Sequence[Record]) -> None:
        """Takes two records a call, and refuses the third."""
        sent.extend(r.key for r in records[:2])
        if len(records) > 2:
            raise Unreachable("slow down", frozenset(r.key for r in records[:2]))

    held = threading.Event()

    def first_waits(records: Sequence[Record]) -> None:
        held.wait(10)
        write(records)

    outbox = Outbox(journal, first_waits, pace=QUICK)
    for i in range(21):
        outbox.put(record(f"t{i}"))
    held.set()
    assert outbox.flush(10)
    assert sorted(sent) == sorted(f"t{i}" for i in range(21))
    assert outbox.close(10)


def test_a_failure_from_outside_stops_the_writer(journal: Journal) -> None:
    outbox = Outbox(journal, Store(), pace=QUICK)
    outbox.fail(StudyError("another driver has the study"))
    outbox._thread.join(10)
    assert not outbox._thread.is_alive()
    with pytest.raises(StudyError, match="another driver"):
        outbox.put(record("a"))
    with pytest.raises(StudyError, match="another driver"):
        outbox.close()


def test_a_torn_line_never_happened(tmp_path: Path) -> None:
    path = tmp_path / "study.jsonl"
    whole, torn = record("a", word="ü\n").to_json(), record("b").to_json()
    path.write_text(f"{whole}\n{torn[:-5]}")
    journal = Journal(path)
    assert journal.read() == [record("a", word="ü\n")]
    journal.close()


def test_a_journal_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    path = tmp_path / "study.jsonl"
    path.write_text('{"key": 1}\n')
    journal = Journal(path)
    with pytest.raises(StudyError, match=r"line 1 of .*study\.jsonl"):
        journal.read()
    journal.close()


def test_records_are_signed_by_their_drivers(tmp_path: Path) -> None:
    path = tmp_path / "study.jsonl"
    journal = Journal(path)
    journal.sign("first")
    assert journal.size() == 0
    journal.append(record("a"))
    journal.append(record("b"))
    journal.sign("second")
    assert sorted(journal.signed_by()) == ["first", "second"]
    assert journal.read() == [record("a"), record("b")]
    journal.rewrite([record("b")])
    assert [*journal.signed_by(), *journal.read()] == ["second", record("b")]
    journal.clear()
    assert not journal.signed_by()
    journal.append(record("c"))
    assert [*journal.signed_by(), *journal.read()] == ["second", record("c")]
    journal.close()


def test_only_one_process_holds_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "study.jsonl"
    first = Journal(path)
    with pytest.raises(StudyError, match="study study is being run by another process"):
        Journal(path)
    first.append(record("a"))
    first.close()
    second = Journal(path)
    assert second.read() == [record("a")]
    second.clear()
    second.close()
    assert list(tmp_path.iterdir()) == []


def test_a_long_journal_is_rewritten_with_what_waits(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.store.delivery.outbox.COMPACT_BYTES", 1000)
    release, entered = threading.Event(), threading.Event()

    def slow(records: Sequence[Record]) -> None:
        entered.set()
        assert release.wait(10)

    outbox = Outbox(journal, slow, pace=QUICK)
    for i in range(40):
        outbox.put(record(f"t{i}"))
        if i == 0:
            assert entered.wait(10)
    entered.clear()
    assert outbox.waiting > 1
    release.set()
    assert outbox.flush(10)
    journal_after = journal.size()
    assert journal_after == 0
    outbox.put(record("late"))
    assert outbox.close(10)


def test_rewriting_keeps_the_lock_and_the_file(journal: Journal) -> None:
    journal.append(record("a"))
    journal.rewrite([record("b")])
    journal.append(record("c"))
    assert [r.key for r in journal.read()] == ["b", "c"]
    with pytest.raises(StudyError, match="another process"):
        Journal(journal.path)
    journal.close()


def test_where_journals_live(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "x"))
    assert cache_dir() == tmp_path / "x"
    monkeypatch.delenv("HPO_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "mlflow-warmstart"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "mlflow-warmstart"


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="set HPO_CACHE_DIR"):
        Journal(tmp_path / "file" / "study.jsonl")


def test_putting_is_quick_while_the_writer_hangs(journal: Journal) -> None:
    release = threading.Event()

    def hang(records: Sequence[Record]) -> None:
        assert release.wait(10)

    outbox = Outbox(journal, hang, pace=QUICK)
    outbox.put(record("a"))
    for i in range(1000):
        outbox.put(record(f"t{i}"))
    assert not release.is_set()  # the writer never came back meanwhile
    release.set()
    assert outbox.close(10)
