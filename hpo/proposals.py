"""The configuration of each new trial: a first point, or what the sampler makes of known results.

With several workers, the order of results depends on timing. Where every trial has one leg, trial k
therefore uses the results of the trials up to k - lag only; later trials count as pending even if
they have finished. With `lag` >= the number of workers, the same seed gives the same study whatever
the timing. The price is that a worker waits when one trial takes longer than the `lag - 1` trials
after it together. Races over rungs cannot wait like that, because their legs differ in length by
design: with lag 0 all results are used, and a study repeats from its seed with one worker only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from hpo.configurations import Configurations, Identity
from hpo.history import History
from hpo.samplers import Sampler
from hpo.space import Params
from hpo.standings import Standings
from hpo.trial import Trial


@dataclass(frozen=True)
class FirstPoint:
    """A configuration to try before the sampler is asked; `origin` says where it comes from."""

    params: Params
    origin: str


class Proposals:
    """Proposes the configuration of the next trial.

    Args:
        standings: of the study; this class decides when a result enters them.
        sampler: proposes configurations.
        seed: of the study.
        first_points: the configurations of the first trials; forbidden ones and repeated ones are
            left out.
        lag: how many trials back a result must lie to be used; 0 uses all results.
        identity: what two configurations that are the same training have in common; None if no two
            trainings are the same.

    Attributes:
        first_points: those that are tried.
        lag: how many trials back a result must lie to be used.
        exhausted: whether all configurations of the space have been tried, so that there is no
            further one.
    """

    def __init__(
        self,
        standings: Standings,
        sampler: Sampler,
        *,
        seed: int,
        first_points: Sequence[FirstPoint],
        lag: int,
        identity: Identity | None,
    ) -> None:
        space = standings.space
        first = Configurations(space, sampler, identity)
        self.first_points = tuple(
            point
            for point in first_points
            if space.allowed(point.params) and first.add(point.params)
        )
        self.exhausted = False
        self._standings = standings
        self._sampler = sampler
        self._seed = seed
        self.lag = lag
        self._configurations = Configurations(space, sampler, identity)
        self._seen = 0  # with a lag: how many trials have their outcome in the standings
        self._min_results = sampler.min_results(space)

    def add(self, trial: Trial) -> None:
        """Note a new trial, or one of an earlier session with its outcome."""
        self._configurations.add(trial.params)
        self._standings.add(trial.params, trial.budget, trial.parent)
        self.update(trial)

    def update(self, trial: Trial) -> None:
        """Note the outcome of a trial; with a lag, it is used once it lies far enough back."""
        if not self.lag:
            self._standings.update(trial)

    def ready(self, trials: Sequence[Trial]) -> bool:
        """Whether the results are known that the next trial uses; they enter the standings."""
        number = len(trials)
        independent = number < len(self.first_points) or not self._min_results
        if not self.lag or independent:
            return True
        for trial in trials[self._seen : max(number - self.lag + 1, 0)]:
            if not trial.finished:
                return False
            self._standings.update(trial)
            self._seen += 1
        return True

    def point(self, number: int) -> FirstPoint | None:
        """The configuration of trial `number`; None when the space is exhausted from now on."""
        if number < len(self.first_points):
            return self.first_points[number]
        n_sampled = number - len(self.first_points)
        history = History.at_rung(self._standings, self._min_results, n_sampled)
        params = self._configurations.propose(history, [self._seed, number])
        if params is None:
            self.exhausted = True
            return None
        return FirstPoint(params, "sampler")

    def look_ahead(self, trials: Sequence[Trial]) -> None:
        """Find out whether the space is exhausted after these trials, if that is known already."""
        if self.ready(trials):
            self.point(len(trials))

    @cached_property
    def total(self) -> int | None:
        """How many configurations there are to try; None if they are too many to list."""
        return self._configurations.total(point.params for point in self.first_points)
