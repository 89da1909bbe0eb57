"""Trials as values: what was granted, reported and failed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from hpo.space import Params


@dataclass(frozen=True)
class Report:
    """The outcome of a leg that succeeded.

    Attributes:
        budget: the budget reached, in the model's unit (rounds, steps, rows).
        loss: the objective; smaller is better.
        metrics: the scores under the user's names and in their own direction.
        seconds: training time of the leg.
        curve: at most 50 points `(budget, metric)`.
        note: a sentence to show to the user; empty for none.
        over: whether training stopped early, so that a larger budget changes nothing.
    """

    budget: float
    loss: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    curve: tuple[tuple[float, float], ...] = ()
    note: str = ""
    over: bool = False


@dataclass(frozen=True)
class Failure:
    """The outcome of a leg that failed."""

    reason: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Trial:
    """One configuration with its outcomes so far.

    A trial whose granted budget is above the reached one, and that no worker is running, was lost
    with an earlier process; its leg is granted again.

    Attributes:
        number: position in the study, from 0.
        params: the active parameters.
        budget: the granted budget.
        origin: where the configuration comes from; `sampler` or the name of a first point.
        reports: one for each leg that succeeded.
        parent: number of the trial that this one continues.
        failure: why the last leg failed.
    """

    number: int
    params: Params
    budget: float
    origin: str = "sampler"
    reports: tuple[Report, ...] = ()
    parent: int | None = None
    failure: str | None = None

    @property
    def reached(self) -> float:
        """The budget of the last report; 0 before the first."""
        return self.reports[-1].budget if self.reports else 0.0

    @property
    def best(self) -> Report | None:
        """The report with the smallest loss, the earliest of equals.

        A later leg that is worse or fails does not change it.
        """
        return min(self.reports, key=lambda report: report.loss, default=None)

    @property
    def loss(self) -> float:
        """The smallest reported loss; infinite before the first report."""
        return self.best.loss if self.best else math.inf

    @property
    def seconds(self) -> float:
        """Training seconds of all legs."""
        return sum(report.seconds for report in self.reports)

    @property
    def finished(self) -> bool:
        """Whether no leg is running or lost: the trial failed, or reached its granted budget."""
        return self.failure is not None or self.reached >= self.budget

    def with_outcome(self, outcome: Report | Failure) -> "Trial":
        """This trial with the outcome of its leg; a loss that is not finite counts as a failure."""
        if isinstance(outcome, Failure):
            return replace(self, failure=outcome.reason)
        if not math.isfinite(outcome.loss):
            return replace(self, failure=f"loss is {outcome.loss}; a finite number was expected")
        return replace(self, reports=(*self.reports, outcome))


@dataclass(frozen=True)
class Phase:
    """A part of a training whose values change: budgets, the trial, and its values."""

    start: float
    to: float
    number: int
    params: Params


def schedule(trials: Sequence[Trial], number: int) -> tuple[Phase, ...]:
    """The values that a trial is trained with over time, up to its best budget.

    A trial that is not a copy has a single phase. The phases before the last are those of the
    trials that it comes from, each until its copy was made.
    """
    best = trials[number].best
    to = best.budget if best else trials[number].budget
    phases: list[Phase] = []
    at: int | None = number
    while at is not None:
        trial = trials[at]
        start = 0.0 if trial.parent is None else _copied_at(trials[trial.parent], trial)
        phases.append(Phase(start, to, at, trial.params))
        at, to = trial.parent, start
    return tuple(phases[::-1])


def seconds_again(trials: Sequence[Trial], trial: Trial) -> float:
    """Seconds that training a trial once more is expected to take; a copy begins at the start."""
    if trial.parent is None:
        return trial.seconds
    return trial.seconds + sum(
        report.seconds
        for phase in schedule(trials, trial.number)[:-1]
        for report in trials[phase.number].reports
        if phase.start < report.budget <= phase.to
    )


def _copied_at(parent: Trial, copy: Trial) -> float:
    """The budget of the parent's checkpoint from which a copy goes on."""
    first = copy.reports[0].budget if copy.reports else copy.budget
    return max((each.budget for each in parent.reports if each.budget < first), default=0.0)
