"""The objective of `tune`: a model family on the encoded rows of one table."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hpo.algorithms import is_population
from hpo.configurations import Identity
from hpo.goals import Goal
from hpo.loop import StopLevel
from hpo.trial import Trial
from pipelines.files.exchange import Exchange
from pipelines.models import BASELINES, family_of, identity, search_model, single_family
from pipelines.objectives.deciding.deciding import with_decision
from pipelines.objectives.ending.confirmation import best_distinct, confirm, seconds_to_confirm
from pipelines.objectives.ending.final import (
    DEFAULT_ORIGIN,
    Final,
    default_trial,
    seconds_to_refit,
)
from pipelines.objectives.ensemble.choosing import choose_ensemble, in_time
from pipelines.objectives.ensemble.library import USUAL, Stored, library_size
from pipelines.objectives.jobs import FOLDS, Baseline, Work
from pipelines.objectives.scoring.beside import save_groups
from pipelines.store.schema import ENSEMBLE
from pipelines.study.choice.ensemble import Ensemble
from pipelines.study.objective import Choice, Ending
from pipelines.study.plan import Plan
from pipelines.study.result import Outcome
from pipelines.table.scores.costs import watts_per_core
from pipelines.table.scores.named import metric_text
from pipelines.table.source import DataPlan, described

if TYPE_CHECKING:
    from pipelines.table.data import Prepared


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
        self._final = Final(plan.refits, plan.uses_test_rows)
        self._stored = Stored(
            self._models, self._predictions, DEFAULT_ORIGIN, family_of(plan.model)
        )

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
    def again(self) -> Mapping[str, str | None]:
        """The table, where it has no place from which it can be read again."""
        return {"data": None} if self._data.uri is None else {}

    def seconds_of_end(self, trials: Sequence[Trial], workers: int) -> float:
        """For the confirmation, and the models that are trained once more."""
        plan = self._plan
        seconds = 0.0 if plan.confirm is None else seconds_to_confirm(trials, plan.confirm)
        if self._final.refits:
            refitted = best_distinct(trials, min(max(plan.max_members, 1), USUAL))
            seconds += seconds_to_refit(trials, refitted, len(self._prepared.rows.folds))
        return seconds / max(workers, 1)

    def described(self) -> Mapping[str, Any]:
        """The table and the use of its rows."""
        return self._data.to_header()

    def meta_features(self) -> Mapping[str, Any]:
        """Of the rows that the search uses."""
        return described(self._prepared)

    @property
    def notes(self) -> Sequence[str]:
        """What was noticed in the table, and what its training leaves out."""
        task, rows = self._prepared.task, len(self._prepared.rows.folds[0][0])
        of_models = [
            f"model: {note}"
            for name in search_model(self._plan.model).families
            for note in single_family(name).notes(rows, task.kind)
        ]
        return [*(f"data: {note}" for note in self._prepared.notes), *of_models]

    def describe(self) -> str:
        """The task and the target."""
        return f"{self._data.task} of {self._data.target!r}"

    def publish(self, exchange: Exchange, checkpoints: str | None) -> None:
        """Put the settings of the trainings into the exchange, beside the folds."""
        plan = self._plan
        Work(
            plan.model,
            metric_text(plan.score),
            plan.seed,
            plan.threads,
            plan.rungs,
            plan.fidelity,
            checkpoints,
            self._models,
            self._predictions,
            plan.device,
            tuple(name for name in plan.goals.measured if name != plan.score.name),
            {} if plan.goals.is_plain else plan.goals.to_dict(),
            watts_per_core()[0],
            is_population(plan.algorithm),
            plan.before,
        ).write(exchange)
        save_groups(self._prepared, plan.goals.measured, exchange)

    @property
    def _predictions(self) -> int:
        """Of how many of the best trials the predictions are kept."""
        return library_size(self._plan.max_members) or int(self._plan.decides)

    @property
    def _models(self) -> int:
        """Of how many of the best trials the models are kept; none is served if it refits."""
        return 1 if self._final.refits else max(1, self._plan.max_members)

    def baselines(self) -> Mapping[str, Baseline]:
        """A trivial and a linear model."""
        return {name: Baseline(name) for name in BASELINES}

    def reported(self, trial: Trial, best: Trial | None, exchange: Exchange) -> None:
        """Delete models and predictions that are neither those of the best trials.

        The models of the default are kept, too: it is scored beside the winner.
        """
        if trial.reports:
            for name in self._stored.outdated(trial):
                exchange.remove(name)

    def choose(self, best: Trial, ending: Ending) -> Choice:
        """The best trial of the search or of the confirmation, or an ensemble that is better."""
        chosen = self._choose_single(best, ending)
        ensemble = choose_ensemble(
            ending, self._prepared, self._final.train, own_folds=self._data.has_own_folds
        )
        if ensemble is not None and self._final.refits:
            ensemble = in_time(ensemble, ending, len(self._prepared.rows.folds))
        return chosen if ensemble is None else _joined(chosen, ensemble, ending)

    def _choose_single(self, best: Trial, ending: Ending) -> Choice:
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

    def ensure_model(self, choice: Choice, ending: Ending) -> Choice | None:
        """Train what is missing of the winner, calibrate it and choose its threshold.

        Raises:
            StudyError: when that fails.
        """
        trained = self._ensure_trained(choice, ending)
        if trained is None:
            return None
        own = self._data.has_own_folds
        return with_decision(trained, ending, self._prepared, self._final.train, own_folds=own)

    def _ensure_trained(self, choice: Choice, ending: Ending) -> Choice | None:
        """Train the models of the winner that are missing, or are to see the validation rows.

        An ensemble that predicts too slowly or is too large loses members.

        Raises:
            StudyError: when that fails.
        """
        from pipelines.objectives.ensemble.fitting import without_excess

        trials, default = choice.members(ending.trials), default_trial(ending)
        if choice.ensemble and self._final.refits and default and default not in trials:
            trials.append(default)  # which is scored beside the ensemble
        if not self._final.ensure(trials, self._prepared, ending):
            return None
        if choice.ensemble is None:
            return choice
        fitting = without_excess(choice.ensemble, self._prepared, self._final, ending)
        if fitting == choice.ensemble:
            return choice
        ending.store.notes.annotate(tags={ENSEMBLE: fitting.to_tag()})
        smaller = _joined(choice, fitting, ending)
        if len(fitting.weights) == 1:
            smaller = Choice(_best_single(choice, ending), choice.confirmation)
        return self._ensure_trained(smaller, ending)

    def finished(self, choice: Choice, ending: Ending) -> Outcome | None:
        """What an earlier session has stored of this winner; None unless that is complete."""
        from pipelines.objectives.ending.finished import OUTCOME, from_tag
        from pipelines.registry.logged import is_stored

        text = ending.store.notes.tag(OUTCOME)
        outcome = from_tag(text, choice, self._plan) if text else None
        if outcome is None or outcome.model_uri is None:
            return None
        uri, name = ending.store.tracking_uri, self._plan.register
        if not is_stored(uri, outcome.model_uri, name, outcome.version):
            return None
        ending.say(f"winner: {choice}, logged already")
        return outcome

    def finish(self, choice: Choice, ending: Ending) -> Outcome:
        """Score the winner once on the held-out rows, log and register it.

        Raises:
            StudyError: when MLflow does not take it.
        """
        from pipelines.objectives.ending.finish import Finish

        return Finish(self._plan, self._data, self._prepared, self._final, ending).outcome(choice)


def _joined(choice: Choice, ensemble: Ensemble, ending: Ending) -> Choice:
    return replace(choice, winner=ending.trials[ensemble.leader], ensemble=ensemble)


def _best_single(choice: Choice, ending: Ending) -> Trial:
    """What wins without an ensemble."""
    if choice.confirmation is not None:
        return ending.trials[choice.confirmation.winner]
    return best_distinct(ending.trials, 1)[0]


def publish_folds(prepared: "Prepared", exchange: Exchange) -> "Prepared":
    """Put the encoded folds into the exchange; the table without them, which the driver keeps."""
    exchange.put(FOLDS, prepared.save)
    return replace(prepared, folds=())
