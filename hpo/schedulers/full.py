"""Every trial is granted the full budget at once."""

from dataclasses import dataclass

from hpo.schedulers import Sample
from hpo.standings import Standings


@dataclass(frozen=True)
class Full:
    """Grants each new configuration the whole `budget`."""

    budget: float

    @property
    def rungs(self) -> tuple[float, ...]:
        """The one budget."""
        return (self.budget,)

    @property
    def reaching(self) -> tuple[float, ...]:
        """All reach the one rung."""
        return (1.0,)

    @property
    def costs(self) -> tuple[float, ...]:
        """One full training."""
        return (1.0,)

    @property
    def cost(self) -> float:
        """One full training."""
        return 1.0

    def next(self, standings: Standings, *, closing: bool) -> Sample | None:
        """A new configuration, unless no more may start."""
        return None if closing else Sample(self.budget)

    def promotable(self, standings: Standings, limit: int) -> dict[float, list[int]]:
        """No trial is ever promoted."""
        return {}
