"""The decision about the winner of a search: from its stored predictions of the validation rows."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from hpo.arrays import FloatArray, IntArray
from hpo.trial import Trial
from pipelines.objectives.deciding.judging import Wanted, calibration_changes, judge
from pipelines.objectives.ending.final import Train, without_predictions
from pipelines.objectives.ensemble.library import read
from pipelines.objectives.ensemble.rows import ValidationRows
from pipelines.study.choice.decision import Judged
from pipelines.study.ending import Choice, Ending
from pipelines.study.options import OFF, ON
from pipelines.study.plan import Plan
from pipelines.table.scores.named import metric_of
from pipelines.table.scores.thresholds import Threshold
from serving.decision import Decision

if TYPE_CHECKING:
    from pipelines.table.data import Prepared


def with_decision(
    choice: Choice, ending: Ending, prepared: "Prepared", train: Train, *, own_folds: bool
) -> Choice | None:
    """The winner with its decision, if the options want one; None when the user stops it.

    Args:
        choice: the winner.
        ending: of the search.
        prepared: the table.
        train: does jobs that leave predictions.
        own_folds: whether the folds of the search are the user's, and so are not to be mixed.
    """
    wanted = _wanted(ending.plan, prepared.task.kind)
    if wanted == Wanted():
        return choice
    if wanted == Wanted(threshold=wanted.threshold):
        return replace(choice, decision=Judged(Decision(threshold=wanted.threshold)))
    trials = choice.members(ending.trials)
    missing = without_predictions(ending, trials)
    if missing:
        ending.say(
            f"training {len(missing)} trial(s) again to calibrate or to tune the threshold: their "
            "predictions were not stored"
        )
        if train(missing, ending) is None:
            return None
    plan = ending.plan
    rows = ValidationRows.of(prepared, plan.seed, own_folds=own_folds)
    try:
        judged = judge(
            rows,
            _prediction(choice, ending, trials, rows),
            wanted,
            calibrates_anyway=plan.calibrate == ON,
            tunes_anyway=Threshold.parse(plan.threshold).metric is not None,
        )
    except ValueError as error:
        ending.say(f"no calibration and no threshold was chosen: {error}")
        return choice
    return replace(choice, decision=judged)


def with_changes(
    choice: Choice, y: IntArray, before: FloatArray, after: FloatArray, weight: FloatArray | None
) -> Choice:
    """The winner, with what its calibration changes on the n held-out rows.

    Args:
        choice: the winner, with a calibration.
        y: `(n,)` class codes.
        before: `(n, k)` probabilities as they were.
        after: the same, calibrated.
        weight: `(n,)` weights of the rows; None for equal ones.
    """
    if choice.decision is None:
        return choice
    changes = calibration_changes(y, before, after, weight)
    return replace(choice, decision=replace(choice.decision, held_out=changes))


def _wanted(plan: Plan, kind: str) -> Wanted:
    """What the options of a study want for a task of this kind."""
    if kind == "regression" or not plan.decides:
        return Wanted()
    calibrates = plan.calibrate != OFF
    if kind != "binary":
        return Wanted(calibrates)
    threshold = Threshold.parse(plan.threshold)
    return Wanted(calibrates, threshold.value, threshold.tuned_for(metric_of(plan.score)))


def _prediction(
    choice: Choice, ending: Ending, trials: Sequence[Trial], rows: ValidationRows
) -> FloatArray:
    """The mean prediction of the validation rows, `(n, k)`."""
    library = read(
        ending.workshop.exchange, trials, rows.y, metric_of(ending.plan.score), rows.weight
    )
    weights = choice.ensemble.weights if choice.ensemble else {choice.winner.number: 1.0}
    mean = np.average(library.predictions, axis=0, weights=[weights[n] for n in library.numbers])
    return np.asarray(mean, dtype=np.float64)
