"""The search of one session: trials run until the study's end, the time's end, or a request."""

import math
import time
from collections.abc import Iterator
from dataclasses import replace

from hpo import loop
from hpo.algorithms import algorithm
from hpo.configurations import raced
from hpo.errors import counted
from hpo.goals.forecast import HORIZON
from hpo.loop import Stop, StopLevel
from hpo.past import Past
from hpo.samplers.llm import informed
from hpo.schedulers.population import PopulationBased
from hpo.study import Study, StudySettings
from pipelines.store import StudyStore
from pipelines.study.ending import Conclusion
from pipelines.study.objective import Objective
from pipelines.study.plan import Plan
from pipelines.study.progress import Reporter
from pipelines.study.summary import failures
from pipelines.study.watching.target import Target, since_1970
from pipelines.study.workshop import Workshop
from pipelines.study.workshop.checkpointing import CheckpointKeeper

# What logging and the report take, relative to what comes before the search; and how much of the
# time for search and end may be left for the end.
END, MOST = 0.45, 0.5
MAX_FAILURES = 10  # so many failures without one success end the search


def reserved(before: float, trainings: float, left: float) -> float:
    """Seconds that are left for what follows the search, at most `MOST` of those that are left.

    Logging and the report take a part of what came before the search took, on the same machine at
    the same time.

    Args:
        before: seconds of the session before the search.
        trainings: seconds of the trainings that follow it.
        left: seconds for the search and its end.
    """
    return min(END * before + trainings, MOST * max(left, 0.0))


def patience(timeout: float, before: float) -> float:
    """Seconds for which a first success is waited for when the time is over.

    As long again, or on a busy machine as long as what came before the search.
    """
    return max(timeout, before)


