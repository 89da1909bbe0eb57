"""Asynchronous races: a trial is promoted as soon as it is among the best 1/eta of its rung.

Li et al. (2020), "A system for massively parallel hyperparameter tuning", MLSys, algorithm 2
(ASHA); with several brackets asynchronous Hyperband. No worker ever waits: when nobody can be
promoted, a new configuration is started. The price is that a trial may be promoted early on that
later results would have kept back.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpo import rungs as arithmetic
from hpo.rungs import Bracket, halved
from hpo.schedulers import ATTEMPTS, Promote, Sample
from hpo.standings import Standings

_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Asynchronous:
    """Races in `brackets` without waiting; highest rungs first.

    New configurations are dealt to the brackets in proportion to their sizes, by their numbers
    alone, so that nothing but the trials themselves is needed to know who races whom. Where the
    paper leaves it open:

    - a failed leg counts as a result of its rung, the worst;
    - when no new configuration may be started, and nobody of a race is left above a rung, its best
      goes on even though it is not among the best 1/eta: every race ends with a full training. When
      its leg fails the next best goes, until `ATTEMPTS` have failed above.
    """

    rungs: tuple[float, ...]
    eta: float
    brackets: tuple[Bracket, ...]

    @property
    def cost(self) -> float:
        """What a configuration costs on average, in full trainings."""
        return arithmetic.cost(self.rungs, self.brackets)

    def next(self, standings: Standings, *, closing: bool) -> Sample | Promote | None:
        """The promotion to the highest rung, else a new configuration."""
        at, owner = standings.granted, self.bracket(np.arange(len(standings)))
        told, may_go = standings.told, standings.waiting
        for rung in range(len(self.rungs) - 2, -1, -1):
            waiting = may_go & (at == rung)
            for number, bracket in enumerate(self.brackets) if waiting.any() else ():
                if bracket.first > rung:
                    continue
                mine = owner == number
                best = self._best(standings, rung, mine & (at >= rung), told)
                ready = best[waiting[best]]
                if closing and not len(ready) and self._deserted(standings, rung, mine, told):
                    ready = standings.ranked(rung, mine & waiting)
                if len(ready):
                    return Promote(int(ready[0]), self.rungs[rung + 1])
        if closing:
            return None
        mine = self.brackets[int(self.bracket(np.array([len(standings)]))[0])]
        return Sample(self.rungs[mine.first])

    def promotable(self, standings: Standings, most: int) -> dict[float, list[int]]:
        """The best who wait below the top: a rung that grows may still take up anyone."""
        waiting, at = standings.waiting, standings.granted
        return {
            budget: standings.ranked(rung, waiting & (at == rung))[:most].tolist()
            for rung, budget in enumerate(self.rungs[:-1])
        }

    def bracket(self, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """The bracket of each trial: a golden-section sequence cut in proportion to the brackets' sizes."""
        sizes = np.array([bracket.sizes[0] for bracket in self.brackets])
        bounds = np.cumsum(sizes) / sizes.sum()
        return np.minimum(
            np.searchsorted(bounds, numbers * _GOLDEN % 1.0, side="right"), len(sizes) - 1
        )

    def _deserted(
        self, standings: Standings, rung: int, mine: NDArray[np.bool_], told: NDArray[np.bool_]
    ) -> bool:
        """Whether nobody of a race is left above a rung, nobody runs who could get there, and few have failed there."""
        above = mine & (standings.granted > rung)
        failed = np.count_nonzero(above & standings.failed)
        return bool(failed < ATTEMPTS and failed == np.count_nonzero(above) and told[mine].all())

    def _best(
        self,
        standings: Standings,
        rung: int,
        mine: NDArray[np.bool_],
        told: NDArray[np.bool_],
    ) -> NDArray[np.intp]:
        """The best 1/eta of those with a result at a rung, best first."""
        done = mine & (~np.isnan(standings.losses[:, rung]) | (told & (standings.granted == rung)))
        return standings.ranked(rung, done)[: int(halved(int(np.count_nonzero(done)), self.eta, 1))]
