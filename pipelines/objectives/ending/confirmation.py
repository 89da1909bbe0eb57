"""Confirmation: the best few trials are trained again on repeated folds before the winner is named.

Of 500 trials with the same true score, the best one was lucky on the validation rows. So the best
few are trained again on repeated folds of the rows that the search may see. All are trained on the
same folds, which makes paired comparisons possible; the winner has the best mean. Each score is
stored with its trial at once, so that a resumed study trains the rest only.
"""

import time
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hpo.configurations import Identity, by_value
from hpo.errors import JobError, TimeLimitExceeded, WorkerDied, counted
from hpo.goals import Goal
from hpo.loop import Job, StopLevel
from hpo.trial import Report, Trial, schedule, seconds_again
from pipelines.models import identity
from pipelines.objectives.jobs import PARTS, Part
from pipelines.store import StudyNotes, schema
from pipelines.store.schema import Confirmed
from pipelines.study.choice.confirmation import Confirmation
from pipelines.study.ending import Ending
from pipelines.study.workshop import POLL, Pool

if TYPE_CHECKING:
    from pipelines.table.data import Prepared
    from pipelines.table.splits import Rows

REPEATS, FOLDS = 2, 5


def candidates(
    trials: Sequence[Trial], most: int, identity: Identity = by_value
) -> tuple[Trial, ...]:
    """The best `most` trials with a result, best first, and the default as the reference."""
    ranked = best_distinct(trials, len(trials), identity)
    default = [trial for trial in ranked[most:] if trial.origin == "default"]
    return (*ranked[:most], *default)


def best_distinct(
    trials: Sequence[Trial], most: int, identity: Identity = by_value
) -> tuple[Trial, ...]:
    """The best `most` trials with a result, best first.

    Of trials with the same configuration (`identity`) there is the best one.
    """
    best: dict[Hashable, Trial] = {}
    for trial in sorted((t for t in trials if t.reports), key=lambda t: (t.loss, t.number)):
        best.setdefault(identity(trial.params), trial)
    return tuple(best.values())[:most]


def seconds_to_confirm(trials: Sequence[Trial], most: int) -> float:
    """What one worker is expected to take to confirm the best `most` trials."""
    seconds = sum(seconds_again(trials, trial) for trial in candidates(trials, most))
    return REPEATS * FOLDS * seconds


def _in_time(ending: Ending, trials: Sequence[Trial], most: int) -> int:
    """How many of the best trials can be confirmed until the timeout is over."""
    while most > 1 and not ending.has_time_for(seconds_to_confirm(trials, most)):
        most -= 1
    return most


def confirm(ending: Ending, prepared: "Prepared", most: int) -> Confirmation | None:
    """Score the best `most` trials on the same repeated folds; None when that came to nothing.

    A training that fails or is too slow costs its trial only. A request to stop ends the
    confirmation; the scores so far are stored.
    """
    plan, say = ending.plan, ending.say
    wanted, most = most, _in_time(ending, ending.trials, most)
    if most == 1 < wanted:
        say("the timeout leaves no time to confirm trials, so the best trial of the search wins")
        return None
    if most < wanted:
        say(f"the timeout leaves time to confirm {most} of the best {wanted} trials")
    trials = candidates(ending.trials, most, identity(plan.model))
    rows = prepared.resampled(repeats=REPEATS, folds=FOLDS, seed=plan.seed)
    scoring = _Scoring(
        ending, trials, len(rows.folds), {t.number: _known(ending, t, rows) for t in trials}
    )
    missing, total = len(scoring.todo()), scoring.parts * len(trials)
    there = f", {total - missing} are there already" if missing < total else ""
    say(
        f"confirming {counted(len(trials), 'trial')} on {scoring.parts} parts of the search's "
        f"rows: {missing} trainings{there}"
    )
    if missing:
        ending.workshop.exchange.put(PARTS, lambda folder: prepared.save_parts(folder, rows))
        if not scoring.run():
            say(
                "the confirmation was interrupted and its scores are stored; for now the best "
                "trial of the search wins, and a resumed study finishes the confirmation"
            )
            return None
    scores, failures = scoring.scores(), scoring.failures()
    if not scores:
        say(
            "warning: no trial could be confirmed, so the best trial of the search wins: "
            f"{failures[trials[0].number]}"
        )
        return None
    default = next((trial.number for trial in trials if trial.origin == "default"), None)
    found = judge(ending.goal, scores, _ratio(rows))
    found = replace(found, searched=trials[0].number, default=default, failures=failures)
    _log(ending.store.notes, found)
    return found


