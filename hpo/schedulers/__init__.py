"""Schedulers decide what runs next. A decision is a value, and a function of the standings.

A scheduler is a frozen dataclass of settings. `full` trains every configuration with the full
budget; `synchronous` and `asynchronous` run races over rungs (`hpo.rungs`). Successive halving,
Hyperband and ASHA are these two with one bracket or several. `population` is population-based
training.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hpo.space import Params, SearchSpace, Value
from hpo.standings import Standings

MAX_FAILURES = 3  # a race ends when all trials above a rung have failed, and are this many


@dataclass(frozen=True)
class Sample:
    """Start a new configuration and train it up to `budget`."""

    budget: float


@dataclass(frozen=True)
class Promote:
    """Continue trial `number` up to `budget`."""

    number: int
    budget: float


@dataclass(frozen=True)
class Explore:
    """Start a new trial from the checkpoint of another one, with values changed from its own.

    Attributes:
        parent: the number of the other trial.
        budget: of the new one.
        change: a new configuration of a space from the parent's.
    """

    parent: int
    budget: float
    change: Callable[[SearchSpace, Params, np.random.Generator], dict[str, Value]]


class Scheduler(Protocol):
    """Frozen settings; decisions are functions of the standings."""

    @property
    def rungs(self) -> tuple[float, ...]:
        """All budgets that may be granted, ascending."""

    @property
    def reaching(self) -> tuple[float, ...]:
        """The share of the configurations that reach each rung."""

    @property
    def costs(self) -> tuple[float, ...]:
        """The mean cost of a configuration at each rung, in full trainings."""

    @property
    def cost(self) -> float:
        """The mean cost of a configuration, in full trainings."""

    def next(self, standings: Standings, *, closing: bool) -> Sample | Promote | Explore | None:
        """The next leg to run; None when nothing can start before another leg has ended.

        Args:
            standings: of all trials.
            closing: whether no new configuration may start; the races are then brought to an end.
        """

    def promotable(self, standings: Standings, limit: int) -> dict[float, list[int]]:
        """The paused trials that may still be promoted, by the budget they have reached.

        Args:
            standings: of all trials.
            limit: how many trials to return for each rung, unless the bracket has fewer places.

        Returns:
            Trial numbers for each rung, best first.
        """
