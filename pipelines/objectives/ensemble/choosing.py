"""The ensemble of a search that is over: from the stored predictions, or as decided before."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hpo.errors import UserError
from hpo.loop import StopLevel
from hpo.trial import Trial
from pipelines.models import family_of, identity
from pipelines.objectives.ending.confirmation import best_distinct
from pipelines.objectives.ending.final import Train, seconds_to_refit, without_predictions
from pipelines.objectives.ensemble.decision import decide
from pipelines.objectives.ensemble.library import library_size, read, shortlist
from pipelines.objectives.ensemble.rows import ValidationRows
from pipelines.objectives.jobs import best_report
from pipelines.store import schema
from pipelines.study.choice.ensemble import Ensemble
from pipelines.study.ending import Ending
from pipelines.table.scores.named import metric_of

if TYPE_CHECKING:
    from pipelines.table.data import Prepared


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
    ranked = best_distinct(ending.trials, len(ending.trials), identity(plan.model))
    trials = shortlist(ranked, library_size(plan.max_members), family_of(plan.model))
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
            missing = without_predictions(ending, trials)
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


def in_time(ensemble: Ensemble, ending: Ending, folds: int) -> Ensemble | None:
    """The heaviest members that can be trained once more until the timeout is over.

    None where that is one trial only, which is no ensemble.
    """
    kept = list(ensemble.weights)
    while len(kept) > 1:
        members = [ending.trials[n] for n in kept]
        if ending.has_time_for(seconds_to_refit(ending.trials, members, folds)):
            break
        kept.pop()
    if len(kept) == len(ensemble.weights):
        return ensemble
    ending.say(
        f"the ensemble keeps {len(kept)} of its {len(ensemble.weights)} trials: the timeout leaves "
        "no time to train all of them once more"
    )
    left = ensemble.only(set(kept)) if len(kept) > 1 else None
    ending.store.notes.annotate(tags={schema.ENSEMBLE: left.to_tag() if left else ""})
    return left


def _decided(
    ending: Ending, prepared: "Prepared", trials: Sequence[Trial], own_folds: bool
) -> Ensemble:
    plan, metric = ending.plan, metric_of(ending.plan.score)
    rows = ValidationRows.of(prepared, plan.seed, own_folds=own_folds)
    library = read(ending.workshop.exchange, trials, rows.y, metric, rows.weight)
    return decide(library, rows.halves, plan.max_members, plan.seed)


def _basis(trials: Sequence[Trial], most: int) -> str:
    """What a decision depends on: the trials with their scores, and the cap."""
    facts = [(trial.number, trial.loss, best_report(trial).budget) for trial in trials]
    return hashlib.sha256(repr((most, facts)).encode()).hexdigest()[:16]
