from pipelines.store.delivery.pending import Pending
from pipelines.store.records import Record


def record(key: str, **tags: str) -> Record:
    return Record(key, tags=tags)


def test_records_of_one_run_are_merged_and_keep_its_place() -> None:
    pending = Pending(10)
    for each in (record("a", x="1"), record("b"), record("a", x="2", y="3")):
        pending.add(each)
    assert pending.waiting == [record("a", x="2", y="3"), record("b")]
    assert len(pending) == 2


def test_what_was_not_written_waits_again_before_later_records() -> None:
    pending = Pending(10)
    for key in "abc":
        pending.add(record(key, x="1"))
    assert [each.key for each in pending.take()] == ["a", "b", "c"]
    for each in (record("d"), record("c", x="2"), record("b", x="2")):
        pending.add(each)
    assert len(pending) == 4
    pending.put_back({"b"})
    expected = [record("a", x="1"), record("c", x="2"), record("d"), record("b", x="2")]
    assert pending.waiting == expected


def test_delivered_records_are_forgotten() -> None:
    pending = Pending(10)
    pending.add(record("a"))
    pending.take()
    pending.add(record("b"))
    pending.delivered()
    assert len(pending) == 1
    assert pending.take() == [record("b")]
    pending.delivered()
    assert not pending


def test_a_full_queue_has_room_for_records_of_its_runs_alone() -> None:
    pending = Pending(2)
    pending.add(record("a"))
    assert pending.has_room()
    pending.add(record("b"))
    assert not pending.has_room()
    assert not pending.has_room("c")
    assert pending.has_room("a")
    pending.take()
    assert pending.has_room("c")
