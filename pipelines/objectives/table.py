"""The objective of `tune`: a model family on the encoded rows of one table."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hpo.configurations import Identity
from hpo.errors import JobError, StudyError, WorkerDied
from hpo.goals import Goal
from hpo.loop import Job, StopLevel
from hpo.trial import Report, Trial
from hpo.workers.cores import WorkerPlan
from pipelines.files.exchange import Exchange
from pipelines.models import BASELINES, identity
from pipelines.objectives.confirmation import confirm
from pipelines.objectives.jobs import (
    BEST,
    FOLDS,
    TEST,
    Baseline,
    Rebuild,
    Refit,
    Work,
    models_of,
    refit_label,
    trial_label,
)
from pipelines.store.schema import test_metrics
from pipelines.study.objective import Choice, Ending
from pipelines.study.plan import Plan
from pipelines.study.result import BesideDefault, Outcome
from pipelines.study.workshop import wait_for
from pipelines.table.scores.metrics import evaluate, recalls
from pipelines.table.scores.named import metric_named
from pipelines.table.source import DataPlan, described

if TYPE_CHECKING:
    from pipelines.objectives.winner import Scored
    from pipelines.table.data import Prepared

DEFAULT_ORIGIN = "default"  # of the trial of the library's default
TRIVIAL = "trivial"  # the baseline that the registry compares with


class TableObjective:
    """Trains a family on a table; the winner is a model that is scored on held-out rows and logged.

    Args:
        plan: of the study.
        data: the table and the use of its rows.
        prepared: the table, encoded, without its folds (`publish_folds`).
    """

    def __init__(self, plan: Plan, data: DataPlan, prepared: "Prepared") -> None:
        self._plan = plan
        self._data = data
        self._prepared = prepared
        self._kept = ""  # the label of the best trial's models
        self._default = ""  # that of the default's, which is scored beside the winner

    @cached_property
    def goal(self) -> Goal:
        """The metric of the study."""
        return self._plan.goal

    @property
    def name(self) -> str:
        """The table, the target and the outer fold."""
        return self._data.identity

    @property
    def identity(self) -> Identity:
        """That of the settings that the family's library uses."""
        return identity(self._plan.model)

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """The content of the table, and the use of its rows."""
        return self._data.fingerprint

    @property
    def again(self) -> str:
        """The table, where it has no place from which it can be read again."""
        return "data" if self._data.uri is None else ""

    def described(self) -> Mapping[str, Any]:
        """The table and the use of its rows."""
        return self._data.to_header()

    def meta_features(self) -> Mapping[str, Any]:
        """Of the rows that the search uses."""
        return described(self._prepared)

    @property
    def notes(self) -> Sequence[str]:
        """What was noticed in the table."""
        return [f"data: {note}" for note in self._prepared.notes]

    def describe(self) -> str:
        """The task and the target."""
        return f"{self._data.task} of {self._data.target!r}"

    def publish(self, exchange: Exchange, checkpoints: str | None) -> None:
        """Put the settings of the trainings into the exchange, beside the folds."""
        plan = self._plan
        Work(
            plan.model,
            plan.metric,
            plan.seed,
            plan.threads,
            plan.rungs,
            plan.fidelity,
            checkpoints,
        ).write(exchange)

    def baselines(self) -> Mapping[str, Baseline]:
        """A trivial and a linear model."""
        return {name: Baseline(name) for name in BASELINES}

    def reported(self, trial: Trial, best: Trial | None, exchange: Exchange) -> None:
        """Delete models that are neither those of the best trial nor of the default."""
        if best is None or not trial.reports:
            return
        label, own = _label(best), trial_label(trial.number, trial.reports[-1].budget)
        default = self._default
        if trial.origin == DEFAULT_ORIGIN:
            self._default = _label(trial)
        for old in {self._kept, own, default} - {label, self._default, ""}:
            exchange.remove(models_of(old))
        self._kept = label

    def choose(self, best: Trial, ending: Ending) -> Choice:
        """The search's best trial, or with `confirm` the best one on repeated folds."""
        if self._plan.confirm is None:
            return Choice(best)
        if ending.stop.level > StopLevel.CONTINUE:
            ending.say(
                "the best trials were not confirmed; resume the study to its end to confirm them"
            )
            return Choice(best)
        found = confirm(ending, self._prepared, self._plan.confirm)
        return Choice(ending.trials[found.winner], found) if found else Choice(best)

    def ensure_model(self, winner: Trial, ending: Ending) -> bool:
        """Train the winner once more where its model is missing, or is to see the validation rows.

        Raises:
            StudyError: when that fails.
        """
        report = _best_report(winner)
        job = Job(winner.number, winner.params, 0.0, report.budget)
        if self._refits:
            best = self._best_iteration(winner, job, ending)
            return best is not None and self._refit(Refit(job, best), ending)
        if ending.workshop.exchange.has(models_of(_label(winner))):
            return True
        ending.say(f"training trial {winner.number} once more: its model was not stored")
        again = self._train_again(winner, [Rebuild(job)], ending)
        if again and again[0].loss != winner.loss:
            before, now = self.goal.from_loss(winner.loss), self.goal.from_loss(again[0].loss)
            ending.say(
                f"warning: trial {winner.number} scored {before:.8g} before and {now:.8g} now; "
                "were libraries or the kind of machine changed in between?"
            )
        return again is not None

    def _best_iteration(self, winner: Trial, job: Job, ending: Ending) -> float | None:
        """The metric `BEST` of the winner; it is trained again where the store has lost it."""
        found = _best_report(winner).metrics.get(BEST)
        if found is not None:
            return found
        again = self._train_again(winner, [Rebuild(job)], ending)
        return again[0].metrics[BEST] if again else None

    def _refit(self, job: Refit, ending: Ending) -> bool:
        """Train the winner, and the trivial baseline beside it, on training and validation rows.

        With `refit=all` a second model of the winner is trained on the test rows, too.
        """
        prepared, number = self._prepared, job.job.number
        rows = len(prepared.rows.rest)
        ending.say(f"training trial {number} once more, on {rows:,} rows")
        jobs: list[Baseline | Refit] = [Baseline(TRIVIAL, whole=True), job]
        if self._plan.uses_test_rows:
            ending.workshop.exchange.put(TEST, prepared.save_test)
            ending.say(f"and, for the model that is logged, on all {len(prepared.frame):,} rows")
            jobs.append(replace(job, test_rows=True))
        return self._train_again(ending.trials[number], jobs, ending) is not None

    def finished(self, choice: Choice, ending: Ending) -> Outcome | None:
        """What an earlier session has stored of this winner; None unless that is complete."""
        from pipelines.objectives.finished import OUTCOME, from_tag
        from pipelines.registry.logged import is_stored

        text = ending.store.notes.tag(OUTCOME)
        outcome = from_tag(text, choice.winner, self._plan) if text else None
        if outcome is None or outcome.model_uri is None:
            return None
        uri, name = ending.store.tracking_uri, self._plan.register
        if not is_stored(uri, outcome.model_uri, name, outcome.version):
            return None
        ending.say(f"winner: trial {choice.winner.number}, logged already")
        return outcome

    def finish(self, choice: Choice, ending: Ending) -> Outcome:
        """Score the winner once on the held-out rows, log and register it.

        Raises:
            StudyError: when MLflow does not take it.
        """
        from pipelines.objectives.finished import OUTCOME, to_tag
        from pipelines.objectives.winner import Won, join, log, score
        from pipelines.table.scores.bootstrap import score_interval

        name, notes = self.goal.name, ending.store.notes
        label, logged_label = self._winner_labels(choice.winner)
        scored = score(self._prepared, self._data, ending, label)
        weight = self._prepared.weight_test
        kind, own = self._prepared.task.kind, metric_named(name)
        test = evaluate(kind, scored.y, scored.prediction, weight, own=own)
        interval = None
        if name in test:
            metric = metric_named(name)
            interval = score_interval(
                metric, scored.y, scored.prediction, groups=scored.groups, weight=weight
            )
        else:
            ending.say(
                f"warning: {name} is not defined on the held-out rows, so there is no test score"
            )
        folder = join(self._prepared, ending, logged_label)
        won = Won(choice, ending, scored, folder, test, interval, self._trivial_score(ending))
        beside = self._beside_default(choice.winner, scored, ending) if name in test else None
        default_metrics = _default_metrics(name, beside)
        notes.annotate(metrics={**test_metrics(name, test, interval), **default_metrics})
        notes.set_winner(choice.winner.number)
        logged = log(self._plan, self._data, self._prepared, won)
        self._store_classes(scored, ending)
        how = f"logged in {logged.seconds:.1f} s" if logged.seconds else "logged already"
        ending.say(f"winner: trial {choice.winner.number}, {how}")
        outcome = Outcome(
            test=test,
            interval=interval,
            model_uri=logged.uri,
            version=logged.version,
            trained_on=self._trained_on,
            default=beside,
        )
        notes.annotate(tags={OUTCOME: to_tag(outcome, choice.winner, self._plan)})
        return outcome

    def _beside_default(
        self, winner: Trial, scored: "Scored", ending: Ending
    ) -> BesideDefault | None:
        """The default on the held-out rows, if its model is still there and is not the winner.

        The models of the search are compared, not one of them trained on more rows.
        """
        from pipelines.objectives.winner import score
        from pipelines.table.scores.bootstrap import paired_gain

        exchange, labels = ending.workshop.exchange, (_label(winner), self._default)
        if winner.origin == DEFAULT_ORIGIN or not self._default:
            return None
        if not all(exchange.has(models_of(label)) for label in labels):
            return None
        refits, metric = self._refits, metric_named(self.goal.name)
        other = score(self._prepared, self._data, ending, labels[1])
        if refits:
            scored = score(self._prepared, self._data, ending, labels[0])
        weight = self._prepared.weight_test
        gain = paired_gain(
            metric,
            scored.y,
            scored.prediction,
            other.prediction,
            groups=scored.groups,
            weight=weight,
        )
        return BesideDefault(metric(other.y, other.prediction, weight), gain, refits)

    @property
    def _refits(self) -> bool:
        """Whether the winner is trained once more, on training and validation rows."""
        return self._plan.refits(self._data.has_folds)

    @property
    def _trained_on(self) -> int | None:
        """The rows of a model that was trained once more."""
        if self._plan.uses_test_rows:
            return len(self._prepared.frame)
        return len(self._prepared.rows.rest) if self._refits else None

    def _winner_labels(self, winner: Trial) -> tuple[str, str]:
        """The labels of the model that is scored, and of the one that is logged."""
        scored = refit_label(winner.number) if self._refits else _label(winner)
        if self._plan.uses_test_rows:
            return scored, refit_label(winner.number, test_rows=True)
        return scored, scored

    def _trivial_score(self, ending: Ending) -> float:
        """The trivial baseline's score on the held-out rows; nan without one."""
        from pipelines.objectives.winner import score

        if TRIVIAL not in ending.baselines:
            return float("nan")
        label = Baseline(TRIVIAL, whole=self._refits).label
        trivial = score(self._prepared, self._data, ending, label)
        kind, weight = self._prepared.task.kind, self._prepared.weight_test
        own = metric_named(self.goal.name)
        values = evaluate(kind, trivial.y, trivial.prediction, weight, own=own)
        return values.get(self.goal.name, float("nan"))

    def _store_classes(self, scored: "Scored", ending: Ending) -> None:
        """Store which share of each class of the held-out rows the winner finds."""
        from pipelines.study.runs import CLASSES, classes_text

        labels = getattr(self._prepared.target, "classes", None)
        if labels:
            found = recalls(scored.y, scored.prediction)
            rows = [(str(label), *each) for label, each in zip(labels, found, strict=True)]
            ending.store.notes.save_text(classes_text(rows), CLASSES)

    def _train_again(
        self, winner: Trial, jobs: Sequence[Baseline | Rebuild | Refit], ending: Ending
    ) -> list[Report] | None:
        """Do jobs with a worker of their own, one by one; None when the user stops it.

        Raises:
            StudyError: when one fails.
        """
        reports: list[Report] = []
        try:
            with ending.workshop.open_pool(WorkerPlan(1, self._plan.threads)) as pool:
                for job in jobs:
                    future = pool.submit(job)
                    if not wait_for(future, ending.stop):
                        pool.shutdown(now=True)
                        return None
                    reports.append(future.result())
                pool.shutdown(now=True)
            return reports
        except (JobError, WorkerDied) as error:
            raise StudyError(
                f"trial {winner.number} is the best, but training it once more for its model "
                f"failed: {error}; all trials are stored: when that is repaired, `tune` with "
                f"study={ending.store.run_id} logs the winner"
            ) from error


def _default_metrics(name: str, beside: BesideDefault | None) -> Mapping[str, float]:
    """What is logged of the default on the held-out rows."""
    if beside is None:
        return {}
    gain = beside.gain
    return {
        f"test_{name}_default": beside.score,
        f"test_{name}_gain": gain.value,
        f"test_{name}_gain_low": gain.low,
        f"test_{name}_gain_high": gain.high,
    }


def publish_folds(prepared: "Prepared", exchange: Exchange) -> "Prepared":
    """Put the encoded folds into the exchange; the table without them, which the driver keeps."""
    exchange.put(FOLDS, prepared.save)
    return replace(prepared, folds=())


def _best_report(trial: Trial) -> Report:
    """The report that makes a trial the best; a winner has one."""
    if trial.best is None:
        raise ValueError(f"trial {trial.number} has no result")
    return trial.best


def _label(trial: Trial) -> str:
    """The label of the models of a trial at its best budget."""
    return trial_label(trial.number, _best_report(trial).budget)
