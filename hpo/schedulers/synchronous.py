"""Synchronous races: a rung is full and all its results are in before its best go on.

Jamieson and Talwalkar (2016) with one bracket (successive halving), Li et al. (2018), algorithm 1,
with several (Hyperband). While a race waits for its last results, the next one begins, as in
HpBandSter, so that workers have something to do.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpo import rungs as arithmetic
from hpo.rungs import Bracket, halved
from hpo.schedulers import ATTEMPTS, Promote, Sample
from hpo.standings import Standings


@dataclass(frozen=True)
class Synchronous:
    """Races in `brackets`, one after the other and round again; the oldest race goes first.

    Which race a trial is in follows from its number. A leg that fails has had its place in the
    rung: the rung is not filled up, and as many go on as the bracket says, or as are left. When no
    new configuration may be started, the last race goes on with those that it has, shrunk in
    proportion, but for at least one trial at each rung; and when all of a race who went on have
    failed, its next best goes, until `ATTEMPTS` have failed.
    """

    rungs: tuple[float, ...]
    eta: float
    brackets: tuple[Bracket, ...]

    @property
    def cost(self) -> float:
        """What a configuration costs on average, in full trainings."""
        return arithmetic.cost(self.rungs, self.brackets)

    def next(self, standings: Standings, *, closing: bool) -> Sample | Promote | None:
        """A promotion in the oldest race that has one, else a new configuration."""
        races = self.race(np.arange(len(standings) + 1))
        found = self._promotions(standings, races[:-1], closing)
        if found:
            race, rung = min(found)
            mine = (races[:-1] == race) & (standings.granted == rung) & standings.waiting
            return Promote(int(standings.ranked(rung, mine)[0]), self.rungs[rung + 1])
        if closing:
            return None
        return Sample(self.rungs[self.brackets[int(races[-1]) % len(self.brackets)].first])

    def promotable(self, standings: Standings, most: int) -> dict[float, list[int]]:
        """The best who wait in a rung, as many as their race has places left above it."""
        races = self.race(np.arange(len(standings)))
        waiting = standings.waiting
        found = {}
        for rung, budget in enumerate(self.rungs[:-1]):
            above = np.bincount(
                races[standings.granted > rung], minlength=int(races.max(initial=-1)) + 1
            )
            left = self._capacity(len(above), rung + 1) - above
            here = standings.ranked(rung, waiting & (standings.granted == rung))
            place = np.zeros(len(here), dtype=np.intp)  # of each among those of its race
            for race in np.unique(races[here]):
                mine = races[here] == race
                place[mine] = np.arange(np.count_nonzero(mine))
            found[budget] = here[place < left[races[here]]].tolist()
        return found

    def race(self, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """The race of each trial; race i runs in bracket i modulo their number."""
        starts = np.cumsum([0, *(bracket.sizes[0] for bracket in self.brackets)])
        turn, place = np.divmod(numbers, starts[-1])
        return turn * len(self.brackets) + np.searchsorted(starts, place, side="right") - 1

    def _promotions(
        self, standings: Standings, races: NDArray[np.intp], closing: bool
    ) -> list[tuple[int, int]]:
        """`(race, rung)` of each rung that is complete and has not sent all of its best on."""
        begun = np.bincount(races)
        first = np.array([bracket.first for bracket in self.brackets])[
            np.arange(len(begun)) % len(self.brackets)
        ]
        waiting = standings.waiting
        final = np.zeros(len(begun), dtype=bool)  # nobody else comes to this rung
        found = []
        for rung in range(len(self.rungs) - 1):
            final |= (first == rung) & ((begun >= self._capacity(len(begun), rung)) | closing)
            at = standings.granted == rung
            running = np.bincount(races[at & ~standings.told], minlength=len(begun))
            ready = np.bincount(races[at & waiting], minlength=len(begun))
            above = np.bincount(races[standings.granted > rung], minlength=len(begun))
            places = self._places(begun, first, rung + 1, closing) - above
            complete = final & (running == 0)
            if closing:
                lost = np.bincount(
                    races[(standings.granted > rung) & standings.failed], minlength=len(begun)
                )
                places = np.where(
                    (above == lost) & (lost < ATTEMPTS), np.maximum(places, 1), places
                )
            sends = complete & (places > 0) & (ready > 0)
            found += [(int(race), rung) for race in np.flatnonzero(sends)]
            final = complete & ~sends
        return found

    def _places(
        self, begun: NDArray[np.intp], first: NDArray[np.intp], rung: int, closing: bool
    ) -> NDArray[np.intp]:
        """How many of each race may reach a rung, when so many have begun."""
        capacity = self._capacity(len(begun), rung)
        if not closing:
            return capacity
        return np.minimum(capacity, np.maximum(halved(begun, self.eta, rung - first), 1))

    def _capacity(self, n_races: int, rung: int) -> NDArray[np.intp]:
        capacities = np.array([bracket.capacity(rung) for bracket in self.brackets], dtype=np.intp)
        return capacities[np.arange(n_races) % len(self.brackets)]
