"""One session of a study: workers, storage and search brought together, from the first trial to the winner."""

import json
import logging
import shutil
import time
from collections.abc import Mapping
from concurrent.futures import Future, wait
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from hpo import loop
from hpo.algorithms import algorithm, grants_budgets
from hpo.errors import JobError, StudyError, TimeLimitExceeded, UserError, WorkerDied
from hpo.loop import Job, Stop
from hpo.study import Study
from hpo.trial import Report, Trial
from hpo.workers.cores import WorkerPlan
from pipelines.files.checkpoints import (
    MOST_PER_RUNG,
    Checkpoints,
    checkpoint_place,
    superseded,
    sweep_places,
)
from pipelines.files.uris import safe
from pipelines.findings.diagnosis import Diagnosis
from pipelines.findings.scales import duration
from pipelines.models import BASELINES, CheckpointError
from pipelines.objectives.table import (
    BEST,
    Baseline,
    Rebuild,
    Refit,
    Work,
    folds_folder,
    members_folder,
    refit_label,
    trial_label,
)
from pipelines.store.schema import test_metrics
from pipelines.study.auto_space import said
from pipelines.study.confirmation import Confirmation, candidates, confirm
from pipelines.study.interrupts import interrupts
from pipelines.study.plan import TRAIN, Plan
from pipelines.study.progress import Reporter
from pipelines.study.result import StudyResult, failures
from pipelines.study.workshop import Workshop, workers
from pipelines.table.metrics import METRICS, evaluate, recalls

if TYPE_CHECKING:
    from pipelines.store.storage import MlflowStorage
    from pipelines.study.warm_start import WarmStart
    from pipelines.study.winner import Scored
    from pipelines.table.data import Prepared

logger = logging.getLogger(__name__)

BASELINE_SECONDS = 120.0
TRIAL_SECONDS = 3600.0  # a trial that hangs must end some time
BRIEFLY, PATIENCE = (
    20.0,
    600.0,
)  # seconds that a finished study waits for MLflow, before and after saying so
AT_ONCE, UNHURRIED = 5.0, 60.0  # seconds to write what is left when the study closes
TIDY_EVERY = 5.0  # seconds between looks at the checkpoints
POLL = 0.2  # seconds between looks at what the user wants
HOPELESS = 10  # so many failures without one success end the study


def run_study(
    plan: Plan,
    prepared: "Prepared",
    shop: Workshop,
    storage: "MlflowStorage",
    warm: "WarmStart | None" = None,
) -> StudyResult:
    """Run a study to its end and close its storage; `warm` is what it learns from.

    Raises:
        StudyError: when no trial succeeded.
    """
    with interrupts() as stop:
        try:
            result = _Session(plan, prepared, shop, storage, stop, warm).run()
        except BaseException as error:
            _close_after(error, storage)
            raise
        delivered = storage.close(
            "KILLED" if result.stopped else "FINISHED",
            timeout=AT_ONCE if result.stopped else UNHURRIED,
        )
    if not delivered:
        logger.warning(
            "MLflow cannot be reached: results wait on disk and are written when the study is resumed"
        )
    return result


def _close_after(error: BaseException, storage: "MlflowStorage") -> None:
    """Close the storage of a session that ended in `error`, which counts more than what goes wrong now."""
    interrupted = isinstance(error, KeyboardInterrupt)
    reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    try:
        if interrupted:
            storage.close("KILLED", "interrupted", timeout=AT_ONCE)
        else:
            storage.close("FAILED", reason)
    except UserError as second:
        logger.warning("the study could not be closed: %s", second)


def _best_report(trial: Trial) -> Report:
    """The report that makes a trial the best; a best trial has one."""
    if trial.best is None:
        raise ValueError(f"trial {trial.number} has no result")
    return trial.best


def _label(trial: Trial) -> str:
    """What the models of a best trial are filed under."""
    return trial_label(trial.number, _best_report(trial).budget)


def _place(plan: Plan, run_id: str) -> str:
    """Where the checkpoints of this study are: never in one folder with those of another."""
    return (
        checkpoint_place(run_id)
        if plan.checkpoints is None
        else f"{plan.checkpoints.rstrip('/')}/{run_id}"
    )


