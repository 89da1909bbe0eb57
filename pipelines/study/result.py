"""What a study leaves for the reader: the leaderboard and what to do next."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpo.agreement import agreements, describe
from hpo.goals import Goal
from hpo.trial import Trial
from pipelines.findings.diagnosis import Diagnosis, diagnosis_lines
from pipelines.models import PERCENT_OF_ROWS

if TYPE_CHECKING:
    from pipelines.study.confirmation import Confirmation
    from pipelines.table.bootstrap import Interval

ROWS = 10


@dataclass(frozen=True)
class StudyResult:
    """A study that has ended, for now.

    `trials` are all of them; `baselines` and `test` hold values of the study's metric (baselines on
    the validation rows, `test` on the held-out rows, where that of the metric has an `interval`);
    `model_uri` is the winner's model, `winner_run` the run id of its trial, `version` its version
    when registered. `confirmation` is how the best few did on the rows divided anew, when that was
    asked for. `interrupted` means that the user asked for the end, `stopped` that trials were left
    unfinished for it, `findings` are the diagnosis, `report` is the link to the page with all of
    it, None when there is none; `in_memory` that the table has no place to be read from again;
    `budget_unit` is that of the rungs, when there are any, and `full` the largest; `timeout` is
    what the search was given, in seconds; `trained_on` is the number of rows of a model that was
    trained on the validation rows, too.
    """

    run_id: str
    goal: Goal
    trials: tuple[Trial, ...]
    wanted: int
    baselines: Mapping[str, float]
    test: Mapping[str, float]
    tracking_uri: str
    seconds: float
    winner: Trial | None = None
    winner_run: str = ""
    interval: "Interval | None" = None
    model_uri: str | None = None
    registered: str | None = None
    version: int | None = None
    link: str | None = None
    interrupted: bool = False
    stopped: bool = False
    in_memory: bool = False
    budget_unit: str | None = None
    confirmation: "Confirmation | None" = None
    complete: bool = True
    full: float = 1.0
    trained_on: int | None = None
    timeout: float | None = None
    findings: tuple[Diagnosis, ...] = ()
    report: str | None = None

    @property
    def metric(self) -> str:
        """The name of the score that decides."""
        return self.goal.name

    @property
    def best_params(self) -> Mapping[str, object]:
        """The winner's configuration; empty when nothing succeeded."""
        return self.winner.params if self.winner else {}

    @property
    def best_score(self) -> float:
        """The winner's value of the metric on the validation rows; nan when nothing succeeded."""
        return self.score(self.winner) if self.winner else float("nan")

    def score(self, trial: Trial) -> float:
        """A trial's value of the metric, as the user knows it."""
        return self.goal.from_loss(trial.loss)

    def __str__(self) -> str:
        """The leaderboard, the winner, and the next commands."""
        return "\n".join(
            [
                *self._leaderboard(),
                *self._rungs(),
                *self._confirmed(),
                *self._winner(),
                *self._diagnosis(),
                *self._next(),
            ]
        )

    def _leaderboard(self) -> list[str]:
        done = [trial for trial in self.trials if trial.reports]
        rows = [
            (f"trial {t.number}", self.score(t), self._where(t), short(t.params))
            for t in sorted(done, key=lambda t: (t.loss, t.number))[:ROWS]
        ]
        default = next((t for t in done if t.origin == "default"), None)
        if default and all(row[0] != f"trial {default.number}" for row in rows):
            rows.append(
                (
                    f"trial {default.number}",
                    self.score(default),
                    self._where(default),
                    short(default.params),
                )
            )
        rows += [(f"baseline {name}", value, "", "") for name, value in self.baselines.items()]
        width = max((len(row[0]) for row in rows), default=0)
        wide = max((len(row[2]) for row in rows), default=0)
        lines = [
            f"{name:<{width}}  {value:>10.5g}  {origin:<{wide}}  {params}"
            for name, value, origin, params in rows
        ]
        failed = sum(trial.failure is not None and not trial.reports for trial in self.trials)
        head = f"Leaderboard by {self.metric} on the validation rows ({len(done)} trial{'s' * (len(done) != 1)}"
        return [
            "",
            head + (f", {failed} failed)" if failed else ")"),
            *[line.rstrip() for line in lines],
            "",
        ]

    def _where(self, trial: Trial) -> str:
        """Where a trial comes from, how far it came where that differs, and where it was best if it got worse then."""
        if not self.budget_unit or trial.best is None:
            return trial.origin
        best = f", best at {trial.best.budget:g}" if trial.reports[-1].loss > trial.loss else ""
        fell = f", failed at {trial.budget:g}" if trial.failure else ""
        return f"{trial.origin}, {trial.reached:g} {self.budget_unit}{best}{fell}"

    def _rungs(self) -> list[str]:
        found = agreements(self.trials) if self.budget_unit else []
        return [describe(found, str(self.budget_unit)), ""] if found else []

    def _confirmed(self) -> list[str]:
        return [*self.confirmation.lines(), ""] if self.confirmation else []

    def _winner(self) -> list[str]:
        if self.winner is None or self.metric not in self.test:
            return []
        others = ", ".join(
            f"{name} {value:.5g}" for name, value in self.test.items() if name != self.metric
        )
        lines = [
            f"Held-out test rows: {self.metric} {self.test[self.metric]:.5g}"
            + (f" [{self.interval.low:.5g}, {self.interval.high:.5g}]" if self.interval else "")
            + (f"  ({others})" if others else "")
        ]
        lines.append(f"Model: {self.model_uri}")
        best = self.winner.best
        if best and self.budget_unit == PERCENT_OF_ROWS and best.budget < self.full:
            lines.append(
                f"Note: it was trained on {best.budget:g} {self.budget_unit}; `train` takes all of them"
            )
        elif self.budget_unit and self.winner.reached < self.full:
            lines.append(
                f"Note: it has had {self.winner.reached:g} of {self.full:g} {self.budget_unit}; to train it to the "
                f"end: {command('train', trial=self.winner_run)}"
            )
        if self.trained_on:
            lines.append(
                f"Note: it was trained on training and validation rows, {self.trained_on:,}; the score on the "
                "validation rows is that of a model trained without them"
            )
        if self.registered:
            lines.append(f"Registered: {self.registered} version {self.version}, alias challenger")
        to_loss = self.goal.to_loss
        better = [
            name
            for name, value in self.baselines.items()
            if to_loss(value) < to_loss(self.best_score)
        ]
        lines += [
            f"Note: no trial beats the baseline {name}; the table may need more rows or other columns"
            for name in better
        ]
        return [*lines, ""]

    def _diagnosis(self) -> list[str]:
        return [*diagnosis_lines(self.findings), ""] if self.report else []

    def _next(self) -> list[str]:
        lines = ["Next:"]
        if self.tracking_uri.startswith("http"):
            lines.append(f"  open     {self.link or self.tracking_uri}")
            lines += [f"           {self.report}"] if self.report else []
        else:
            lines.append(
                f"  look     mlflow ui --backend-store-uri {shlex.quote(self.tracking_uri)}"
            )
            lines += [f"           {link}" for link in (self.link, self.report) if link]
        if self.registered:
            lines.append(f"  promote  {command('promote', name=self.registered)}")
        unfinished = self.interrupted or not self.complete or len(self.trials) < self.wanted
        trials = self.wanted if unfinished else 2 * len(self.trials)
        if unfinished or self.wanted > 1:  # a single configuration is no search to go on with
            lines.append(f"  {'resume ' if unfinished else 'go on  '}  {self._again(trials)}")
        return lines

    def _again(self, trials: int) -> str:
        ends = {"trials": f"{trials}", **({"timeout": f"{self.timeout:g}"} if self.timeout else {})}
        if self.in_memory:
            given = ", ".join(f"{name}={value}" for name, value in ends.items())
            return f"tune(data=…, study={self.run_id!r}, {given}), with the same table"
        return command("tune", study=self.run_id, **ends)


def command(entry_point: str, **parameters: str) -> str:
    """A command of this project that can be pasted into a shell."""
    values = " ".join(f"-P {name}={shlex.quote(value)}" for name, value in parameters.items())
    return f"mlflow run . -e {entry_point} --env-manager local {values}"


def short(params: Mapping[str, object], most: int = 80) -> str:
    """A configuration in at most so many characters."""
    text = ", ".join(
        f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in params.items()
    )
    return text if len(text) <= most else text[: most - 1] + "…"


def failures(trials: Sequence[Trial]) -> str:
    """The commonest reason of the failed trials."""
    reasons = [trial.failure.splitlines()[0] for trial in trials if trial.failure]
    return max(reasons, key=reasons.count) if reasons else "none failed"
