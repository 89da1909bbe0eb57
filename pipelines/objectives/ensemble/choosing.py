"""The ensemble of a search that is over: from the stored predictions, or as decided before."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from hpo.arrays import IntArray
from hpo.errors import UserError
from hpo.loop import Job, StopLevel
from hpo.trial import Trial
from pipelines.models import identity
from pipelines.objectives.confirmation import best_distinct
from pipelines.objectives.ensemble.decision import REPEATS, Half, decide
from pipelines.objectives.ensemble.library import library_size, predictions_of, read, sampled
from pipelines.objectives.final import AgainJob
from pipelines.objectives.jobs import Rebuild, best_label, best_report
from pipelines.store import schema
from pipelines.study.choice.ensemble import Ensemble
from pipelines.study.objective import Ending
from pipelines.table.scores.named import metric_of

if TYPE_CHECKING:
    from pipelines.table.data import Prepared

Train = Callable[[Sequence[AgainJob], Ending], object]  # None when the user stops it


def choose_ensemble(
    ending: Ending, prepared: "Prepared", train: Train, *, own_folds: bool
) -> Ensemble | None:
    """Select an ensemble; None for one that is no better than the best single trial.

    Of a resumed study the predictions of earlier sessions are gone. What was decided then stands
    as long as no other trials are among the best; otherwise these are trained again. So the winner
    is that of a study without interruption.

    Args:
        ending: of the search.
        prepared: the table.
        train: does jobs that leave predictions.
        own_folds: whether the folds of the search are the user's, and so are not to be mixed.
    """
    plan, say, notes = ending.plan, ending.say, ending.store.notes
    trials = best_distinct(ending.trials, library_size(plan.max_members), identity(plan.model))
    if not plan.max_members or len(trials) < 2:
        if notes.tag(schema.ENSEMBLE):
            notes.annotate(tags={schema.ENSEMBLE: ""})  # an earlier session had one
        return None
    if ending.stop.level > StopLevel.CONTINUE:
        say("no ensemble was selected; resume the study to its end to have one")
        return None
    basis = _basis(trials, plan.max_members)
    found = Ensemble.from_tag(notes.tag(schema.ENSEMBLE) or "", basis)
    if found is None:
        try:
            missing = _missing(ending, trials)
            if missing:
                say(
                    f"training {len(missing)} of the best trials again for an ensemble: their "
                    "predictions were not stored"
                )
                if train(missing, ending) is None:
                    return None
            found = replace(_decided(ending, prepared, trials, own_folds), basis=basis)
        except (ValueError, UserError) as error:
            say(f"no ensemble was selected: {error}")
            return None
        notes.annotate(tags={schema.ENSEMBLE: found.to_tag()})
    if found.is_better:
        return found
    say(found.lines()[0])
    return None


def _missing(ending: Ending, trials: Sequence[Trial]) -> list[Rebuild]:
    """What trains the trials without predictions again."""
    exchange = ending.workshop.exchange
    return [
        Rebuild(Job(trial.number, trial.params, 0.0, best_report(trial).budget))
        for trial in trials
        if not exchange.has(predictions_of(best_label(trial)))
    ]


def _decided(
    ending: Ending, prepared: "Prepared", trials: Sequence[Trial], own_folds: bool
) -> Ensemble:
    plan, folds = ending.plan, [valid for _, valid in prepared.rows.folds]
    kept = sampled(sum(map(len, folds)))
    rows = np.concatenate(folds)[kept]
    weight = None if prepared.weight is None else prepared.weight[rows]
    metric = metric_of(plan.goal)
    library = read(ending.workshop.exchange, trials, prepared.y[rows], metric, weight)
    if own_folds:
        of = np.repeat(np.arange(len(folds)), [*map(len, folds)])[kept]
        halves = [(np.flatnonzero(of != i), np.flatnonzero(of == i)) for i in np.unique(of)]
    else:
        halves = _halves(prepared, rows, plan.seed)
    return decide(library, halves, plan.max_members, plan.seed)


def _halves(prepared: "Prepared", rows: IntArray, seed: int) -> list[Half]:
    """Divisions of these rows by the rule of the study, as positions in `rows`."""
    order = np.argsort(rows, kind="stable")
    numbers = rows[order]
    parts = prepared.resampled(repeats=REPEATS, folds=2, seed=seed, among=numbers).folds
    return [
        (order[numbers.searchsorted(chosen)], order[numbers.searchsorted(scored)])
        for chosen, scored in parts
    ]


def _basis(trials: Sequence[Trial], most: int) -> str:
    """What a decision depends on: the trials with their scores, and the cap."""
    facts = [(trial.number, trial.loss, best_report(trial).budget) for trial in trials]
    return hashlib.sha256(repr((most, facts)).encode()).hexdigest()[:16]
