"""The study: the one class with state.

Its state is its trials. What to try next is a function of the trials and of `default_rng([seed, number])`, so a study
that is resumed goes on the way the uninterrupted one would have gone.

With several workers, results arrive in an order that no seed controls. Trial k therefore sees the results of the
trials up to k - lag only, in the order of their numbers; later ones count as pending even when they are known. With
`lag` >= the number of workers the same seed gives the same study however the workers race, at the price of waiting
when one trial takes longer than the `lag - 1` after it together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpo.errors import StudyError
from hpo.history import History
from hpo.samplers import Sampler
from hpo.schedulers import Scheduler
from hpo.space import Params, SearchSpace
from hpo.storage import Storage
from hpo.trial import Failure, Report, Trial


@dataclass(frozen=True)
class FirstPoint:
    """A configuration to try before the sampler is asked; `origin` says where it comes from."""

    params: Params
    origin: str


class Study:
    """Asks a sampler and a scheduler what to run, and keeps what came of it.

    Args:
        space: what is searched.
        sampler: proposes configurations.
        scheduler: grants budgets.
        storage: keeps the trials; those it already holds are continued.
        seed: of every random choice.
        max_trials: stop after so many trials; None for no end.
        first_points: the configurations of the first trials, in order.
        lag: how many trials back a result must lie to be seen (module docstring).
    """

    def __init__(
        self,
        space: SearchSpace,
        sampler: Sampler,
        scheduler: Scheduler,
        storage: Storage,
        *,
        seed: int,
        max_trials: int | None = None,
        first_points: Sequence[FirstPoint] = (),
        lag: int = 1,
    ) -> None:
        self.space = space
        self.sampler = sampler
        self.scheduler = scheduler
        self.seed = seed
        self.max_trials = max_trials
        self.first_points = tuple(first_points)
        self.lag = lag
        self._storage = storage
        self._trials = list(storage.load())
        if [trial.number for trial in self._trials] != list(range(len(self._trials))):
            missing = sorted(set(range(self._trials[-1].number)) - {trial.number for trial in self._trials})
            raise StudyError(
                f"trials must be numbered without gaps, but {missing} are missing; if their runs were deleted, restore "
                "them, or start a new study"
            )
        self._lost = [trial.number for trial in self._trials if not trial.finished][::-1]
        self._history = History(space)
        self._best = min(filter(_succeeded, self._trials), key=_rank, default=None)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials, in order of their numbers."""
        return tuple(self._trials)

    @property
    def best_trial(self) -> Trial | None:
        """The finished trial with the smallest loss, the earliest of equals; None before one succeeded."""
        return self._best

    def ask(self) -> Trial | None:
        """The next leg to run: a trial with its granted budget.

        Legs that were lost with an earlier process come first. None means that nothing can start now: the trials are
        used up, the space is exhausted, or a running trial must be told first.
        """
        if self._lost:
            return self._trials[self._lost.pop()]
        number = len(self._trials)
        if self.max_trials is not None and number >= self.max_trials:
            return None
        decision = self.scheduler.next(self._trials)
        point = self._point(number) if decision else None
        if decision is None or point is None:
            return None
        trial = Trial(number, dict(point.params), decision.budget, point.origin)
        self._trials.append(trial)
        self._storage.add(trial)
        return trial

    def tell(self, number: int, outcome: Report | Failure) -> Trial:
        """Keep the outcome of a leg and return the trial with it.

        Raises:
            StudyError: when that trial was never granted, or owes nothing.
        """
        if not 0 <= number < len(self._trials):
            raise StudyError(f"trial {number} was never granted; the study has {len(self._trials)} trials")
        if self._trials[number].finished:
            raise StudyError(f"trial {number} is finished already; a leg is told once")
        trial = self._trials[number] = self._trials[number].told(outcome)
        self._storage.update(trial)
        if _succeeded(trial) and (self._best is None or _rank(trial) < _rank(self._best)):
            self._best = trial
        return trial

    def _point(self, number: int) -> FirstPoint | None:
        if number < len(self.first_points):
            return self.first_points[number]
        if self.sampler.needs_history and not self._catch_up(number):
            return None
        self._history.n_sampled = number - len(self.first_points)
        params = self.sampler.suggest(self._history, np.random.default_rng([self.seed, number]))
        return None if params is None else FirstPoint(params, "sampler")

    def _catch_up(self, number: int) -> bool:
        """Bring the history to what trial `number` may see; False while one of those trials is still running."""
        visible = max(number - self.lag + 1, 0)
        for trial in self._trials[len(self._history) : visible]:
            if not trial.finished:
                return False
            self._history.observe(trial.params, trial.loss, trial.budget)
        self._history.suppose([trial.params for trial in self._trials[len(self._history) :]])
        return True


def _succeeded(trial: Trial) -> bool:
    return bool(trial.reports) and trial.finished and trial.failure is None


def _rank(trial: Trial) -> tuple[float, int]:
    return trial.loss, trial.number
