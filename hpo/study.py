"""The study: the one class with state.

Its state is its trials. What to try next is a function of the trials and of `default_rng([seed,
number])`, so a study that is resumed goes on the way the uninterrupted one would have gone.

With several workers, results arrive in an order that no seed controls. Where every trial has one
leg, trial k therefore sees the results of the trials up to k - lag only; later ones count as
pending even when they are known. With `lag` >= the number of workers the same seed gives the same
study however the workers race, at the price of waiting when one trial takes longer than the `lag -
1` after it together. Races over rungs cannot wait like that (their legs differ in length by
design): with lag 0 everything that is known counts, and only a study with one worker repeats from
its seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hpo.errors import StudyError
from hpo.samplers import Sampler
from hpo.schedulers import Promote, Sample, Scheduler
from hpo.space import Params, SearchSpace
from hpo.standings import Standings
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
        lag: how many trials back a result must lie to be seen (module docstring); 0 sees all at
            once.
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
        lag: int = 0,
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
            missing = sorted(
                set(range(self._trials[-1].number)) - {trial.number for trial in self._trials}
            )
            raise StudyError(
                f"trials must be numbered without gaps, but {missing} are missing; if their runs were deleted, restore "
                "them, or start a new study"
            )
        self._lost = [trial.number for trial in self._trials if not trial.finished][::-1]
        self._standings = Standings(space, scheduler.rungs)
        self._seen = 0  # trials whose outcome is in the standings, where outcomes count with a lag
        for trial in self._trials:
            self._standings.add(trial.params, trial.budget)
            if not lag:
                self._standings.update(trial)
        best = min(filter(_succeeded, self._trials), key=_rank, default=None)
        self._best = None if best is None else best.number

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials, in order of their numbers."""
        return tuple(self._trials)

    @property
    def best_trial(self) -> Trial | None:
        """The trial with the smallest loss at whatever budget, the earliest of equals; None before one succeeded."""
        return None if self._best is None else self._trials[self._best]

    @property
    def full(self) -> float:
        """The budget of a full training."""
        return self.scheduler.rungs[-1]

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do: no leg is owed, and even with the trials used up nobody is to be promoted."""
        started = self.max_trials is not None and len(self._trials) >= self.max_trials
        return (
            started
            and all(trial.finished for trial in self._trials)
            and self.scheduler.next(self._standings, closing=True) is None
        )

    def promotable(self, most: int) -> dict[float, list[int]]:
        """By budget: the trials that wait there and may still be promoted, best first (`Scheduler.promotable`)."""
        return self.scheduler.promotable(self._standings, most)

    def ask(self) -> Trial | None:
        """The next leg to run: a trial with its granted budget.

        Legs that were lost with an earlier process come first. None means that nothing can start
        now: the trials are used up, the space is exhausted, or a running trial must be told first.
        """
        if self._lost:
            return self._trials[self._lost.pop()]
        number = len(self._trials)
        closing = self.max_trials is not None and number >= self.max_trials
        decision = self.scheduler.next(self._standings, closing=closing)
        if isinstance(decision, Sample):
            if not self._catch_up(number):
                return None
            point = self._point(number)
            if point is not None:
                return self._start(Trial(number, dict(point.params), decision.budget, point.origin))
            decision = self.scheduler.next(self._standings, closing=True)  # the space is exhausted
        return self._promote(decision) if isinstance(decision, Promote) else None

    @property
    def unfinished_best(self) -> Trial | None:
        """The best trial, where it waits below the full budget; None while it runs, and when it has failed."""
        best = self.best_trial
        waits = (
            best is not None and best.finished and best.failure is None and best.budget < self.full
        )
        return best if waits else None

    def finish_best(self) -> Trial | None:
        """The `unfinished_best` with the full budget granted, whatever the scheduler says; None where there is none."""
        best = self.unfinished_best
        return None if best is None else self._promote(Promote(best.number, self.full))

    def tell(self, number: int, outcome: Report | Failure) -> Trial:
        """Keep the outcome of a leg and return the trial with it.

        Raises:
            StudyError: when that trial was never granted, or owes nothing.
        """
        if not 0 <= number < len(self._trials):
            raise StudyError(
                f"trial {number} was never granted; the study has {len(self._trials)} trials"
            )
        if self._trials[number].finished:
            raise StudyError(f"trial {number} is finished already; a leg is told once")
        trial = self._trials[number] = self._trials[number].told(outcome)
        self._storage.update(trial)
        if not self.lag:
            self._standings.update(trial)
        best = self.best_trial
        if _succeeded(trial) and (best is None or _rank(trial) <= _rank(best)):
            self._best = number
        return trial

    def _start(self, trial: Trial) -> Trial:
        self._trials.append(trial)
        self._standings.add(trial.params, trial.budget)
        self._storage.add(trial)
        return trial

    def _promote(self, decision: Promote) -> Trial:
        trial = replace(self._trials[decision.number], budget=decision.budget)
        self._trials[trial.number] = trial
        self._standings.update(trial)
        self._storage.update(trial)
        return trial

    def _point(self, number: int) -> FirstPoint | None:
        if number < len(self.first_points):
            return self.first_points[number]
        history = self._standings.history(
            self.sampler.least(self.space), number - len(self.first_points)
        )
        params = self.sampler.suggest(history, np.random.default_rng([self.seed, number]))
        return None if params is None else FirstPoint(params, "sampler")

    def _catch_up(self, number: int) -> bool:
        """Let trial `number` see the outcomes that it may see; False while one of those trials is still running."""
        if not self.lag or number < len(self.first_points) or not self.sampler.least(self.space):
            return True
        visible = max(number - self.lag + 1, 0)
        for trial in self._trials[self._seen : visible]:
            if not trial.finished:
                return False
            self._standings.update(trial)
            self._seen += 1
        return True


def _succeeded(trial: Trial) -> bool:
    return bool(trial.reports)


def _rank(trial: Trial) -> tuple[float, int]:
    return trial.loss, trial.number