def judge(goal: Goal, scores: Mapping[int, tuple[float, ...]], ratio: float) -> Confirmation:
    """Name the winner among trials and test what it gains over the others.

    Of equals the first wins. All comparisons with the winner share Holm's correction, because it
    was chosen among all.

    Args:
        goal: of the scores.
        scores: `(n_parts,)` by trial number.
        ratio: n_test / n_train of the parts.
    """
    from pipelines.table.scores.estimates import differences, mean_of

    losses = {number: goal.to_loss(np.array(each)) for number, each in scores.items()}
    winner, *others = sorted(losses, key=lambda number: float(losses[number].mean()))
    gains = [losses[other] - losses[winner] for other in others]
    against = dict(zip(others, differences(gains, ratio), strict=True))
    return Confirmation(
        metric=goal.name,
        winner=winner,
        searched=winner,
        default=None,
        scores=scores,
        estimate=mean_of(scores[winner], ratio),
        against=against,
        failures={},
    )


@dataclass
class _Scoring:
    """Trainings of `trials` on `parts`; `known` are the scores so far, by trial number."""

    ending: Ending
    trials: tuple[Trial, ...]
    parts: int
    known: dict[int, Confirmed]

    def todo(self) -> list[tuple[int, Trial]]:
        """What is to be trained, part by part, so that a worker reads each part once."""
        return [
            (part, trial)
            for part in range(self.parts)
            for trial in self.trials
            if self.known[trial.number].failure is None
            and part not in self.known[trial.number].scores
        ]

    def scores(self) -> dict[int, tuple[float, ...]]:
        """The scores of each trial that has all of them."""
        whole = {n: each.scores for n, each in self.known.items() if each.failure is None}
        return {n: tuple(scores[i] for i in range(self.parts)) for n, scores in whole.items()}

    def failures(self) -> dict[int, str]:
        """Why trials have no scores."""
        return {n: each.failure for n, each in self.known.items() if each.failure is not None}

    def run(self) -> bool:
        """Train what is missing; False when the user stops it."""
        with self.ending.idle_workers() as pool:
            return self._run_in(pool)

    def _run_in(self, pool: Pool) -> bool:
        todo = self.todo()[::-1]
        running: dict[Future[Report], tuple[int, int]] = {}
        while todo or running:
            if self.ending.stop.level > StopLevel.CONTINUE:
                return False
            while todo and pool.free > 0:
                part, trial = todo.pop()
                known = self.known[trial.number]
                if known.failure is None:
                    before = schedule(self.ending.trials, trial.number)[:-1]
                    job = Job(trial.number, trial.params, 0.0, known.budget, before)
                    future = pool.submit(Part(job, part), self.ending.plan.extent.time_limit)
                    running[future] = (trial.number, part)
            if not running:
                time.sleep(POLL if todo else 0.0)
                continue
            for future in pool.wait(running, POLL):
                self._store(*running.pop(future), future)
        return True

    def _store(self, number: int, part: int, future: "Future[Report]") -> None:
        known, notes = self.known[number], self.ending.store.notes
        try:
            score = self.ending.goal.from_loss(future.result().loss)
        except (JobError, WorkerDied, TimeLimitExceeded) as error:
            self.known[number] = replace(known, failure=str(error))
            notes.add_confirmed(number, self.known[number])
            return
        self.known[number] = replace(known, scores={**known.scores, part: score})
        notes.add_confirmed(number, self.known[number], part)


def _known(ending: Ending, trial: Trial, rows: "Rows") -> Confirmed:
    """What is stored of a trial on exactly these folds and at its best budget."""
    budget = trial.best.budget if trial.best else trial.budget
    stored = ending.store.notes.confirmed(trial.number)
    if stored is not None and (stored.rows, stored.budget) == (rows.digest, budget):
        return stored
    return Confirmed(rows.digest, budget, {})


def _ratio(rows: "Rows") -> float:
    return float(np.mean([len(valid) / len(train) for train, valid in rows.folds]))


def _log(notes: StudyNotes, found: Confirmation) -> None:
    """Log the means with the trials; the winner's interval and the tests with the study."""
    for number, mean in found.means.items():
        notes.annotate(metrics={f"confirm_{found.metric}_mean": mean}, trial=number)
    bounds = {f"confirm_{found.metric}_{name}": v for name, v in found.estimate.__dict__.items()}
    notes.annotate(metrics=bounds, tags={schema.CONFIRMATION: found.to_tag()})