class _Session:
    """The state of a running session; exists only inside `run_study`."""

    def __init__(
        self,
        plan: Plan,
        prepared: "Prepared",
        shop: Workshop,
        storage: "MlflowStorage",
        stop: Stop,
        warm: "WarmStart | None",
    ) -> None:
        self.plan = plan
        self.prepared = prepared
        self.shop = shop
        self.storage = storage
        self.stop = stop
        self.metric = METRICS[plan.metric]
        self.warm = warm
        self.past = warm.past(plan) if warm else None
        sampler, scheduler = algorithm(plan.algorithm, plan.rungs, plan.eta, self.past)
        self.study = Study(
            plan.space,
            sampler,
            scheduler,
            storage,
            seed=plan.search_seed,
            max_trials=plan.trials,
            first_points=plan.first_points,
            lag=plan.lag,
        )
        self.expected = plan.trials * scheduler.cost * plan.rungs[-1]
        self.checkpoints = (
            Checkpoints(_place(plan, storage.run_id)) if grants_budgets(plan.algorithm) else None
        )
        sweep_places()
        self.confirmation: Confirmation | None = None
        self.kept = ""  # what the best trial's models are filed under
        self.tidied = self.started = time.monotonic()

    def run(self) -> StudyResult:
        plan, done = self.plan, sum(trial.finished for trial in self.study.trials)
        self.prepared.save(folds_folder(self.shop.folder))
        Work(
            plan.model,
            plan.metric,
            plan.seed,
            plan.threads,
            plan.rungs,
            plan.fidelity,
            self.checkpoints.uri if self.checkpoints else None,
        ).write(self.shop.folder)
        baselines = {
            name: self.shop.pool.submit(Baseline(name), BASELINE_SECONDS) for name in BASELINES
        }
        with Reporter(
            self.metric, plan.trials, plan.timeout, self._share(), unit=self._unit()
        ) as reporter:
            self._introduce(reporter, done)
            self._search(reporter)
            values = self._baselines(baselines, reporter)
            best = self._winner(reporter)
            self.shop.pool.shutdown(now=True)  # what still runs was given up
            self._leave_checkpoints(reporter)
            models = self._models(best, reporter) if best and self.stop.level < 2 else None
            if best and models and self._delivered(reporter):
                self._keep_what_the_past_was_worth(reporter)
                return replace(
                    self._finish(best, models, values, reporter), interrupted=self.stop.level > 0
                )
        nothing = self.study.best_trial is None and any(
            trial.finished for trial in self.study.trials
        )
        if nothing and self.stop.level < 2:
            raise StudyError(self._nothing())
        return replace(self._result(values, {}), interrupted=True, stopped=True)

    def _introduce(self, reporter: Reporter, done: int) -> None:
        plan, data = self.plan, self.plan.data
        for note in self.prepared.notes:
            reporter.say(f"data: {note}")
        for line in said(self.storage.header.get("space_from")):
            reporter.say(line)
        reporter.say(
            f"study {self.storage.run_id}: {plan.algorithm} over {len(plan.space)} parameters of {plan.model}, "
            f"{data.task} of {data.target!r}, {plan.metric}, {plan.workers} workers × {plan.threads} threads"
            + self._rungs()
            + (f"; {done} trials are there already" if done else "")
        )
        for line in self.warm.told() if self.warm else ():
            reporter.say(f"warm start: {line}")
        if self.study.complete:
            reporter.say(
                f"no trial is left to run: trials={plan.trials}; for more give trials greater than {done}"
            )

    def _rungs(self) -> str:
        steps, kind = self.plan.rungs, self.plan.fidelity
        if len(steps) == 1:
            return ""
        how = f" ({kind})" if kind != self.plan.budget_unit else ""
        return f"; rungs {', '.join(f'{step:g}' for step in steps)} {self.plan.budget_unit}{how}"

    def _search(self, reporter: Reporter) -> None:
        deadline = self.started + (self.plan.timeout or float("inf"))
        trials = loop.run(
            self.study,
            self.shop.pool,
            stop=self.stop,
            deadline=deadline,
            grace=self.plan.timeout or 0.0,
            time_limit=self.plan.trial_timeout or TRIAL_SECONDS,
            finishing=True,
        )
        for trial in trials:
            reporter.told(trial, self.study.best_trial, self._share())
            self._tidy(trial)
            self._drop_checkpoints()
            if (
                self.study.best_trial is None
                and sum(t.finished for t in self.study.trials) >= HOPELESS
            ):
                self.stop.level = max(self.stop.level, 1)

    def _winner(self, reporter: Reporter) -> Trial | None:
        """The search's best trial, or of the best few the one that is best on the rows divided anew."""
        best = self.study.best_trial
        if self.plan.confirm is None or best is None:
            return best
        if self.stop.level:
            reporter.say(
                "the best trials were not confirmed; the study does it when it is resumed to its end"
            )
            return best
        with ExitStack() as until_then:
            pool = self.shop.pool
            # Workers are busy with what was given up.
            if not all(trial.finished for trial in self.study.trials):
                pool.shutdown(now=True)
                hands = WorkerPlan(pool.size, self.plan.threads)
                pool = until_then.enter_context(workers(self.plan.model, hands, self.shop.folder))
            self.confirmation = confirm(
                self.plan,
                self.prepared,
                pool,
                self.shop.folder,
                self.storage,
                candidates(self.study.trials, self.plan.confirm),
                stop=self.stop,
                time_limit=self.plan.trial_timeout or TRIAL_SECONDS,
                say=reporter.say,
            )
        return self.study.trials[self.confirmation.winner] if self.confirmation else best

    def _keep_what_the_past_was_worth(self, reporter: Reporter) -> None:
        """Log the trust in the past trial by trial, how far its first points came, and what a cold start would have."""
        if self.past is None:
            return
        from pipelines.findings.evidence import beside_cold_in_words
        from pipelines.study.warm_start import BESIDE_COLD, TRUST, beside_cold, gain, worth

        trials = self.study.trials
        values = {f"warm_start_{name}": value for name, value in gain(trials).items()}
        if rows := beside_cold(self.past, self.plan, trials):
            values["warm_start_ahead"] = rows[-1].ahead
            self.storage.notes.save_text(json.dumps([asdict(row) for row in rows]), BESIDE_COLD)
            reporter.say(f"warm start: {beside_cold_in_words(rows)}")
        self.storage.notes.annotate(metrics=values)
        self.storage.notes.save_text(json.dumps(worth(self.past, trials)), TRUST)

    def _share(self) -> float:
        """How much of what the study will train is trained, in budgets."""
        if self.study.complete:
            return 1.0
        done = sum(trial.budget if trial.failure else trial.reached for trial in self.study.trials)
        return min(done / self.expected, 1.0)

    def _unit(self) -> str | None:
        """The unit of the budgets, where they say something."""
        return self.plan.budget_unit if grants_budgets(self.plan.algorithm) else None

    def _drop_checkpoints(self) -> None:
        """Now and then, delete those that nobody will go on from."""
        if self.checkpoints is None or time.monotonic() - self.tidied < TIDY_EVERY:
            return
        self.tidied = time.monotonic()
        try:
            self._supersede(self.checkpoints)
        except CheckpointError as error:
            logger.debug("checkpoints were left: %s", error)

    def _supersede(self, checkpoints: Checkpoints) -> None:
        busy = {trial.number for trial in self.study.trials if not trial.finished}
        for item in superseded(checkpoints.kept(), self.study.promotable(MOST_PER_RUNG), busy=busy):
            checkpoints.delete(item.number, item.budget)

    def _leave_checkpoints(self, reporter: Reporter) -> None:
        """All of them are deleted when the study is complete; else say what is left for the next session."""
        if self.checkpoints is None:
            return
        try:
            if self.study.complete:
                self.checkpoints.clear()
                return
            self._supersede(self.checkpoints)
            if kept := self.checkpoints.kept():
                size = sum(item.bytes for item in kept) / 1e6
                reporter.say(
                    f"{len(kept)} checkpoints, {size:.1f} MB, wait in {safe(self.checkpoints.uri)}"
                )
        except CheckpointError as error:
            reporter.say(f"warning: {error}")

    def _tidy(self, trial: Trial) -> None:
        """Keep the models of the best trial only; those whose report is not told yet may become the best."""
        best, report = self.study.best_trial, trial.reports[-1] if trial.reports else None
        if report is None or best is None:
            return
        for old in {self.kept, trial_label(trial.number, report.budget)} - {_label(best), ""}:
            shutil.rmtree(members_folder(self.shop.folder, old), ignore_errors=True)
        self.kept = _label(best)

    def _nothing(self) -> str:
        trials = [trial for trial in self.study.trials if trial.finished]
        return (
            f"none of {len(trials)} trials succeeded; the commonest reason: {failures(trials)}; "
            f"when it is mended, go on with study={self.storage.run_id} or start anew"
        )

    def _baselines(
        self, futures: Mapping[str, "Future[Report]"], reporter: Reporter
    ) -> dict[str, float]:
        """Wait for the baselines and log those that are not there from an earlier session."""
        values: dict[str, float] = {}
        for name, future in futures.items():
            if not self._came(future):
                break
            try:
                report = future.result()
            except (JobError, WorkerDied, TimeLimitExceeded) as error:
                reporter.say(f"baseline {name} failed: {error}")
                continue
            values[name] = report.metrics[self.metric.name]
            self.storage.notes.add_baseline(name, report.metrics, seconds=report.seconds)
        return values

    def _finish(
        self, best: Trial, models: str, baselines: Mapping[str, float], reporter: Reporter
    ) -> StudyResult:
        """Score the winner once on the held-out rows, log it, register it, and save the view."""
        from pipelines.study.winner import Won, log, score
        from pipelines.table.bootstrap import score_interval

        scored = score(self.plan, self.prepared, self.shop.folder, models)
        test = evaluate(self.prepared.task.kind, scored.y, scored.prediction)
        interval = None
        if self.metric.name in test:
            interval = score_interval(
                self.metric, scored.y, scored.prediction, groups=scored.groups
            )
        else:
            reporter.say(
                f"warning: {self.metric.name} is not defined on the held-out rows, there is no test score"
            )
        reference = float("nan")
        if "trivial" in baselines:
            trivial = score(self.plan, self.prepared, self.shop.folder, "trivial")
            values = evaluate(self.prepared.task.kind, trivial.y, trivial.prediction)
            reference = values.get(self.metric.name, reference)
        self.storage.notes.annotate(metrics=test_metrics(self.metric.name, test, interval))
        self.storage.notes.set_winner(best.number)
        trials, confirmed = self.study.trials, self.confirmation
        won = Won(best, trials, scored, test, interval, baselines, reference, confirmed)
        logged = log(self.plan, self.prepared, self.storage, won)
        how = f"logged in {logged.seconds:.1f} s" if logged.seconds else "logged already"
        reporter.say(f"winner: trial {best.number}, {how}")
        result = self._result(baselines, test)
        findings, page = self._reported(reporter, scored)
        return replace(
            result,
            winner=best,
            winner_run=self.storage.trial_run_id(best.number),
            interval=interval,
            model_uri=logged.uri,
            registered=self.plan.register,
            version=logged.version,
            link=self.storage.notes.save_view(),
            findings=findings,
            report=page,
        )

    def _reported(
        self, reporter: Reporter, scored: "Scored"
    ) -> tuple[tuple[Diagnosis, ...], str | None]:
        """Make the report; what was found, and where it opens.

        All that counts is logged before, so nothing that goes wrong here may end the study.
        """
        from pipelines.study.report import keep
        from pipelines.study.runs import keep_classes

        again = f"`report` with study={self.storage.run_id} makes it"
        if self.stop.level >= 2:
            reporter.say(f"the report was left out; {again}")
            return (), None
        reporter.say("making the report")
        try:
            self.storage.flush(BRIEFLY)
            if labels := getattr(self.prepared.target, "classes", None):
                found = zip(labels, recalls(scored.y, scored.prediction), strict=True)
                keep_classes(self.storage.run_id, [(str(label), *score) for label, score in found])
            kept = keep(self.storage.run_id)
        except (
            Exception
        ) as error:  # figures are drawn by a library of strangers, of names that anybody chose
            logger.debug("no report", exc_info=True)
            reporter.say(
                f"warning: there is no report ({type(error).__name__}: {error:.200}); {again}"
            )
            return (), None
        return kept.found, kept.link

    def _came(self, future: "Future[Report]") -> bool:
        """Wait for a job; False when the user wants to stop now."""
        while self.stop.level < 2:
            if wait([future], timeout=POLL).done:
                return True
        return False

    def _delivered(self, reporter: Reporter) -> bool:
        """Wait until MLflow has every trial (the winner's model refers to them); False to stop now."""
        began, said = time.monotonic(), False
        while not self.storage.flush(POLL):
            if self.stop.level >= 2:
                return False
            waited = time.monotonic() - began
            if waited > BRIEFLY and not said:
                reporter.say(f"waiting for MLflow, {self.storage.waiting} runs are not written yet")
                said = True
            if waited > BRIEFLY + PATIENCE:
                raise StudyError(
                    f"MLflow has not answered for {duration(waited)}; the results wait on this machine, and nothing "
                    f"is lost: when it is back, `tune` with study={self.storage.run_id} logs them and the winner"
                )
        return True

    def _models(self, best: Trial, reporter: Reporter) -> str | None:
        """What the winner's models are filed under, trained once more where that is needed; None to stop now.

        Raises:
            StudyError: when that fails.
        """
        job = Job(best.number, best.params, 0.0, _best_report(best).budget)
        if self.plan.rows != TRAIN:
            reporter.say(
                f"training trial {best.number} once more, on {len(self.prepared.rows.rest):,} rows"
            )
            report = self._once_more(Refit(job, _best_report(best).metrics[BEST]))
            return refit_label(best.number) if report else None
        if members_folder(self.shop.folder, _label(best)).is_dir():
            return _label(best)
        reporter.say(f"training trial {best.number} once more: its model was not kept")
        report = self._once_more(Rebuild(job))
        if report and report.loss != best.loss:
            before, now = (self.metric.from_loss(loss) for loss in (best.loss, report.loss))
            reporter.say(
                f"warning: trial {best.number} scored {before:.8g} before and {now:.8g} now; were libraries "
                "or the kind of machine changed in between?"
            )
        return _label(best) if report else None

    def _once_more(self, job: Rebuild | Refit) -> Report | None:
        """Do a job with a worker of its own; None to stop now.

        Raises:
            StudyError: when it fails.
        """
        with workers(self.plan.model, WorkerPlan(1, self.plan.threads), self.shop.folder) as pool:
            future = pool.submit(job)
            came = self._came(future)
            pool.shutdown(now=True)
        if not came:
            return None
        try:
            return future.result()
        except (JobError, WorkerDied) as error:
            raise StudyError(
                f"trial {job.job.number} is the best, but training it once more for its model failed: {error}; all "
                f"trials are kept: when that is mended, `tune` with study={self.storage.run_id} logs the winner"
            ) from error

    def _result(self, baselines: Mapping[str, float], test: Mapping[str, float]) -> StudyResult:
        seconds = time.monotonic() - self.started
        logger.debug("the session took %s", duration(seconds))
        return StudyResult(
            run_id=self.storage.run_id,
            metric=self.plan.metric,
            trials=self.study.trials,
            wanted=self.plan.trials,
            baselines=baselines,
            test=test,
            tracking_uri=safe(self.storage.tracking_uri),
            seconds=seconds,
            in_memory=self.plan.data.uri is None,
            budget_unit=self._unit(),
            confirmation=self.confirmation,
            complete=self.study.complete,
            full=self.plan.rungs[-1],
            timeout=self.plan.timeout,
            trained_on=None if self.plan.rows == TRAIN else len(self.prepared.rows.rest),
        )
