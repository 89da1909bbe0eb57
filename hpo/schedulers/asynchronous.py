"""Asynchronous races: a trial is promoted as soon as it is among the best 1/eta of its rung.

Li et al. (2020), "A system for massively parallel hyperparameter tuning", MLSys, algorithm 2
(ASHA); with several brackets asynchronous Hyperband. No worker ever waits: when no trial can be
promoted, a new configuration starts. The price is that early promotions rest on few results, and
some would not have been made with more.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpo.arrays import BoolArray
from hpo.rungs import halved
from hpo.schedulers import MAX_FAILURES, Promote, Sample
from hpo.schedulers.race import Race
from hpo.standings import Standings

_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Asynchronous(Race):
    """Races in `brackets` without waiting; the highest rungs are promoted first.

    The bracket of a configuration follows from its number, in proportion to the brackets' sizes, so
    that the trials alone determine who competes with whom. The paper does not define what follows:

    - A failed leg counts as a result of its rung, the worst.
    - When no new configuration may start and all trials of a race stand at or below a rung, its
      best trial is promoted even if it is not among the best 1/eta, so that every race ends with a
      full training. If that leg fails, the next best trial is promoted, up to `MAX_FAILURES` times.
    """

    def next(self, standings: Standings, *, closing: bool) -> Sample | Promote | None:
        """The promotion to the highest rung if there is one, else a new configuration."""
        finished, paused = standings.finished, standings.paused
        brackets = self.bracket(np.arange(len(standings)))
        for rung in range(len(self.rungs) - 2, -1, -1):
            waiting = paused & (standings.granted == rung)
            for number in np.unique(brackets[waiting]):
                race = brackets == number
                ready = self._best(standings, rung, race, finished)
                ready = ready[waiting[ready]]
                if closing and not len(ready) and _is_stuck(standings, rung, race, finished):
                    ready = standings.ranked(rung, race & waiting)
                if len(ready):
                    return Promote(int(ready[0]), self.rungs[rung + 1])
        if closing:
            return None
        bracket = self.brackets[int(self.bracket(np.array([len(standings)]))[0])]
        return Sample(self.rungs[bracket.first])

    def promotable(self, standings: Standings, limit: int) -> dict[float, list[int]]:
        """The best `limit` trials paused at each rung: as a rung grows, any may be promoted."""
        paused, granted = standings.paused, standings.granted
        return {
            budget: standings.ranked(rung, paused & (granted == rung))[:limit].tolist()
            for rung, budget in enumerate(self.rungs[:-1])
        }

    def bracket(self, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """The bracket of each trial: a golden-section sequence cut in proportion to the sizes."""
        sizes = np.array([bracket.sizes[0] for bracket in self.brackets])
        bounds = np.cumsum(sizes) / sizes.sum()
        return np.minimum(
            np.searchsorted(bounds, numbers * _GOLDEN % 1.0, side="right"), len(sizes) - 1
        )

    def _best(
        self, standings: Standings, rung: int, race: BoolArray, finished: BoolArray
    ) -> NDArray[np.intp]:
        """The best 1/eta of a race's trials that have a result at a rung, best first."""
        granted = standings.granted
        has_loss = ~np.isnan(standings.losses[:, rung])
        done = race & (granted >= rung) & (has_loss | (finished & (granted == rung)))
        return standings.ranked(rung, done)[: int(halved(int(np.count_nonzero(done)), self.eta, 1))]


def _is_stuck(standings: Standings, rung: int, race: BoolArray, finished: BoolArray) -> bool:
    """Whether no running trial can bring a race above a rung, and few have failed above it."""
    above = race & (standings.granted > rung)
    failed = np.count_nonzero(above & standings.failed)
    all_failed = failed == np.count_nonzero(above)
    return bool(failed < MAX_FAILURES and all_failed and finished[race].all())
