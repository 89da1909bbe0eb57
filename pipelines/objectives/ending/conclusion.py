"""The end of `tune` on a table: the best trial or an ensemble is scored, logged and registered."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hpo.loop import StopLevel
from hpo.trial import Trial
from pipelines.objectives.deciding.deciding import with_decision
from pipelines.objectives.ending.confirmation import best_distinct, confirm, seconds_to_confirm
from pipelines.objectives.ending.final import Final, default_trial, seconds_to_refit
from pipelines.objectives.ensemble.choosing import choose_ensemble, in_time
from pipelines.objectives.ensemble.library import USUAL
from pipelines.store.schema import ENSEMBLE
from pipelines.study.choice.ensemble import Ensemble
from pipelines.study.ending import Choice, Ending
from pipelines.study.plan import Plan
from pipelines.study.result import Outcome
from pipelines.table.source import DataPlan

if TYPE_CHECKING:
    from pipelines.table.data import Prepared


class TableConclusion:
    """Makes the winner a model that is scored on held-out rows and logged.

    Args:
        plan: of the study.
        data: the table and the use of its rows.
        prepared: the table, encoded, without its folds.
    """

    def __init__(self, plan: Plan, data: DataPlan, prepared: "Prepared") -> None:
        self._plan = plan
        self._data = data
        self._prepared = prepared
        self._final = Final(plan.refits, plan.uses_test_rows)

    def seconds(self, trials: Sequence[Trial], workers: int) -> float:
        """For the confirmation, and the models that are trained once more."""
        plan = self._plan
        seconds = 0.0 if plan.confirm is None else seconds_to_confirm(trials, plan.confirm)
        if self._final.refits:
            refitted = best_distinct(trials, min(max(plan.max_members, 1), USUAL))
            seconds += seconds_to_refit(trials, refitted, len(self._prepared.rows.folds))
        return seconds / max(workers, 1)

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
