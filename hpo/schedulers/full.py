"""Every trial gets the full budget at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from hpo.schedulers import Sample
from hpo.trial import Trial


@dataclass(frozen=True)
class Full:
    """Grant each new configuration the whole `budget`."""

    budget: float

    def next(self, trials: Sequence[Trial]) -> Sample:
        """Always a new configuration."""
        return Sample(self.budget)
