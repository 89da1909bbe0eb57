"""Schedulers decide what runs next; a decision is a value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hpo.trial import Trial


@dataclass(frozen=True)
class Sample:
    """Start a new configuration and train it up to `budget`."""

    budget: float


class Scheduler(Protocol):
    """Frozen settings; the answer is a function of the trials."""

    def next(self, trials: Sequence[Trial]) -> Sample | None:
        """The next leg to run, or None when nothing can start before another result is in."""
        ...
