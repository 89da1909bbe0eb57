"""One session of a study: from the workers' first job to the winner.

The session knows an objective (`pipelines.study.objective`), a conclusion
(`pipelines.study.ending`), a store and a workshop. What is evaluated, what becomes of it, where it
is stored and where it runs is theirs.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from hpo.errors import (
    StudyError,
    TakenError,
    UserError,
    reason,
)
from hpo.loop import Stop, StopLevel
from hpo.past import Past
from pipelines.files.refused import why_refused
from pipelines.files.uris import safe
from pipelines.store import StudyStore, schema
from pipelines.study.choice.front import log_front
from pipelines.study.ending import Choice, Conclusion, Ending
from pipelines.study.objective import Objective
from pipelines.study.plan import Plan
from pipelines.study.progress import Reporter
from pipelines.study.report import SavedReport
from pipelines.study.result import Outcome, StudyResult
from pipelines.study.search import Search
from pipelines.study.session.baselines import Baselines
from pipelines.study.session.introduction import introduction
from pipelines.study.session.questions import save_questions
from pipelines.study.session.signals import interrupts
from pipelines.study.session.written import NoAnswerError, saved_report, wait_until_written
from pipelines.study.workshop import Workshop
from pipelines.study.workshop.checkpointing import CheckpointKeeper

logger = logging.getLogger(__name__)

AT_ONCE, UNHURRIED = 2.0, 60.0  # seconds to write what is left when the study closes


@dataclass(frozen=True)
class Setup:
    """What a session works with.

    Attributes:
        plan: of the study.
        objective: what is evaluated.
        conclusion: what follows the search.
        workshop: where it runs.
        store: where the trials are stored.
        past: the model of past studies, if the study learns from them.
        notes: lines to show before the search.
        make_report: makes the report of a study that is written; None for no report.
    """

    plan: Plan
    objective: Objective
    conclusion: Conclusion
    workshop: Workshop
    store: StudyStore
    past: Past | None = None
    notes: Sequence[str] = ()
    make_report: Callable[[str], SavedReport] | None = None


def run_study(setup: Setup) -> StudyResult:
    """Run a study to its end and close its store.

    Raises:
        StudyError: when no trial succeeded, or the timeout was too short for one.
    """
    store = setup.store
    with interrupts() as stop:
        try:
            result = _Session(setup, stop).run()
        except BaseException as error:
            told = _told(error, store.run_id)
            _close_after(told, store)
            if told is error:
                raise
            raise told from error
        status, timeout = ("KILLED", AT_ONCE) if result.stopped else ("FINISHED", UNHURRIED)
        delivered = store.close(status, complete=result.complete, timeout=timeout)
    if not delivered:
        logger.warning(
            "MLflow cannot be reached: results are queued on disk, and written when the study is "
            "resumed"
        )
    return result


def _told(error: BaseException, study: str) -> BaseException:
    """The error to show: what the system refused is a sentence, with what to do then."""
    if (why := why_refused(error)) is None:
        return error
    return StudyError(
        f"{why}; all results are stored: when that is repaired, resume with study={study}"
    )


def _close_after(error: BaseException, store: StudyStore) -> None:
    """Close the store of a session that ended in `error`, which matters more than errors here."""
    try:
        if isinstance(error, KeyboardInterrupt):
            store.close("KILLED", "interrupted", timeout=AT_ONCE)
            logger.warning("stopped; resume with study=%s", store.run_id)
        else:
            timeout = AT_ONCE if isinstance(error, NoAnswerError) else UNHURRIED
            store.close("FAILED", reason(error), timeout=timeout)
    except TakenError:
        pass  # as `error` says
    except UserError as second:
        if str(second) == str(error):
            return
        logger.warning("the study could not be closed: %s", second)


class _Session:
    """The state of a running session; exists only inside `run_study`."""

    def __init__(self, setup: Setup, stop: Stop) -> None:
        self.plan = setup.plan
        self.objective = setup.objective
        self.conclusion = setup.conclusion
        self.workshop = setup.workshop
        self.store = setup.store
        self.setup = setup
        self.stop = stop
        self.search = Search(setup.plan, setup.objective, setup.store, setup.past)
        self.checkpoints = CheckpointKeeper(setup.plan, setup.store.run_id)
        self.started = setup.workshop.opened

    def run(self) -> StudyResult:
        checkpoints = self.checkpoints.uri if self._keeps_checkpoints else None
        self.objective.publish(self.workshop.exchange, checkpoints)
        baselines = Baselines(self.objective, self.workshop.pool)
        target = self.search.target(self.started).to_tag()
        self.store.notes.annotate(tags={schema.SESSION: target})
        with self._reporter() as reporter:
            for line in self._introduction():
                reporter.say(line)
            self.search.run(
                self.objective,
                self.conclusion,
                self.workshop,
                self.checkpoints,
                self.stop,
                reporter,
                began=self.started,
            )
            save_questions(self.search.sampler, self.store.notes, reporter.say)
            for line in self.search.why_over():
                reporter.say(line)
            scores = baselines.scores(self.store.notes, self.stop, reporter.say)
            ending = self._ending(scores, reporter)
            choice = self._choose(ending)
            ending.end_legs()
            self.checkpoints.close(self.search.study, reporter.say)
            if choice and (result := self._end(choice, ending)):
                return replace(result, interrupted=self.stop.level > StopLevel.CONTINUE)
        if failure := self.search.failure(self.store.run_id, self.stop.level):
            raise StudyError(failure)
        result = self._result(scores, Outcome({}))
        confirmation = choice.confirmation if choice else None
        return replace(result, confirmation=confirmation, interrupted=True, stopped=True)

    def _reporter(self) -> Reporter:
        plan = self.plan
        left = plan.extent.timeout and max(self._until - time.monotonic(), 0.1)
        unit = plan.budget_unit if plan.races else None
        return Reporter(plan.goals, self.search.n_trials, left, self.search.share, unit=unit)

    def _end(self, choice: Choice, ending: Ending) -> StudyResult | None:
        """Finish with a winner; None when the user wants to stop now."""
        with self._in_call():
            outcome = self.conclusion.finished(choice, ending)
        secured = choice if outcome else self._secured(choice, ending)
        if secured is None or not wait_until_written(self.store, self.stop, ending.say):
            return None
        self._log_gain_of_past(ending)
        log_front(self.search.study, self.store.notes, ending.say)
        with self._in_call():
            outcome = outcome or self.conclusion.finish(secured, ending)
            return self._finished(secured, outcome, ending)

    @property
    def _until(self) -> float:
        """When the timeout is over, on `time.monotonic`."""
        return self.started + (self.plan.extent.timeout or math.inf)

    @contextmanager
    def _in_call(self) -> Iterator[None]:
        """Let a request to stop now end what waits for MLflow itself, by a `KeyboardInterrupt`."""
        self.stop.in_call = True
        try:
            yield
        finally:
            self.stop.in_call = False

    @property
    def _keeps_checkpoints(self) -> bool:
        """Whether the workers reach the place of the checkpoints."""
        return self.plan.checkpoints is not None or self.workshop.shares_disk

    def _introduction(self) -> Iterator[str]:
        return introduction(
            self.plan,
            self.objective,
            self.search,
            study=self.store.run_id,
            notes=self.setup.notes,
            cluster=self.workshop.cluster,
            keeps_checkpoints=self._keeps_checkpoints,
        )

    def _ending(self, baselines: Mapping[str, float], reporter: Reporter) -> Ending:
        trials = self.search.study.trials
        return Ending(
            plan=self.plan,
            trials=trials,
            baselines=baselines,
            workshop=self.workshop,
            store=self.store,
            stop=self.stop,
            say=reporter.say,
            until=self._until - self.search.closing,
        )

    def _choose(self, ending: Ending) -> Choice | None:
        best = self.search.study.best_trial
        return None if best is None else self.conclusion.choose(best, ending)

    def _secured(self, choice: Choice, ending: Ending) -> Choice | None:
        if self.stop.level == StopLevel.NOW:
            return None
        return self.conclusion.ensure_model(choice, ending)

    def _log_gain_of_past(self, ending: Ending) -> None:
        """Log the trust in the past trial by trial, and how a search without it would have gone."""
        if self.setup.past is not None:
            from pipelines.study.gain import log_gain

            log_gain(self.setup.past, self.plan, ending.trials, self.store.notes, ending.say)

    def _finished(self, choice: Choice, outcome: Outcome, ending: Ending) -> StudyResult:
        """The result of a study with a winner, after its report is made."""
        make = self.setup.make_report
        saved = None if make is None else saved_report(make, self.store, ending.say)
        return replace(
            self._result(ending.baselines, outcome),
            winner=choice.winner,
            winner_run=self.store.trial_run_id(choice.winner.number),
            confirmation=choice.confirmation,
            ensemble=choice.ensemble,
            link=self.store.notes.save_view(),
            findings=saved.findings if saved else (),
            report=saved.link if saved else None,
        )

    def _result(self, baselines: Mapping[str, float], outcome: Outcome) -> StudyResult:
        study = self.search.study
        return StudyResult(
            run_id=self.store.run_id,
            plan=self.plan,
            trials=study.trials,
            baselines=baselines,
            tracking_uri=safe(self.store.tracking_uri),
            seconds=time.monotonic() - self.started,
            complete=study.complete,
            exhausted=study.proposals.exhausted,
            stalled=study.stagnation.stalled,
            outcome=outcome,
            given_again=self.objective.again,
            expected_gain=study.stagnation.expected_gain,
            spent=self.search.spent,
        )
