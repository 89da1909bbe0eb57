"""The best few trials once more, on more than one division of the rows, before the winner is named.

Of 500 trials with the same true score the best has been lucky on the validation rows. The best few
are therefore trained again on repeated folds of the rows that the search may see, each on the same
ones, so that they can be compared in pairs; the winner is the one with the best mean. What was
scored is kept with the trial at once, so a study that is resumed trains the rest only.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpo.errors import JobError, TimeLimitExceeded, WorkerDied
from hpo.loop import Job, Stop
from hpo.trial import Report, Trial
from pipelines.objectives.table import Part, parts_folder
from pipelines.store import schema
from pipelines.store.schema import Confirmed
from pipelines.study.plan import Plan
from pipelines.study.workshop import Pool
from pipelines.table.metrics import METRICS, Metric

if TYPE_CHECKING:
    from pipelines.store.storage import MlflowStorage
    from pipelines.table.data import Prepared
    from pipelines.table.estimates import Difference, Estimate
    from pipelines.table.splits import Rows

REPEATS, FOLDS = 2, 5
POLL = 0.2  # seconds between looks at what the user wants
ALIKE = 0.05  # a p-value above this says nothing


@dataclass(frozen=True)
class Confirmation:
    """How the best few trials did on the same parts, and what that says.

    `scores` are `(n_parts,)` values of the metric by trial number, `estimate` the mean of the
    winner's, `against` by how much the winner is better than each other trial, the best first.
    `searched` is the trial that the search itself found best, `default` the library's default, and
    `failures` say why a trial is missing.
    """

    metric: str
    winner: int
    searched: int
    default: int | None
    scores: Mapping[int, tuple[float, ...]]
    estimate: "Estimate"
    against: Mapping[int, "Difference"]
    failures: Mapping[int, str]

    @property
    def means(self) -> Mapping[int, float]:
        """The mean score of each trial."""
        return {number: float(np.mean(scores)) for number, scores in self.scores.items()}

    @property
    def runner_up(self) -> int | None:
        """The trial with the second best mean."""
        return next(iter(self.against), None)

    def lines(self) -> list[str]:
        """What it comes to, for a reader."""
        n, found = len(self.scores[self.winner]), self.estimate
        lines = [
            f"Confirmed on {n} parts of the search's rows, {len(self.scores)} trials: trial {self.winner}, "
            f"{self.metric} {found.mean:.5g} [{found.low:.5g}, {found.high:.5g}]"
            + (
                f"; the search's best was trial {self.searched}"
                if self.searched != self.winner
                else ""
            )
        ]
        shown = dict.fromkeys(
            number for number in (self.default, self.runner_up) if number in self.against
        )
        lines += [f"  {self._compared(number)}" for number in shown if number is not None]
        lines += [
            f"  trial {number} failed: {reason:.200}" for number, reason in self.failures.items()
        ]
        return lines

    def _compared(self, number: int) -> str:
        names = {self.default: "the default", self.runner_up: "the runner-up"}
        found = self.against[number]
        verdict = (
            "no more than chance may give" if found.adjusted > ALIKE else "more than chance gives"
        )
        of = f" (of {len(self.against)} tests)" if len(self.against) > 1 else ""
        return (
            f"better than {names[number]}, trial {number}, by {found.estimate.mean:.3g} [{found.estimate.low:.3g}, "
            f"{found.estimate.high:.3g}], p = {found.adjusted:.2g}{of}: {verdict}"
        )

    def to_tag(self) -> str:
        """The same for programs, as JSON."""
        return json.dumps(
            {
                "winner": self.winner,
                "searched": self.searched,
                "means": self.means,
                "tests": [
                    {
                        "trial": number,
                        "p": found.p,
                        "p_holm": found.adjusted,
                        **found.estimate.__dict__,
                    }
                    for number, found in self.against.items()
                ],
            }
        )


def candidates(trials: Sequence[Trial], most: int) -> tuple[Trial, ...]:
    """The best trials with a result, `most` of them, and the default as the reference."""
    ranked = sorted((t for t in trials if t.reports), key=lambda t: (t.loss, t.number))
    default = [trial for trial in ranked[most:] if trial.origin == "default"]
    return (*ranked[:most], *default)


def confirm(
    plan: Plan,
    prepared: "Prepared",
    pool: Pool,
    folder: Path,
    storage: "MlflowStorage",
    trials: Sequence[Trial],
    *,
    stop: Stop,
    time_limit: float,
    say: Callable[[str], None],
) -> Confirmation | None:
    """Score each of `trials` (the search's best first) on the same parts; None when that came to nothing.

    A training that fails or takes more than `time_limit` seconds costs its trial only. A request to
    stop ends it: what was scored is kept.
    """
    rows = prepared.resampled(plan.data.split, repeats=REPEATS, folds=FOLDS, seed=plan.seed)
    known = {trial.number: _known(storage, trial, rows) for trial in trials}
    parts = len(rows.folds)
    missing = sum(parts - len(each.scores) for each in known.values() if each.failure is None)
    say(
        f"confirming {len(trials)} trials on {parts} parts of the search's rows: {missing} trainings"
        + (
            f", {parts * len(trials) - missing} are there already"
            if missing < parts * len(trials)
            else ""
        )
    )
    if missing:
        prepared.save_parts(parts_folder(folder), rows)
        if not _train(pool, storage, trials, known, parts, METRICS[plan.metric], stop, time_limit):
            say(
                "the confirmation was interrupted: its scores are kept, and the search's own best wins for now; the "
                "study goes on with it when it is resumed"
            )
            return None
    whole = {
        n: tuple(each.scores[i] for i in range(parts))
        for n, each in known.items()
        if not each.failure
    }
    failures = {n: each.failure for n, each in known.items() if each.failure}
    if not whole:
        say(
            f"warning: no trial could be confirmed, the search's own best wins: {failures[trials[0].number]}"
        )
        return None
    default = next((trial.number for trial in trials if trial.origin == "default"), None)
    found = judge(plan.metric, whole, _ratio(rows), trials[0].number, default, failures)
    _note(storage, found)
    return found


def judge(
    metric: str,
    scores: Mapping[int, tuple[float, ...]],
    ratio: float,
    searched: int,
    default: int | None,
    failures: Mapping[int, str],
) -> Confirmation:
    """Name the winner among trials with `(n_parts,)` scores, `ratio` being n_test / n_train, and test what it is worth.

    Of equals the first wins. All comparisons with the winner share Holm's correction, since it was
    chosen among all.
    """
    from pipelines.table.estimates import differences, mean_of

    sign = METRICS[metric].to_loss(1.0)
    ranked = sorted(scores, key=lambda number: sign * float(np.mean(scores[number])))
    winner, *others = ranked
    gains = [sign * (np.array(scores[other]) - np.array(scores[winner])) for other in others]
    against = dict(zip(others, differences(gains, ratio), strict=True))
    return Confirmation(
        metric, winner, searched, default, scores, mean_of(scores[winner], ratio), against, failures
    )


def _known(storage: "MlflowStorage", trial: Trial, rows: "Rows") -> Confirmed:
    budget = trial.best.budget if trial.best else trial.budget
    there = storage.notes.confirmed(trial.number)
    if there is not None and (there.rows, there.budget) == (rows.digest, budget):
        return there
    return Confirmed(rows.digest, budget, {})


def _train(
    pool: Pool,
    storage: "MlflowStorage",
    trials: Sequence[Trial],
    known: dict[int, Confirmed],
    parts: int,
    metric: Metric,
    stop: Stop,
    time_limit: float,
) -> bool:
    """Train what is missing, part by part, so that a worker reads each part once; False when the user wants to stop."""
    todo = [
        (part, trial)
        for part in range(parts)
        for trial in trials
        if part not in known[trial.number].scores
    ]
    todo.reverse()
    running: dict[Future[Report], tuple[int, int]] = {}
    while todo or running:
        if stop.level:
            return False
        while todo and pool.free > 0:
            part, trial = todo.pop()
            if known[trial.number].failure is None:
                job = Job(trial.number, trial.params, 0.0, known[trial.number].budget)
                running[pool.submit(Part(job, part), time_limit)] = (trial.number, part)
        if not running:
            time.sleep(POLL if todo else 0.0)
            continue
        for future in pool.wait(running, POLL):
            number, part = running.pop(future)
            try:
                score = metric.from_loss(future.result().loss)
            except (JobError, WorkerDied, TimeLimitExceeded) as error:
                known[number] = replace(known[number], failure=str(error))
                storage.notes.add_confirmed(number, known[number])
                continue
            known[number] = replace(known[number], scores={**known[number].scores, part: score})
            storage.notes.add_confirmed(number, known[number], part)
    return True


def _ratio(rows: "Rows") -> float:
    return float(np.mean([len(valid) / len(train) for train, valid in rows.folds]))


def _note(storage: "MlflowStorage", found: Confirmation) -> None:
    """The means on the trials' runs; the winner's interval and the tests on the study's."""
    for number, mean in found.means.items():
        storage.notes.annotate(metrics={f"confirm_{found.metric}_mean": mean}, trial=number)
    bounds = {
        f"confirm_{found.metric}_{name}": value for name, value in found.estimate.__dict__.items()
    }
    storage.notes.annotate(metrics=bounds, tags={schema.CONFIRMATION: found.to_tag()})
