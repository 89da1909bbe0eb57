"""What races over rungs share, whether or not they wait for each other."""

from dataclasses import dataclass

from hpo import rungs as arithmetic
from hpo.rungs import Bracket


@dataclass(frozen=True)
class Race:
    """Configurations that race in brackets.

    Attributes:
        rungs: the budgets at which trials may stop, ascending.
        eta: the factor between rungs.
        brackets: where configurations start, and how many.
    """

    rungs: tuple[float, ...]
    eta: float
    brackets: tuple[Bracket, ...]

    @property
    def reaching(self) -> tuple[float, ...]:
        """The share of the configurations that reach each rung."""
        return arithmetic.reaching(len(self.rungs), self.brackets)

    @property
    def costs(self) -> tuple[float, ...]:
        """The mean cost of a configuration at each rung, in full trainings."""
        return arithmetic.costs(self.rungs, self.brackets)

    @property
    def cost(self) -> float:
        """The mean cost of a configuration, in full trainings."""
        return sum(self.costs)
