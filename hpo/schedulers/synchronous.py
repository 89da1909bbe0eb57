"""Synchronous races: the best of a rung are promoted when all its results are in.

Jamieson and Talwalkar (2016) with one bracket (successive halving), Li et al. (2018), algorithm 1,
with several (Hyperband). While a race waits for its last results, the next one begins, as in
HpBandSter, so that no worker is idle.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpo.arrays import BoolArray
from hpo.rungs import halved
from hpo.schedulers import MAX_FAILURES, Promote, Sample
from hpo.schedulers.race import Race
from hpo.standings import Standings


@dataclass(frozen=True)
class Synchronous(Race):
    """Races in `brackets`, one after the other and round again; the oldest race goes first.

    The race of a trial follows from its number. A failed leg keeps its place in the rung: it is not
    replaced, and the bracket's number of trials is promoted, or all that are left.

    When no new configuration may start, the last race continues with the trials that it has. Its
    sizes shrink in proportion, to one trial per rung at least. If all promoted trials of a race
    have failed, its next best is promoted, up to `MAX_FAILURES` times.
    """

    def next(self, standings: Standings, *, closing: bool) -> Sample | Promote | None:
        """A promotion in the oldest race that has one, else a new configuration."""
        races = self.race(np.arange(len(standings) + 1))
        promotions = self._promotions(standings, races[:-1], closing)
        if promotions:
            race, rung = min(promotions)
            ready = (races[:-1] == race) & (standings.granted == rung) & standings.paused
            return Promote(int(standings.ranked(rung, ready)[0]), self.rungs[rung + 1])
        if closing:
            return None
        bracket = self.brackets[int(races[-1]) % len(self.brackets)]
        return Sample(self.rungs[bracket.first])

    def promotable(self, standings: Standings, limit: int) -> dict[float, list[int]]:
        """The best trials paused at each rung, as many as their race has free places above it."""
        races = self.race(np.arange(len(standings)))
        n_races = int(races.max(initial=-1)) + 1
        found = {}
        for rung, budget in enumerate(self.rungs[:-1]):
            taken = _count(races, standings.granted > rung, n_races)
            free = self._capacity(n_races, rung + 1) - taken
            here = standings.ranked(rung, standings.paused & (standings.granted == rung))
            found[budget] = here[_places(races[here]) < free[races[here]]].tolist()
        return found

    def race(self, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """The race of each trial; race i runs in bracket i modulo their number."""
        starts = np.cumsum([0, *(bracket.sizes[0] for bracket in self.brackets)])
        turn, place = np.divmod(numbers, starts[-1])
        return turn * len(self.brackets) + np.searchsorted(starts, place, side="right") - 1

    def _promotions(
        self, standings: Standings, races: NDArray[np.intp], closing: bool
    ) -> list[tuple[int, int]]:
        """`(race, rung)` of each complete rung that has trials left to promote."""
        begun = np.bincount(races)
        first = self._by_race([bracket.first for bracket in self.brackets], len(begun))
        finished, paused = standings.finished, standings.paused
        final = np.zeros(len(begun), dtype=bool)  # whether no more trials can come to the rung
        found = []
        for rung in range(len(self.rungs) - 1):
            final |= (first == rung) & ((begun >= self._capacity(len(begun), rung)) | closing)
            here = standings.granted == rung
            complete = final & (_count(races, here & ~finished, len(begun)) == 0)
            ready = _count(races, here & paused, len(begun))
            free = self._free(standings, races, rung + 1, closing)
            promotes = complete & (free > 0) & (ready > 0)
            found += [(race, rung) for race in np.flatnonzero(promotes).tolist()]
            final = complete & ~promotes
        return found

    def _free(
        self, standings: Standings, races: NDArray[np.intp], rung: int, closing: bool
    ) -> NDArray[np.intp]:
        """How many more trials of each race may be promoted to a rung."""
        begun = np.bincount(races)
        capacity = self._capacity(len(begun), rung)
        reached = standings.granted >= rung
        taken = _count(races, reached, len(begun))
        if not closing:
            return capacity - taken
        first = self._by_race([bracket.first for bracket in self.brackets], len(begun))
        shrunk = np.maximum(halved(begun, self.eta, rung - first), 1)
        free = np.minimum(capacity, shrunk) - taken
        failed = _count(races, reached & standings.failed, len(begun))
        all_failed = (taken == failed) & (failed < MAX_FAILURES)
        return np.where(all_failed, np.maximum(free, 1), free)

    def _capacity(self, n_races: int, rung: int) -> NDArray[np.intp]:
        """`(n_races,)` how many trials of each race reach a rung."""
        return self._by_race([bracket.capacity(rung) for bracket in self.brackets], n_races)

    def _by_race(self, values: list[int], n_races: int) -> NDArray[np.intp]:
        """`(n_races,)` the value of each race's bracket."""
        return np.resize(np.array(values, dtype=np.intp), n_races)


def _count(races: NDArray[np.intp], which: BoolArray, n_races: int) -> NDArray[np.intp]:
    """`(n_races,)` how many trials of each race fulfil a condition."""
    return np.bincount(races[which], minlength=n_races)


def _places(groups: NDArray[np.intp]) -> NDArray[np.intp]:
    """The position of each element among those of its group."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    places = np.empty_like(groups)
    places[order] = np.arange(len(groups)) - np.searchsorted(ordered, ordered)
    return places
