"""The study: the one class with state.

Its state is its trials. The next configuration is a function of the trials and of
`default_rng([seed, number])`, so a resumed study continues as it would have without the
interruption.
"""

from collections.abc import Sequence
from dataclasses import replace

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

__all__ = ["FirstPoint", "Study"]


class Study:
    """Decides what to run next, and stores the outcomes.

    Args:
        space: the search space.
        sampler: proposes configurations.
        scheduler: grants budgets.
        storage: saves the trials; those that it already holds are continued.
        seed: seed of every random choice.
        max_trials: how many trials to start; None for no limit.
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
        goals: what is searched for; None for the smallest loss.

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
        first_points: Sequence[FirstPoint] = (),
        lag: int = 0,
        identity: Identity | None = by_value,
        patience: int | None = None,
        min_gain: float | None = None,
        goals: Goals | None = None,
    ) -> None:
        self.space = space
        self.scheduler = scheduler
        self.max_trials = max_trials
        self.lag = lag
        self.goals = goals or Goals((Goal("loss"),))
        self._seed = seed
        self._ledger = Ledger(storage, self.goals, patience, min_gain)
        self._trials = self._ledger.trials
        self._standings = Standings(space, scheduler.rungs, self.goals)
        self._proposals = Proposals(
            self._standings,
            sampler,
            seed=seed,
            first_points=first_points,
            lag=lag,
            identity=identity,
        )
        for trial in self._trials:
            self._proposals.add(trial)
        self._exhausted = False
        if self._trials and not self._ledger.has_lost and not self._all_started:
            ready = self._proposals.ready(self._trials)
            self._exhausted = ready and self._proposals.point(len(self._trials)) is None

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
    def full(self) -> float:
        """The budget of a full training."""
        return self.scheduler.rungs[-1]

    @property
    def exhausted(self) -> bool:
        """Whether the search has ended before `max_trials`, with all configurations tried."""
        return self._exhausted

    @property
    def stalled(self) -> bool:
        """Whether the trials so far say that more of them are not worth it.

        The last ones, as many as `patience`, have brought no better result, or the next ones are
        expected to improve it by less than `min_gain`.
        """
        return self._ledger.stagnation.stalled

    @property
    def expected_gain(self) -> float | None:
        """How much the next trials are expected to improve the best loss (`hpo.goals.forecast`).

        None while that is unknown, in races, and with several goals or limits.
        """
        if len(self.scheduler.rungs) > 1 or not self.goals.is_single:
            return None
        return self._ledger.stagnation.expected_gain

    @property
    def first_points(self) -> tuple[FirstPoint, ...]:
        """The configurations of the first trials."""
        return self._proposals.first_points

    @property
    def n_configurations(self) -> int | None:
        """How many configurations there are to try; None if they are too many to list."""
        return self._proposals.total

    @property
    def complete(self) -> bool:
        """Whether all trials have been started and finished, and none is left to promote."""
        return (
            self._closing
            and all(trial.finished for trial in self._trials)
            and self.scheduler.next(self._standings, closing=True) is None
        )

    def promotable(self, limit: int) -> dict[float, list[int]]:
        """The trials that may still be promoted, by the budget they have reached, best first.

        See `Scheduler.promotable`.
        """
        return self.scheduler.promotable(self._standings, limit)

    def ask(self) -> Trial | None:
        """The next leg to run: a trial with its granted budget.

        Legs that were lost with an earlier process come first.

        Returns:
            None when nothing can start now: all trials are started, the space is exhausted, or the
            outcome of a running trial is needed first.
        """
        if (lost := self._ledger.next_lost()) is not None:
            return lost
        decision = self.scheduler.next(self._standings, closing=self._closing)
        if isinstance(decision, Sample):
            number = len(self._trials)
            if not self._proposals.ready(self._trials):
                return None
            point = self._proposals.point(number)
            if point is not None:
                return self._start(Trial(number, dict(point.params), decision.budget, point.origin))
            self._exhausted = True
            decision = self.scheduler.next(self._standings, closing=True)
        if isinstance(decision, Explore):
            return self._explore(decision)
        return self._promote(decision) if isinstance(decision, Promote) else None

    def start_of(self, trial: Trial) -> float:
        """The budget at which a trial's next leg starts; that of its parent before its first."""
        is_copy = not trial.reports and trial.parent is not None
        return self._standings.rung_below(trial.budget) if is_copy else trial.reached

    @property
    def unfinished_best(self) -> Trial | None:
        """The best trial if it is paused below the full budget, or else None."""
        best = self.best_trial
        paused = best is not None and best.finished and best.failure is None
        return best if best and paused and best.budget < self.full else None

    def finish_best(self) -> Trial | None:
        """Grant `unfinished_best` the full budget, whatever the scheduler decides.

        Returns:
            The trial; None if there is no unfinished best trial.
        """
        best = self.unfinished_best
        return None if best is None else self._promote(Promote(best.number, self.full))

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
        self._proposals.update(trial)
        return trial

    @property
    def _all_started(self) -> bool:
        return self.max_trials is not None and len(self._trials) >= self.max_trials

    @property
    def _closing(self) -> bool:
        """Whether no new configuration starts."""
        return self._all_started or self._exhausted or self.stalled

    def _start(self, trial: Trial) -> Trial:
        self._proposals.add(trial)
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
        self._standings.update(trial)
        self._ledger.promote(trial)
        return trial
