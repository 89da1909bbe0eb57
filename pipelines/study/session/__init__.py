"""One session of a study: from the workers' first job to the winner.

The session knows an objective (`pipelines.study.objective`), a store and a workshop. What is
evaluated, where it is stored and where it runs is theirs.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace

from hpo.errors import (
    JobError,
    StudyError,
    TakenError,
    TimeLimitExceeded,
    UserError,
    WorkerDied,
    counted,
    reason,
)
from hpo.loop import Stop, StopLevel
from hpo.past import Past
from hpo.trial import Report
from pipelines.files.refused import why_refused
from pipelines.files.uris import safe
from pipelines.findings.scales import duration
from pipelines.store import StudyStore
from pipelines.study.choice.front import log_front
from pipelines.study.session.interrupts import interrupts
from pipelines.study.session.introduction import introduction
from pipelines.study.objective import Choice, Ending, Objective
from pipelines.study.plan import Plan
from pipelines.study.progress import Reporter
from pipelines.study.report import SavedReport
from pipelines.study.result import Outcome, StudyResult
from pipelines.study.search import Search
from pipelines.study.summary import failures
from pipelines.study.workshop import POLL, Workshop, wait_for
from pipelines.study.workshop.checkpointing import CheckpointKeeper

logger = logging.getLogger(__name__)

BASELINE_SECONDS = 120.0
# Seconds that a finished study waits for MLflow, before and after a message.
BRIEFLY, PATIENCE = 20.0, 600.0
AT_ONCE, UNHURRIED = 2.0, 60.0  # seconds to write what is left when the study closes


class NoAnswerError(StudyError):
    """MLflow has not answered for a long time."""


@dataclass(frozen=True)
class Setup:
    """What a session works with.

    Attributes:
        plan: of the study.
        objective: what is evaluated.
        workshop: where it runs.
        store: where the trials are stored.
        past: the model of past studies, if the study learns from them.
        notes: lines to show before the search.
        make_report: makes the report of a study that is written; None for no report.
    """

    plan: Plan
    objective: Objective
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
        self.workshop = setup.workshop
        self.store = setup.store
        self.setup = setup
        self.stop = stop
        self.search = Search(setup.plan, setup.objective, setup.store, setup.past)
        self.checkpoints = CheckpointKeeper(setup.plan, setup.store.run_id)
        self.unit = setup.plan.budget_unit if setup.plan.races else None
        self.started = setup.workshop.opened

    def run(self) -> StudyResult:
        plan, study = self.plan, self.search.study
        checkpoints = self.checkpoints.uri if self._keeps_checkpoints else None
        self.objective.publish(self.workshop.exchange, checkpoints)
        baselines = {
            name: self.workshop.pool.submit(job, BASELINE_SECONDS)
            for name, job in self.objective.baselines().items()
        }
        goals, share = plan.goals, self.search.share
        left = plan.timeout and max(self._until - time.monotonic(), 0.1)
        with Reporter(goals, self.search.n_trials, left, share, unit=self.unit) as reporter:
            for line in self._introduction():
                reporter.say(line)
            self.search.run(
                self.objective,
                self.workshop,
                self.checkpoints,
                self.stop,
                reporter,
                began=self.started,
            )
            if study.exhausted and not plan.trains_one:
                n = len(study.trials)
                reporter.say(
                    f"{n}/{n}: all configurations of the space have been tried; the search is over"
                )
            if self.search.spent:
                reporter.say(f"budget={plan.budget} is spent, so the search is over")
            if study.stalled:
                reporter.say(f"{self.search.why_stalled}, so the search is over")
            scores = self._baseline_scores(baselines, reporter)
            ending = self._ending(scores, reporter)
            choice = self._choose(ending)
            ending.end_legs()
            self.checkpoints.close(study, reporter.say)
            if choice and (result := self._end(choice, ending, reporter)):
                return replace(result, interrupted=self.stop.level > StopLevel.CONTINUE)
        if self.search.failed and self.stop.level < StopLevel.NOW:
            raise StudyError(self._no_success())
        if self.search.out_of_time and self.stop.level == StopLevel.CONTINUE:
            raise StudyError(
                f"timeout={self.plan.timeout:g}: no trial has ended in that time; resume with "
                f"study={self.store.run_id} and a longer timeout"
            )
        result = self._result(scores, Outcome({}))
        confirmation = choice.confirmation if choice else None
        return replace(result, confirmation=confirmation, interrupted=True, stopped=True)

    def _end(self, choice: Choice, ending: Ending, reporter: Reporter) -> StudyResult | None:
        """Finish with a winner; None when the user wants to stop now."""
        with self._in_call():
            outcome = self.objective.finished(choice, ending)
        secured = choice if outcome else self._secured(choice, ending)
        if secured is None or not self._delivered(reporter):
            return None
        self._log_gain_of_past(reporter)
        log_front(self.search.study, self.store.notes, reporter.say)
        with self._in_call():
            outcome = outcome or self.objective.finish(secured, ending)
            return self._finished(secured, outcome, ending)

    @property
    def _until(self) -> float:
        """When the timeout is over, on `time.monotonic`."""
        return self.started + (self.plan.timeout or math.inf)

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

    def _baseline_scores(
        self, futures: Mapping[str, "Future[Report]"], reporter: Reporter
    ) -> dict[str, float]:
        """Wait for the baselines and store them."""
        scores: dict[str, float] = {}
        for name, future in futures.items():
            if not wait_for(future, self.stop):
                break
            try:
                report = future.result()
            except (JobError, WorkerDied, TimeLimitExceeded) as error:
                reporter.say(f"baseline {name} failed: {error}")
                continue
            scores[name] = self.objective.goal.from_loss(report.loss)
            self.store.notes.add_baseline(name, report.metrics, seconds=report.seconds)
        return scores

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
            until=self._until,
        )

    def _choose(self, ending: Ending) -> Choice | None:
        best = self.search.study.best_trial
        return None if best is None else self.objective.choose(best, ending)

    def _secured(self, choice: Choice, ending: Ending) -> Choice | None:
        if self.stop.level == StopLevel.NOW:
            return None
        return self.objective.ensure_model(choice, ending)

    def _log_gain_of_past(self, reporter: Reporter) -> None:
        """Log the trust in the past trial by trial, and how a search without it would have gone."""
        past, trials = self.setup.past, self.search.study.trials
        if past is not None:
            from pipelines.study.gain import log_gain

            log_gain(past, self.plan, trials, self.store.notes, reporter.say)

    def _finished(self, choice: Choice, outcome: Outcome, ending: Ending) -> StudyResult:
        """The result of a study with a winner, after its report is made."""
        saved = self._saved_report(ending)
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

    def _saved_report(self, ending: Ending) -> SavedReport | None:
        """Make the report; None where that fails.

        Everything that matters is logged before, so no error here may end the study.
        """
        if self.setup.make_report is None:
            return None
        again = f"`report` with study={self.store.run_id} makes it"
        ending.say("making the report")
        try:
            self.store.flush(BRIEFLY)
            self.store.verify()
            return self.setup.make_report(self.store.run_id)
        except TakenError:
            raise
        except KeyboardInterrupt:
            ending.say(f"the report was left out; {again}")
        except Exception as error:  # figures are drawn by a library, of names that anybody chose
            logger.debug("no report", exc_info=True)
            ending.say(
                f"warning: there is no report ({type(error).__name__}: {str(error):.200}); {again}"
            )
        return None

    def _delivered(self, reporter: Reporter) -> bool:
        """Wait until the store has every trial, which the winner's model refers to.

        Returns:
            False when the user wants to stop now.

        Raises:
            NoAnswerError: when MLflow does not answer for a long time.
        """
        began, noted = time.monotonic(), False
        while not self.store.flush(POLL):
            if self.stop.level == StopLevel.NOW:
                return False
            waited = time.monotonic() - began
            if waited > BRIEFLY and not noted:
                reporter.say(
                    f"waiting for MLflow, {self.store.waiting} runs are not written yet; giving up "
                    f"after {duration(PATIENCE)}"
                )
                noted = True
            if waited > BRIEFLY + PATIENCE:
                raise NoAnswerError(
                    f"MLflow has not answered for {duration(waited)}; the results wait on this "
                    "machine, and nothing is lost: when it is back, `tune` with "
                    f"study={self.store.run_id} logs them and the winner"
                )
        return True

    def _no_success(self) -> str:
        common = failures(self.search.study.trials)
        return (
            f"no trial succeeded; the most common reason of "
            f"{counted(self.search.n_finished, 'failure')}: {common}; when it is repaired, resume "
            f"with study={self.store.run_id} or start a new study"
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
            exhausted=study.exhausted,
            stalled=study.stalled,
            outcome=outcome,
            given_again=self.objective.again,
            expected_gain=study.expected_gain,
            spent=self.search.spent,
        )
