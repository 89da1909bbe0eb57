"""The study: the one class with state.

Its state is its trials. The next configuration is a function of the trials and of
`default_rng([seed, number])`, so a resumed study continues as it would have without the
interruption.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hpo.configurations import Identity, by_value
from hpo.goals import Goal, Goals
from hpo.goals.ledger import Ledger
from hpo.proposals import FirstPoint, Proposals
from hpo.samplers import Sampler
from hpo.schedulers import Explore, Promote, Sample, Scheduler
from hpo.space import SearchSpace
from hpo.standings import Standings
from hpo.storage import Storage
from hpo.trial import Failure, Report, Trial

__all__ = ["FirstPoint", "Study", "StudySettings"]


@dataclass(frozen=True)
class StudySettings:
    """What a study needs beside its parts; the defaults suit a deterministic objective.

    Attributes:
        first_points: the configurations of the first trials, in order.
        lag: how many trials back a result must lie to be used (`hpo.proposals`); 0 uses all
            results.
        identity: what two configurations that are the same training have in common; no
            configuration is tried twice, and a finite space ends. None for an objective that is not
            deterministic.
        patience: how many trials in a row may bring no better result before no further one starts;
            None for any number.
        min_gain: no further trial starts when the next ones are expected to improve the best loss
            by less (`hpo.goals.forecast`); None for no such rule. It needs trials of one budget and
            one goal.
    """

    first_points: Sequence[FirstPoint] = ()
    lag: int = 0
    identity: Identity | None = by_value
    patience: int | None = None
    min_gain: float | None = None


class Study:
    """Decides what to run next, and stores the outcomes.

    Args:
        space: the search space.
        sampler: proposes configurations.
        scheduler: grants budgets.
        storage: saves the trials; those that it already holds are continued.
        seed: seed of every random choice.
        max_trials: how many trials to start; None for no limit.
        goals: what is searched for; None for the smallest loss.
        settings: first points, and when the study ends early; None for the defaults.

    Attributes:
        standings: where each trial stands, as the scheduler sees it.
        proposals: the configurations of new trials, and whether there are more.
        stagnation: whether more trials are worth it.

    Raises:
        StudyError: when trials are missing in the storage.
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
        goals: Goals | None = None,
        settings: StudySettings | None = None,
    ) -> None:
        self.space = space
        self.scheduler = scheduler
        self.max_trials = max_trials
        self.goals = goals or Goals((Goal("loss"),))
        self._seed = seed
        rules = settings or StudySettings()
        self._ledger = Ledger(
            storage,
            self.goals,
            rules.patience,
            rules.min_gain,
            races=len(scheduler.rungs) > 1,
        )
        self._trials = self._ledger.trials
        self.stagnation = self._ledger.stagnation
        self.standings = Standings(space, scheduler.rungs, self.goals)
        self.proposals = Proposals(
            self.standings,
            sampler,
            seed=seed,
            first_points=rules.first_points,
            lag=rules.lag,
            identity=rules.identity,
        )
        for trial in self._trials:
            self.proposals.add(trial)
        if self._trials and not self._ledger.has_lost and not self._all_started:
            self.proposals.look_ahead(self._trials)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials, in order of their numbers."""
        return tuple(self._trials)

    @property
    def best_trial(self) -> Trial | None:
        """The trial with the smallest loss at any budget, the earliest of equals.

        With several goals, the one of the front that their weights choose (`Goals`). None until a
        trial has succeeded.
        """
        return self._ledger.best

    @property
    def front(self) -> tuple[Trial, ...]:
        """The trials that no other one dominates, in order of their numbers."""
        return self._ledger.front

    @property
    def complete(self) -> bool:
        """Whether all trials have been started and finished, and none is left to promote."""
        return (
            self._closing
            and all(trial.finished for trial in self._trials)
            and self.scheduler.next(self.standings, closing=True) is None
        )

    def ask(self) -> Trial | None:
        """The next leg to run: a trial with its granted budget.

        Legs that were lost with an earlier process come first.

        Returns:
            None when nothing can start now: all trials are started, the space is exhausted, or the
            outcome of a running trial is needed first.
        """
        if (lost := self._ledger.next_lost()) is not None:
            return lost
        decision = self.scheduler.next(self.standings, closing=self._closing)
        if isinstance(decision, Sample):
            number = len(self._trials)
            if not self.proposals.ready(self._trials):
                return None
            point = self.proposals.point(number)
            if point is not None:
                return self._start(Trial(number, dict(point.params), decision.budget, point.origin))
            decision = self.scheduler.next(self.standings, closing=True)
        if isinstance(decision, Explore):
            return self._explore(decision)
        return self._promote(decision) if isinstance(decision, Promote) else None

    def start_of(self, trial: Trial) -> float:
        """The budget at which a trial's next leg starts; that of its parent before its first."""
        if trial.reports or trial.parent is None:
            return trial.reached
        return self.scheduler.rungs[max(self.standings.rung(trial.budget) - 1, 0)]

    @property
    def unfinished_best(self) -> Trial | None:
        """The best trial if it is paused below the full budget, or else None."""
        best = self.best_trial
        paused = best is not None and best.finished and best.failure is None
        return best if best and paused and best.budget < self.scheduler.rungs[-1] else None

    def finish_best(self) -> Trial | None:
        """Grant `unfinished_best` the full budget, whatever the scheduler decides.

        Returns:
            The trial; None if there is no unfinished best trial.
        """
        if (best := self.unfinished_best) is None:
            return None
        return self._promote(Promote(best.number, self.scheduler.rungs[-1]))

    def tell(self, number: int, outcome: Report | Failure) -> Trial:
        """Store the outcome of a leg.

        Returns:
            The trial with this outcome.

        Raises:
            StudyError: when the trial does not exist, or is not running.
        """
        running = self._ledger.running(number)
        if isinstance(outcome, Report) and (mistake := self.goals.mistake(outcome)):
            outcome = Failure(mistake, outcome.seconds)
        trial = running.with_outcome(outcome)
        self._ledger.finish(trial)
        self.proposals.update(trial)
        return trial

    @property
    def _all_started(self) -> bool:
        return self.max_trials is not None and len(self._trials) >= self.max_trials

    @property
    def _closing(self) -> bool:
        """Whether no new configuration starts."""
        return self._all_started or self.proposals.exhausted or self.stagnation.stalled

    def _start(self, trial: Trial) -> Trial:
        self.proposals.add(trial)
        self._ledger.add(trial)
        return trial

    def _explore(self, decision: Explore) -> Trial:
        """Start a trial from the checkpoint of another one, with its values changed."""
        number, parent = len(self._trials), self._trials[decision.parent]
        rng = np.random.default_rng([self._seed, number])
        params = decision.change(self.space, parent.params, rng)
        origin = f"from trial {parent.number}"
        return self._start(Trial(number, params, decision.budget, origin, parent=parent.number))

    def _promote(self, decision: Promote) -> Trial:
        trial = replace(self._trials[decision.number], budget=decision.budget)
        self.standings.update(trial)
        self._ledger.promote(trial)
        return trial
