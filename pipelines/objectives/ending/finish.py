"""The end of a table's study: the winner is scored once on the held-out rows, and logged."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from hpo.goals import Goal
from hpo.goals.expression import Expression
from pipelines.objectives.deciding.deciding import with_changes
from pipelines.objectives.ending.final import TRIVIAL, Final, default_trial
from pipelines.objectives.ending.finished import OUTCOME, to_tag
from pipelines.objectives.ending.winner import Scored, Won, join, log, score
from pipelines.objectives.jobs import Baseline, Portion, best_label, models_of
from pipelines.store.schema import DECISION, test_metrics
from pipelines.study.ending import Choice, Ending
from pipelines.study.plan import Plan
from pipelines.study.result import BesideDefault, Outcome
from pipelines.study.runs import CLASSES, classes_text
from pipelines.table.data import Prepared
from pipelines.table.scores.bootstrap import Interval, paired_gain, score_interval
from pipelines.table.scores.metrics import Metric, evaluate, recalls
from pipelines.table.scores.named import is_beside, metric_of
from pipelines.table.source import DataPlan
from serving.decision import UNDECIDED, Decision
from serving.predictor import Share


@dataclass(frozen=True)
class Finish:
    """How a study on a table ends.

    Attributes:
        plan: of the study.
        data: the table and the use of its rows.
        prepared: the table, encoded.
        final: which models of the winner are scored, and which are logged.
        ending: what the session has.
    """

    plan: Plan
    data: DataPlan
    prepared: Prepared
    final: Final
    ending: Ending

    def outcome(self, choice: Choice) -> Outcome:
        """Score the winner, log and register it.

        Raises:
            StudyError: when MLflow does not take it.
        """
        notes, portions = self.ending.store.notes, self._portions(choice)
        scored = self._score([scored for scored, _ in portions], choice.served_decision)
        choice = self._with_changes(choice, scored, [scored for scored, _ in portions])
        test = self._test_scores(scored)
        interval = self._interval(scored, test)
        beside = self._beside_default(choice, scored) if self._name in test else None
        logged_models = [logged for _, logged in portions]
        folder = join(self.prepared, self.ending, logged_models, choice.served_decision)
        won = Won(choice, self.ending, scored, folder, test, interval, self._trivial_score())
        default_metrics = beside.metrics(self._name) if beside else {}
        notes.annotate(metrics={**test_metrics(self._name, test, interval), **default_metrics})
        notes.set_winner(choice.winner.number)
        logged = log(self.plan, self.data, self.prepared, won)
        self._store_classes(scored)
        how = f"logged in {logged.seconds:.1f} s" if logged.seconds else "logged already"
        self.ending.say(f"winner: {choice}, {how}")
        outcome = Outcome(
            test=test,
            interval=interval,
            model_uri=logged.uri,
            version=logged.version,
            trained_on=self._trained_on,
            default=beside,
            decision=choice.decision,
        )
        judged = json.dumps(choice.decision.to_dict()) if choice.decision else ""
        notes.annotate(tags={DECISION: judged, OUTCOME: to_tag(outcome, choice, self.plan)})
        return outcome

    @property
    def _name(self) -> str:
        """The name of the score that decides."""
        return self.plan.score.name

    @property
    def _metric(self) -> Metric:
        return metric_of(self.plan.score)

    def _score(self, portions: Sequence[Portion], decision: Decision = UNDECIDED) -> Scored:
        """The predictions of models for the held-out rows."""
        return score(self.prepared, self.data, self.ending, portions, decision)

    def _portions(self, choice: Choice) -> list[tuple[Portion, Portion]]:
        """Of each member of the winner, the models that are scored, and those that are logged."""
        weights = choice.ensemble.weights if choice.ensemble else {}
        found = []
        for trial in choice.members(self.ending.trials):
            share = Share(weights[trial.number], trial.number) if weights else None
            scored, logged = self.final.labels(trial)
            found.append((Portion(scored, share), Portion(logged, share)))
        return found

    def _with_changes(self, choice: Choice, scored: Scored, portions: Sequence[Portion]) -> Choice:
        """The choice with what its calibration changes on the held-out rows."""
        if choice.served_decision.calibration is None:
            return choice
        before, weight = self._score(portions), self.prepared.weight_test
        return with_changes(choice, scored.y, before.prediction, scored.prediction, weight)

    def _test_scores(self, scored: Scored) -> dict[str, float]:
        """The scores of the winner by every metric of the task and every goal."""
        return evaluate(
            self.prepared.task.kind,
            scored.y,
            scored.prediction,
            self.prepared.weight_test,
            own=[self._metric, *(metric_of(goal) for goal in self._other_scores)],
            decided=scored.decided,
        )

    @property
    def _other_scores(self) -> list[Goal]:
        """The goals beside the first that score predictions."""
        return [
            goal
            for goal in self.plan.goals.goals
            if Expression.parse(goal.name) is None and not is_beside(goal.name)
        ]

    def _interval(self, scored: Scored, test: dict[str, float]) -> Interval | None:
        """The interval of the deciding score; None where it is not defined."""
        if self._name not in test:
            self.ending.say(
                f"warning: {self._name} is not defined on the held-out rows, so there is no test "
                "score"
            )
            return None
        weight = self.prepared.weight_test
        return score_interval(
            self._metric,
            scored.y,
            scored.seen_by(self._metric),
            groups=scored.groups,
            weight=weight,
        )

    def _beside_default(self, choice: Choice, scored: Scored) -> BesideDefault | None:
        """The default on the held-out rows, if its model is still there and is not the winner.

        The models of the search are compared, not one of them trained on more rows; an ensemble is
        compared as it is logged.
        """
        default, metric = default_trial(self.ending), self._metric
        if default is None or choice.members(self.ending.trials) == [default]:
            return None
        as_searched = self.final.refits and choice.ensemble is None
        label = best_label(default) if as_searched else self.final.labels(default)[0]
        own = best_label(choice.winner) if as_searched else label
        exchange = self.ending.workshop.exchange
        if not all(exchange.has(models_of(needed)) for needed in (label, own)):
            return None
        other = self._score([Portion(label)])
        if as_searched:
            scored = self._score([Portion(own)], choice.served_decision)
        weight = self.prepared.weight_test
        gain = paired_gain(
            metric,
            scored.y,
            scored.seen_by(metric),
            other.prediction,
            groups=scored.groups,
            weight=weight,
        )
        return BesideDefault(metric(other.y, other.prediction, weight), gain, as_searched)

    @property
    def _trained_on(self) -> int | None:
        """The rows of a model that was trained once more."""
        if self.plan.uses_test_rows:
            return len(self.prepared.frame)
        return len(self.prepared.rows.rest) if self.final.refits else None

    def _trivial_score(self) -> float:
        """The trivial baseline's score on the held-out rows; nan without one."""
        if TRIVIAL not in self.ending.baselines:
            return float("nan")
        trivial = self._score([Portion(Baseline(TRIVIAL, whole=self.final.refits).label)])
        weight = self.prepared.weight_test
        values = evaluate(
            self.prepared.task.kind, trivial.y, trivial.prediction, weight, own=[self._metric]
        )
        return values.get(self._name, float("nan"))

    def _store_classes(self, scored: Scored) -> None:
        """Store which share of each class of the held-out rows the winner finds."""
        labels = getattr(self.prepared.target, "classes", None)
        if labels:
            found = recalls(scored.y, scored.decided)
            rows = [(str(label), *each) for label, each in zip(labels, found, strict=True)]
            self.ending.store.notes.save_text(classes_text(rows), CLASSES)
