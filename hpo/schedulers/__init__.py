"""Schedulers decide what runs next; a decision is a value.

A scheduler is a frozen dataclass of settings whose answer is a function of where the trials stand.
`full` trains every configuration to the end; `synchronous` and `asynchronous` run races over rungs
(`hpo.rungs`): successive halving, Hyperband and ASHA are these two with one bracket or several.
"""

from dataclasses import dataclass
from typing import Protocol

from hpo.standings import Standings

ATTEMPTS = 3  # failures above a rung after which a race that has nobody left there gives up


@dataclass(frozen=True)
class Sample:
    """Start a new configuration and train it up to `budget`."""

    budget: float


@dataclass(frozen=True)
class Promote:
    """Go on with trial `number` up to `budget`."""

    number: int
    budget: float


class Scheduler(Protocol):
    """Frozen settings; the answer is a function of where the trials stand."""

    @property
    def rungs(self) -> tuple[float, ...]:
        """Every budget that is ever granted, ascending."""

    @property
    def cost(self) -> float:
        """What a configuration costs on average, in full trainings."""

    def next(self, standings: Standings, *, closing: bool) -> Sample | Promote | None:
        """The next leg to run, or None when nothing can start before another result is in.

        Args:
            standings: of all trials.
            closing: no new configuration can be started any more; what is there is brought to its
                end.
        """

    def promotable(self, standings: Standings, most: int) -> dict[float, list[int]]:
        """By rung: the trials that wait there and may still be promoted, best first.

        Args:
            standings: of all trials.
            most: so many of a rung at most, where nothing else says how many will go on.
        """