class Search:
    """A study that is run in a workshop.

    Attributes:
        study: the trials, and what to try next.
        sampler: of the study.
        closing: seconds that logging and the report are expected to take after the trainings that
            follow the search; 0 before it.
    """

    def __init__(
        self, plan: Plan, objective: Objective, store: StudyStore, past: Past | None
    ) -> None:
        sampler, scheduler = algorithm(
            plan.algorithm,
            plan.rungs,
            plan.eta,
            past,
            in_limited_time=plan.extent.in_limited_time,
            raced=raced(plan.space, (point.params for point in plan.first_points)),
        )
        if isinstance(scheduler, PopulationBased):
            scheduler = replace(scheduler, inherited=plan.inherited)
        task = f"{plan.model}, {objective.describe()}, by {plan.metric}"
        self.sampler = informed(sampler, task, plan.extent.timeout)
        self.closing = 0.0
        self.study = Study(
            plan.space,
            self.sampler,
            scheduler,
            store,
            seed=plan.search_seed(objective.name),
            max_trials=plan.extent.trials,
            goals=plan.goals,
            settings=StudySettings(
                first_points=plan.first_points,
                lag=plan.lag,
                identity=objective.identity,
                patience=plan.extent.patience,
                min_gain=plan.extent.min_gain,
            ),
        )
        self._plan = plan
        self._allowance = plan.extent.allowance
        self._cost = scheduler.cost * plan.rungs[-1]

    @property
    def n_trials(self) -> int | None:
        """How many trials there will be: those of the plan, or fewer in a small space.

        None where time alone ends the search.
        """
        if self.study.proposals.exhausted or self.study.stagnation.stalled:
            return len(self.study.trials)
        return self._plan.extent.n_trials(self.study.proposals.total)

    @property
    def share(self) -> float:
        """The share of the study's training that is done, in budgets; 0 where nobody knows."""
        if self.study.complete:
            return 1.0
        if self.n_trials is None:
            return 0.0
        done = sum(trial.budget if trial.failure else trial.reached for trial in self.study.trials)
        return min(done / (self.n_trials * self._cost), 1.0)

    def target(self, began: float) -> Target:
        """How far this session is to go; it began its timeout at `began`, on `time.monotonic`."""
        total = self.n_trials
        return Target(
            since_1970(began),
            total,
            self._plan.extent.timeout,
            None if total is None else total * self._cost,
            self.share,
            self._plan.workers,
        )

    @property
    def why_stalled(self) -> str:
        """Why a stalled study ends."""
        plan, gain = self._plan, self.study.stagnation.expected_gain
        if plan.extent.min_gain is not None and gain is not None and gain < plan.extent.min_gain:
            return (
                f"{HORIZON} more trials are expected to improve the best score by {gain:.2g} "
                f"(min_gain={plan.extent.min_gain:g})"
            )
        tried = counted(plan.extent.patience or 0, "trial")
        return f"no better result in the last {tried} (patience={plan.extent.patience})"

    def why_over(self) -> Iterator[str]:
        """Why the search has ended before its last trial, in sentences; none if it has not."""
        if self.study.proposals.exhausted and not self._plan.trains_one:
            n = len(self.study.trials)
            yield f"{n}/{n}: all configurations of the space have been tried; the search is over"
        if self.spent:
            yield f"budget={self._plan.extent.budget} is spent, so the search is over"
        if self.study.stagnation.stalled:
            yield f"{self.why_stalled}, so the search is over"

    def failure(self, run_id: str, level: StopLevel) -> str | None:
        """Why the study has no result, unless the user stopped it; None if it has one.

        Args:
            run_id: of the study.
            level: what the user has asked for.
        """
        if self.study.best_trial is None and self.n_finished and level < StopLevel.NOW:
            return (
                f"no trial succeeded; the most common reason of "
                f"{counted(self.n_finished, 'failure')}: {failures(self.study.trials)}; when it is "
                f"repaired, resume with study={run_id} or start a new study"
            )
        if self._plan.extent.timeout and not self.n_finished and level == StopLevel.CONTINUE:
            return (
                f"timeout={self._plan.extent.timeout:g}: no trial has ended in that time; resume "
                f"with study={run_id} and a longer timeout"
            )
        return None

    @property
    def spent(self) -> bool:
        """Whether the trainings have cost what they may cost."""
        if self._plan.extent.budget is None:  # this is asked after each trial
            return False
        return self._allowance.left(self.study.trials, self._plan.threads) == 0

    @property
    def n_finished(self) -> int:
        """How many trials are finished."""
        return sum(trial.finished for trial in self.study.trials)

    def run(
        self,
        objective: Objective,
        conclusion: Conclusion,
        workshop: Workshop,
        checkpoints: CheckpointKeeper,
        stop: Stop,
        reporter: Reporter,
        *,
        began: float,
    ) -> None:
        """Run trials, and show each that has reported.

        The timeout counts from `began`, and leaves time for what follows the search. When the
        budget is spent, the search ends as at the timeout.
        """
        if self.spent:
            return
        plan, started = self._plan, time.monotonic()
        self.closing = reserved(started - began, 0.0, math.inf)
        end = began + (plan.extent.timeout or math.inf)
        reserve = reserved(started - began, 0.0, end - started)

        def deadline() -> float:
            return max(end - reserve, started)  # a first trial is waited for

        trials = loop.run(
            self.study,
            workshop.pool,
            stop=stop,
            deadline=deadline,
            grace=patience(plan.extent.timeout or 0.0, started - began),
            time_limit=plan.extent.time_limit,
            finishing=True,
        )
        for trial in trials:
            if plan.extent.timeout is not None:
                trainings = conclusion.seconds(self.study.trials, plan.workers)
                reserve = reserved(started - began, trainings, end - started)
            best = self.study.best_trial
            reporter.show(trial, best, self.share, self.study.stagnation.expected_gain)
            objective.reported(trial, best, workshop.exchange)
            checkpoints.tidy(self.study)
            if best is None and self.n_finished >= MAX_FAILURES:
                stop.level = max(stop.level, StopLevel.FINISH_RUNNING)
            if best is not None and self.spent:
                return
