"""Every trial gets the full budget at once."""

from dataclasses import dataclass

from hpo.schedulers import Sample
from hpo.standings import Standings


@dataclass(frozen=True)
class Full:
    """Grant each new configuration the whole `budget`."""

    budget: float

    @property
    def rungs(self) -> tuple[float, ...]:
        """Just the one budget."""
        return (self.budget,)

    @property
    def cost(self) -> float:
        """One full training."""
        return 1.0

    def next(self, standings: Standings, *, closing: bool) -> Sample | None:
        """A new configuration, as long as there may be one."""
        return None if closing else Sample(self.budget)

    def promotable(self, standings: Standings, most: int) -> dict[float, list[int]]:
        """None ever is."""
        return {}
