"""What a session leaves for its user."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hpo.goals import Goal
from hpo.goals.leaders import leaders
from hpo.trial import Trial
from pipelines.findings.diagnosis import Diagnosis
from pipelines.study.choice.decision import Judged
from pipelines.study.plan import Plan
from pipelines.study.summary import line, summary

if TYPE_CHECKING:
    from pipelines.study.choice.confirmation import Confirmation
    from pipelines.study.choice.ensemble import Ensemble
    from pipelines.table.scores.bootstrap import Gain, Interval


@dataclass(frozen=True)
class BesideDefault:
    """The library's default on the held-out rows, and the gain of the winner over it there.

    Both are as the search trained them, without the validation rows: `refitted` says that the
    logged model was trained once more.
    """

    score: float
    gain: "Gain"
    refitted: bool = False

    def metrics(self, name: str) -> Mapping[str, float]:
        """What is logged of it, for the metric of this name."""
        gain = self.gain
        return {
            f"test_{name}_default": self.score,
            f"test_{name}_gain": gain.value,
            f"test_{name}_gain_low": gain.low,
            f"test_{name}_gain_high": gain.high,
        }

    def __str__(self) -> str:
        """A sentence about the gain, which may be noise."""
        as_searched = ", both without the validation rows" if self.refitted else ""
        gain, default = self.gain, f"the default ({self.score:.5g}{as_searched})"
        if gain.low <= 0 <= gain.high:
            within = max(-gain.low, gain.high)
            return f"no better than {default} within {within:.2g}, the chance of other rows (95 %)"
        sides = ("better", 1) if gain.value > 0 else ("worse", -1)
        ends = sorted((sides[1] * gain.low, sides[1] * gain.high))
        return f"{sides[0]} than {default} by {abs(gain.value):.3g} [{ends[0]:.3g}, {ends[1]:.3g}]"


@dataclass(frozen=True)
class Outcome:
    """What came of the winner.

    Attributes:
        test: its scores on held-out data, by name; empty without a winner.
        interval: of the deciding score.
        model_uri: of the logged model.
        version: of the registered model.
        trained_on: rows of a model that was trained once more, on more than the training rows.
        default: the default on the same rows; None if it won or its model is gone.
        decision: how its probabilities are calibrated and made to labels; None as they are.
    """

    test: Mapping[str, float]
    interval: "Interval | None" = None
    model_uri: str | None = None
    version: int | None = None
    trained_on: int | None = None
    default: BesideDefault | None = None
    decision: Judged | None = None


@dataclass(frozen=True)
class StudyResult:
    """A study at the end of a session. As text: the leaderboard, the winner and the next commands.

    Attributes:
        run_id: of the study.
        plan: of the study.
        trials: all of them.
        baselines: their scores on the validation rows, by name.
        tracking_uri: of the store, without secrets.
        seconds: that the session took.
        complete: whether nothing is left to train.
        outcome: what came of the winner.
        winner: the trial that won; None when there is no winner yet.
        winner_run: its run id.
        confirmation: how the best few did on repeated folds, with `confirm`.
        ensemble: the trials whose mean prediction wins; `winner` has the largest weight of them.
        findings: the diagnosis.
        link: of a view of the study in the UI.
        report: of the page with figures; None when there is none.
        interrupted: the user asked for the end.
        stopped: trials were left unfinished.
        exhausted: all configurations of the space have been tried.
        stalled: the last trials brought no better result, so the search ended early.
        given_again: the options that a resumed study has to be given again (`Objective.again`).
        expected_gain: what 20 more trials are expected to improve the best score by; None if that
            is unknown.
        spent: the trainings have cost all that the option `budget` allows.
    """

    run_id: str
    plan: Plan
    trials: tuple[Trial, ...]
    baselines: Mapping[str, float]
    tracking_uri: str
    seconds: float
    complete: bool
    outcome: Outcome
    winner: Trial | None = None
    winner_run: str = ""
    confirmation: "Confirmation | None" = None
    ensemble: "Ensemble | None" = None
    findings: tuple[Diagnosis, ...] = ()
    link: str | None = None
    report: str | None = None
    interrupted: bool = False
    stopped: bool = False
    exhausted: bool = False
    stalled: bool = False
    given_again: Mapping[str, str | None] = field(default_factory=dict)
    expected_gain: float | None = None
    spent: bool = False

    @property
    def goal(self) -> Goal:
        """The score that decides."""
        return self.plan.goal

    @property
    def metric(self) -> str:
        """The name of the score that decides."""
        return self.goal.name

    @property
    def best_params(self) -> Mapping[str, object]:
        """The winner's configuration; empty without a winner."""
        return self.winner.params if self.winner else {}

    @property
    def best_score(self) -> float:
        """The winner's score in the search; nan without a winner."""
        return self.score(self.winner) if self.winner else float("nan")

    @property
    def front(self) -> tuple[Trial, ...]:
        """The trials that no other one dominates; with one goal, the best."""
        return tuple(self.trials[number] for number in leaders(self.trials, self.plan.goals).front)

    @property
    def test(self) -> Mapping[str, float]:
        """The winner's scores on the held-out rows, by name."""
        return self.outcome.test

    @property
    def interval(self) -> "Interval | None":
        """The interval of the deciding score on the held-out rows."""
        return self.outcome.interval

    @property
    def model_uri(self) -> str | None:
        """The URI of the winner's model."""
        return self.outcome.model_uri

    @property
    def version(self) -> int | None:
        """The version of the registered model; None when none was registered."""
        return self.outcome.version

    def score(self, trial: Trial) -> float:
        """A trial's best score, in the goal's direction."""
        return self.goal.from_loss(trial.loss)

    @property
    def line(self) -> str:
        """The result in one line."""
        return line(self)

    def __str__(self) -> str:
        return summary(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What a notebook shows as the value of a cell."""
        printer.text("…" if cycle else str(self))
