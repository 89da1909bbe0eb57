"""MLflow's tracking store: reading, writing, and the protocols that a running study uses."""

from collections.abc import Mapping
from typing import Protocol

from hpo.storage import Storage
from pipelines.store.schema import Confirmed


class StudyNotes(Protocol):
    """Notes on a study beside its trials. Writing returns at once."""

    def tag(self, name: str) -> str | None:
        """A tag of the study when this session began."""
        ...

    def annotate(
        self,
        *,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        texts: Mapping[str, str] | None = None,
        step: int = 0,
        trial: int | None = None,
    ) -> None:
        """Add metrics, tags and texts as artifacts to the study, or to one of its trials."""
        ...

    def add_baseline(
        self, name: str, metrics: Mapping[str, float], *, seconds: float = 0.0
    ) -> None:
        """Store a baseline once; a second one of the same name is ignored."""
        ...

    def confirmed(self, number: int) -> Confirmed | None:
        """The scores of a trial on repeated folds, as far as they exist."""
        ...

    def add_confirmed(self, number: int, confirmed: Confirmed, part: int | None = None) -> None:
        """Store the scores of a trial on repeated folds; the score of `part` is new."""
        ...

    def save_text(self, text: str, name: str) -> None:
        """Store a text as an artifact."""
        ...

    def set_winner(self, number: int) -> None:
        """Store which trial won."""
        ...

    def save_view(self) -> str | None:
        """Save a view of the study in the UI and return its link; None without one."""
        ...


class StudyStore(Storage, Protocol):
    """The storage of a running study: its trials, its notes, and how it ends."""

    @property
    def run_id(self) -> str:
        """The id of the study."""
        ...

    @property
    def tracking_uri(self) -> str:
        """Where the study is stored."""
        ...

    @property
    def notes(self) -> StudyNotes:
        """Notes beside the trials."""
        ...

    @property
    def waiting(self) -> int:
        """How many runs are not written yet."""
        ...

    def verify(self) -> None:
        """Raise `TakenError` when another driver has the study: nothing may be written then."""
        ...

    def trial_run_id(self, number: int) -> str:
        """The run id of a trial."""
        ...

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything is written; False after `timeout` seconds."""
        ...

    def close(
        self,
        status: str,
        reason: str | None = None,
        *,
        complete: bool = False,
        timeout: float | None = None,
    ) -> bool:
        """End the study; False when something is not written yet."""
        ...
