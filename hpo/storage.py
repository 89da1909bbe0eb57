"""Storages: where the trials of a study are saved."""

from typing import Protocol

from hpo.trial import Trial


class Storage(Protocol):
    """The trials of one study.

    `add` and `update` return at once; a storage may write later. `load` returns what was written.
    """

    def load(self) -> list[Trial]:
        """All trials that were granted, in order of their numbers."""
        ...

    def add(self, trial: Trial) -> None:
        """Save a trial that has just been granted."""
        ...

    def update(self, trial: Trial) -> None:
        """Save a trial whose budget or outcome has changed."""
        ...


class MemoryStorage:
    """Trials in this process, for tests and benchmarks."""

    def __init__(self) -> None:
        self._trials: dict[int, Trial] = {}

    def load(self) -> list[Trial]:
        """All trials, in order of their numbers."""
        return [self._trials[number] for number in sorted(self._trials)]

    def add(self, trial: Trial) -> None:
        """Save a trial that has just been granted."""
        self._trials[trial.number] = trial

    def update(self, trial: Trial) -> None:
        """Save a trial whose budget or outcome has changed."""
        self._trials[trial.number] = trial
