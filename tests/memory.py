"""A study's store in memory that a test can inspect."""

from collections.abc import Mapping

from hpo.storage import MemoryStorage
from pipelines.store.schema import Confirmed


class MemoryNotes:
    """Notes on a study, as attributes."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        self.tags: dict[str, str] = {}
        self.baselines: dict[str, Mapping[str, float]] = {}
        self.texts: dict[str, str] = {}
        self.winner: int | None = None
        self.scores: dict[int, Confirmed] = {}

    def tag(self, name: str) -> str | None:
        return self.tags.get(name)

    def annotate(
        self,
        *,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        texts: Mapping[str, str] | None = None,
        step: int = 0,
        trial: int | None = None,
    ) -> None:
        if trial is None:
            self.texts |= texts or {}
            self.metrics |= metrics or {}
            self.tags |= tags or {}

    def add_baseline(
        self, name: str, metrics: Mapping[str, float], *, seconds: float = 0.0
    ) -> None:
        self.baselines.setdefault(name, metrics)

    def confirmed(self, number: int) -> Confirmed | None:
        return self.scores.get(number)

    def add_confirmed(self, number: int, confirmed: Confirmed, part: int | None = None) -> None:
        self.scores[number] = confirmed

    def save_text(self, text: str, name: str) -> None:
        self.texts[name] = text

    def set_winner(self, number: int) -> None:
        self.winner = number

    def save_view(self) -> str | None:
        return None


class MemoryStore(MemoryStorage):
    """Trials in memory; `reachable` says whether writes arrive."""

    run_id = "the-study"
    tracking_uri = "sqlite:///x.db"
    waiting = 3

    def __init__(self, reachable: bool = True) -> None:
        super().__init__()
        self.reachable = reachable
        self.closed: list[object] = []
        self.notes = MemoryNotes()

    def verify(self) -> None:
        pass

    def trial_run_id(self, number: int) -> str:
        return f"run-of-trial-{number}"

    def flush(self, timeout: float | None = None) -> bool:
        return self.reachable

    def close(
        self,
        status: str,
        reason: str | None = None,
        *,
        complete: bool = False,
        timeout: float | None = None,
    ) -> bool:
        self.closed += [status, reason]
        return True
