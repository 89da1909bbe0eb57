"""The trainings after a search: models of the winner that are missing, or are to see more rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hpo.errors import JobError, StudyError, WorkerDied
from hpo.loop import Job
from hpo.trial import Report, Trial, schedule, seconds_again
from pipelines.objectives.ensemble.library import predictions_of
from pipelines.objectives.jobs import (
    BEST,
    TEST,
    Baseline,
    Rebuild,
    Refit,
    best_label,
    best_report,
    models_of,
    refit_label,
)
from pipelines.study.ending import Ending
from pipelines.study.workshop import wait_for

if TYPE_CHECKING:
    from pipelines.table.data import Prepared

_MORE = 1.25  # a refit has more rows than a training of the search, but ends at its best round
TRIVIAL = "trivial"  # the baseline that the registry compares with
DEFAULT_ORIGIN = "default"  # of the trial of the library's default

AgainJob = Baseline | Rebuild | Refit
Train = Callable[[Sequence[AgainJob], Ending], object]  # None when the user stops it


def default_trial(ending: Ending) -> Trial | None:
    """The trial of the library's default; None without a result of it."""
    found = (trial for trial in ending.trials if trial.origin == DEFAULT_ORIGIN and trial.reports)
    return next(found, None)


@dataclass(frozen=True)
class Final:
    """How the models of the winner are trained.

    Attributes:
        refits: whether they are trained once more, on training and validation rows.
        uses_test_rows: whether the logged ones see the test rows, too.
    """

    refits: bool
    uses_test_rows: bool

    def labels(self, trial: Trial) -> tuple[str, str]:
        """The labels of a trial's models that are scored, and of those that are logged."""
        scored = refit_label(trial.number) if self.refits else best_label(trial)
        if self.uses_test_rows:
            return scored, refit_label(trial.number, test_rows=True)
        return scored, scored

    def ensure(self, trials: Sequence[Trial], prepared: "Prepared", ending: Ending) -> bool:
        """Train what is missing of the models of some trials; False when the user stops it.

        Raises:
            StudyError: when a training fails.
        """
        if self.refits:
            return self._refit(trials, prepared, ending)
        exchange = ending.workshop.exchange
        missing = [trial for trial in trials if not exchange.has(models_of(best_label(trial)))]
        if not missing:
            return True
        ending.say(f"training {_named(missing)} once more: {_their(missing)} was not stored")
        reports = self.train([Rebuild(job_again(ending, trial)) for trial in missing], ending)
        if reports is None:
            return False
        for trial, report in zip(missing, reports, strict=True):
            _compare(trial, report, ending)
        return True

    def _refit(self, trials: Sequence[Trial], prepared: "Prepared", ending: Ending) -> bool:
        """Train the trials that are not yet, and the trivial baseline, on more rows.

        With `refit=all` a second model of each trial is trained on the test rows, too.
        """
        exchange = ending.workshop.exchange
        wanted = [t for t in trials if not exchange.has(models_of(self.labels(t)[1]))]
        if not wanted:
            return True
        best = self._best_iterations(wanted, ending)
        if best is None:
            return False
        rows = len(prepared.rows.rest)
        ending.say(f"training {_named(wanted)} once more, on {rows:,} rows")
        refits = [
            Refit(job_again(ending, t), rounds) for t, rounds in zip(wanted, best, strict=True)
        ]
        jobs: list[AgainJob] = [Baseline(TRIVIAL, whole=True), *refits]
        if self.uses_test_rows:
            exchange.put(TEST, prepared.save_test)
            ending.say(f"and, for what is logged, on all {len(prepared.frame):,} rows")
            jobs += [replace(job, test_rows=True) for job in refits]
        return self.train(jobs, ending) is not None

    def _best_iterations(self, trials: Sequence[Trial], ending: Ending) -> list[float] | None:
        """The metric `BEST` of each; a trial whose store has lost it is trained again."""
        found = {t.number: best_report(t).metrics.get(BEST) for t in trials}
        lost = [trial for trial in trials if found[trial.number] is None]
        again = [Rebuild(job_again(ending, trial)) for trial in lost]
        reports = self.train(again, ending) if again else []
        if reports is None:
            return None
        now = {t.number: report.metrics[BEST] for t, report in zip(lost, reports, strict=True)}
        return [now[n] if rounds is None else rounds for n, rounds in found.items()]

    def train(self, jobs: Sequence[AgainJob], ending: Ending) -> list[Report] | None:
        """Do jobs; None when the user stops it.

        Raises:
            StudyError: when one fails.
        """
        reports: list[Report] = []
        try:
            with ending.idle_workers() as pool:
                futures = [pool.submit(job) for job in jobs]
                for future in futures:
                    if not wait_for(future, ending.stop):
                        pool.shutdown(now=True)
                        return None
                    reports.append(future.result())
            return reports
        except (JobError, WorkerDied) as error:
            raise StudyError(
                f"training {_jobs_named(jobs)} once more failed: {error}; all trials are stored: "
                f"when that is repaired, `tune` with study={ending.store.run_id} logs the winner"
            ) from error


def seconds_to_refit(trials: Sequence[Trial], chosen: Sequence[Trial], folds: int) -> float:
    """What one worker is expected to take to train some once more, on the rows of all folds."""
    return _MORE * sum(seconds_again(trials, trial) for trial in chosen) / folds


def without_predictions(ending: Ending, trials: Sequence[Trial]) -> list[Rebuild]:
    """What trains those again whose predictions of the validation rows are not stored."""
    exchange = ending.workshop.exchange
    lacking = [t for t in trials if not exchange.has(predictions_of(best_label(t)))]
    return [Rebuild(job_again(ending, trial)) for trial in lacking]


def job_again(ending: Ending, trial: Trial) -> Job:
    """What trains a trial once more, from the start to its best budget.

    A copy is trained with the values that it had over time.
    """
    before = schedule(ending.trials, trial.number)[:-1]
    return Job(trial.number, trial.params, 0.0, best_report(trial).budget, before)


def _named(trials: Sequence[Trial]) -> str:
    return _numbered([trial.number for trial in trials])


def _jobs_named(jobs: Sequence[AgainJob]) -> str:
    return _numbered([job.job.number for job in jobs if not isinstance(job, Baseline)])


def _numbered(numbers: Sequence[int]) -> str:
    found = dict.fromkeys(numbers)
    return f"trial{'s' * (len(found) > 1)} {', '.join(map(str, found))}"


def _their(trials: Sequence[Trial]) -> str:
    return "its model" if len(trials) == 1 else "a model of each"


def _compare(trial: Trial, again: Report, ending: Ending) -> None:
    """Warn when a training that is repeated has another loss."""
    if again.loss != trial.loss:
        before, now = ending.goal.from_loss(trial.loss), ending.goal.from_loss(again.loss)
        ending.say(
            f"warning: trial {trial.number} scored {before:.8g} before and {now:.8g} now; were "
            "libraries or the kind of machine changed in between?"
        )
