"""Reading a study and showing it, until it ends or its watcher has seen enough."""

import time
from collections.abc import Callable

from pipelines.store import schema
from pipelines.store.delivery.outbox import Unreachable
from pipelines.store.lease import WATCH, Driver
from pipelines.store.studies import Follower
from pipelines.study.watching.screen import Screen
from pipelines.study.watching.shown import Snapshot, Watched
from pipelines.study.watching.snapshot import Facts, snapshot

Sleep = Callable[[float], object]


def watch_study(follower: Follower, screen: Screen, every: float, sleep: Sleep) -> Watched:
    """Show a study until it ends, its driver is lost, or Ctrl-C.

    Args:
        follower: of the study.
        screen: where it is shown.
        every: seconds between two readings.
        sleep: waits so many seconds.

    Raises:
        StudyError: when the study is deleted meanwhile, or may not be read any more.
    """
    pulse = _Pulse()
    shown = _snapshot(follower)
    try:
        with screen:
            screen.show(shown, "reading its trials")
            while True:
                note = _read(follower)
                shown = _snapshot(follower)
                screen.show(shown, note)
                if follower.is_over and not note:
                    return Watched(follower.run_id, _whole(follower))
                if pulse.is_lost(follower.tags.get(schema.DRIVER), time.monotonic(), not note):
                    return Watched(follower.run_id, shown, lost=True)
                sleep(every)
    except KeyboardInterrupt:
        return Watched(follower.run_id, shown, stopped=True)


def _read(follower: Follower) -> str:
    """Read what is new; what is wrong if the store does not answer."""
    try:
        follower.refresh()
    except Unreachable as error:
        return f"MLflow does not answer, so this is what was known before: {error}"
    return ""


def _whole(follower: Follower) -> Snapshot:
    """The snapshot of a study that has ended, with all its trials."""
    if not follower.is_whole:
        follower.start_over()
        _read(follower)
    return _snapshot(follower)


def _snapshot(follower: Follower) -> Snapshot:
    facts = Facts(follower.name, follower.header, follower.status, follower.tags, follower.trials)
    return snapshot(facts, time.time())


class _Pulse:
    """Whether the driver of a study still lives: its tag says so, or changes."""

    def __init__(self) -> None:
        self._tag: str | None = None
        self._changed: float | None = None

    def is_lost(self, tag: str | None, now: float, is_read: bool) -> bool:
        """Whether the driver has been dead for `WATCH` seconds.

        Args:
            tag: of the driver.
            now: on a clock of this process.
            is_read: whether the tag was read just now.
        """
        driver = Driver.from_tag(tag)
        lives = driver is not None and driver.alive(time.time())
        if self._changed is None or tag != self._tag or lives or not is_read:
            self._tag, self._changed = tag, now
        return now - self._changed > WATCH
