"""The records of an outbox that MLflow does not have yet."""

from collections.abc import Collection

from pipelines.store.records import Record


class Pending:
    """Records that wait, and those that are being written; at most one of each for a run.

    Not thread-safe: the outbox holds its lock.

    Args:
        max_waiting: when so many runs wait, there is no room for another.
    """

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._waiting: dict[str, Record] = {}
        self._in_flight: dict[str, Record] = {}

    def __len__(self) -> int:
        """The number of runs."""
        return len(self._waiting.keys() | self._in_flight.keys())

    @property
    def waiting(self) -> list[Record]:
        """Those that wait, in the order in which their runs first appeared."""
        return list(self._waiting.values())

    @property
    def n_waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def has_room(self, key: str | None = None) -> bool:
        """Whether a record may be added, such as one of the run with this key."""
        return self.n_waiting < self._max_waiting or key in self._waiting

    def add(self, record: Record) -> None:
        """Let a record wait, merged with the one of its run that already does."""
        before = self._waiting.get(record.key)
        self._waiting[record.key] = before.then(record) if before else record

    def take(self) -> list[Record]:
        """All that wait; they are in flight until `delivered` or `put_back`."""
        self._in_flight, self._waiting = self._waiting, {}
        return list(self._in_flight.values())

    def put_back(self, written: Collection[str]) -> None:
        """Let those in flight wait again, first in the queue, but those with these keys."""
        left = {key: each for key, each in self._in_flight.items() if key not in written}
        later, self._waiting, self._in_flight = self._waiting, left, {}
        for record in later.values():
            self.add(record)

    def delivered(self) -> None:
        """Forget those in flight."""
        self._in_flight = {}
