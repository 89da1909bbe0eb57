"""The objective of `tune`: a model family on the encoded rows of one table."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hpo.algorithms import is_population
from hpo.configurations import Identity
from hpo.goals import Goal
from hpo.trial import Trial
from pipelines.files.exchange import Exchange
from pipelines.models import BASELINES, family_of, identity, search_model, single_family
from pipelines.objectives.ending.final import DEFAULT_ORIGIN
from pipelines.objectives.ensemble.library import Stored, library_size
from pipelines.objectives.jobs import FOLDS, Baseline, Work
from pipelines.objectives.scoring.beside import save_groups
from pipelines.study.plan import Plan
from pipelines.table.scores.costs import watts_per_core
from pipelines.table.scores.named import metric_text
from pipelines.table.source import DataPlan, described

if TYPE_CHECKING:
    from pipelines.table.data import Prepared


class TableObjective:
    """Trains a family on a table, and scores it on the validation rows.

    Args:
        plan: of the study.
        data: the table and the use of its rows.
        prepared: the table, encoded, without its folds (`publish_folds`).
    """

    def __init__(self, plan: Plan, data: DataPlan, prepared: "Prepared") -> None:
        self._plan = plan
        self._data = data
        self._prepared = prepared
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
            tuple(name for name in plan.goals.sums.measured if name != plan.score.name),
            {} if plan.goals.is_plain else plan.goals.to_dict(),
            watts_per_core()[0],
            is_population(plan.algorithm),
            plan.before,
        ).write(exchange)
        save_groups(self._prepared, plan.goals.sums.measured, exchange)

    @property
    def _predictions(self) -> int:
        """Of how many of the best trials the predictions are kept."""
        return library_size(self._plan.max_members) or int(self._plan.decides)

    @property
    def _models(self) -> int:
        """Of how many of the best trials the models are kept; none is served if it refits."""
        return 1 if self._plan.refits else max(1, self._plan.max_members)

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


def publish_folds(prepared: "Prepared", exchange: Exchange) -> "Prepared":
    """Put the encoded folds into the exchange; the table without them, which the driver keeps."""
    exchange.put(FOLDS, prepared.save)
    return replace(prepared, folds=())
