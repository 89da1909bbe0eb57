"""Trials as values: what was granted, what was reported, what failed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hpo.space import Params


@dataclass(frozen=True)
class Report:
    """The outcome of one leg of a trial.

    `budget` is what was reached (the unit is the model's: rounds, steps), `loss` is always
    minimised, `metrics` are as the user knows them, `seconds` is the training time of the leg, and
    `curve` holds at most 50 `(budget, metric)` points. `note` is a sentence for the user, if there
    is something to say; `over` says that the training came to its own end before the budget, so
    that more of it changes nothing.
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
    """A leg that ended without a loss, and why."""

    reason: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Trial:
    """One configuration and all that is known of it.

    `budget` is what was granted, the last report's what was reached; granted > reached and nobody
    holding it means that its process was lost and that the leg is to be handed out again.
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
        """The report with the smallest loss, the earliest of equals: what the trial is worth.

        A later leg that does worse, or fails, takes nothing away.
        """
        return min(self.reports, key=lambda report: report.loss, default=None)

    @property
    def loss(self) -> float:
        """The smallest reported loss; infinite before the first report."""
        return self.best.loss if self.best else math.inf

    @property
    def seconds(self) -> float:
        """Training seconds over all legs."""
        return sum(report.seconds for report in self.reports)

    @property
    def finished(self) -> bool:
        """Nothing is owed to this trial: it failed, or reached what was granted."""
        return self.failure is not None or self.reached >= self.budget

    def told(self, outcome: Report | Failure) -> "Trial":
        """This trial with the outcome of its leg; a report whose loss is not a number becomes a failure."""
        if isinstance(outcome, Failure):
            return replace(self, failure=outcome.reason)
        if not math.isfinite(outcome.loss):
            return replace(self, failure=f"loss is {outcome.loss}; a finite number was expected")
        return replace(self, reports=(*self.reports, outcome))
