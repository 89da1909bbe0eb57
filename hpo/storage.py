"""Where a study's trials are kept."""

from typing import Protocol

from hpo.trial import Trial


class Storage(Protocol):
    """The trials of one study. Writing returns at once; what was written is read back in order of the numbers."""

    def load(self) -> list[Trial]:
        """All trials that were granted, in order of their numbers."""
        ...

    def add(self, trial: Trial) -> None:
        """Keep a trial that has just been granted."""
        ...

    def update(self, trial: Trial) -> None:
        """Keep what has been told of a trial."""
        ...


class MemoryStorage:
    """Trials in this process, for tests and benchmarks."""

    def __init__(self) -> None:
        self._trials: dict[int, Trial] = {}

    def load(self) -> list[Trial]:
        """All trials, in order of their numbers."""
        return [self._trials[number] for number in sorted(self._trials)]

    def add(self, trial: Trial) -> None:
        """Keep a trial that has just been granted."""
        self._trials[trial.number] = trial

    def update(self, trial: Trial) -> None:
        """Keep what has been told of a trial."""
        self._trials[trial.number] = trial
