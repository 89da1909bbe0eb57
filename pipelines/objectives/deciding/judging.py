"""Whether a calibration and a threshold help, by rows that fitted neither.

The validation rows are divided in halves, several times: one half fits, the other is scored. What
is served is fitted on all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hpo.arrays import FloatArray, IntArray
from pipelines.objectives.ensemble.rows import ValidationRows
from pipelines.study.choice.decision import Change, Judged
from pipelines.table.scores.calibration import calibration_error, fitted
from pipelines.table.scores.metrics import METRICS, Metric
from pipelines.table.scores.thresholds import best_threshold
from serving.decision import HALF, Decision

LOG_LOSS, ERROR = "log_loss", "calibration_error"

Score = Callable[[IntArray, FloatArray, FloatArray | None], float]


@dataclass(frozen=True)
class Wanted:
    """What is to be decided.

    Attributes:
        calibrates: whether probabilities are calibrated.
        threshold: a given one.
        metric: that the threshold is tuned for; None if it is not tuned.
    """

    calibrates: bool = False
    threshold: float | None = None
    metric: Metric | None = None

    def decided(
        self, y: IntArray, probabilities: FloatArray, weight: FloatArray | None
    ) -> Decision:
        """The decision by these rows; without a threshold of its own it keeps all labels."""
        calibration = fitted(y, probabilities, weight) if self.calibrates else None
        threshold = self.threshold
        if self.metric is not None:
            served = Decision(calibration).probabilities(probabilities)
            threshold = best_threshold(y, served, self.metric, weight)
        elif threshold is None and calibration is not None and probabilities.shape[1] == 2:
            threshold = float(calibration(np.array([[HALF, HALF]]))[0, 1])
        return Decision(calibration, threshold)


def judge(
    rows: ValidationRows,
    probabilities: FloatArray,
    wanted: Wanted,
    *,
    calibrates_anyway: bool,
    tunes_anyway: bool,
) -> Judged:
    """Decide by all rows what helps on rows that did not fit it.

    Args:
        rows: of the predictions.
        probabilities: `(n, k)` of the winner.
        wanted: what is tried.
        calibrates_anyway: whether a calibration is kept that does not help.
        tunes_anyway: the same for a tuned threshold.

    Raises:
        ValueError: when a score is not defined on a half.
    """
    calibration: tuple[Change, ...] = ()
    if wanted.calibrates:
        calibration = _calibrations(rows, probabilities)
        loss = calibration[0]
        helps = calibrates_anyway or loss.after < loss.before
        wanted = Wanted(helps, wanted.threshold, wanted.metric)
    tuned = None
    if wanted.metric is not None:
        tuned = _tuned(rows, probabilities, wanted, wanted.metric)
        goal = wanted.metric.goal
        if not tunes_anyway and goal.to_loss(tuned.after) >= goal.to_loss(tuned.before):
            wanted = Wanted(wanted.calibrates, wanted.threshold)
    decision = wanted.decided(rows.y, probabilities, rows.weight)
    keeps = wanted.metric is None and wanted.threshold is None
    return Judged(decision, calibration, tuned, keeps_labels=keeps)


def calibration_changes(
    y: IntArray, before: FloatArray, after: FloatArray, weight: FloatArray | None
) -> tuple[Change, ...]:
    """The log loss and the expected calibration error of two predictions."""
    scores: dict[str, Score] = {LOG_LOSS: METRICS[LOG_LOSS].value, ERROR: calibration_error}
    return tuple(
        Change(name, score(y, before, weight), score(y, after, weight))
        for name, score in scores.items()
    )


def _calibrations(rows: ValidationRows, probabilities: FloatArray) -> tuple[Change, ...]:
    """The mean changes of the second halves by a calibration."""
    found = []
    for fit, score in rows.halves:
        calibration = fitted(rows.y[fit], probabilities[fit], _of(rows.weight, fit))
        before = probabilities[score]
        weight = _of(rows.weight, score)
        found.append(calibration_changes(rows.y[score], before, calibration(before), weight))
    return tuple(map(_mean, zip(*found, strict=True)))


def _tuned(
    rows: ValidationRows, probabilities: FloatArray, wanted: Wanted, metric: Metric
) -> Change:
    """The mean change of the second halves by a tuned threshold."""
    found = []
    for fit, score in rows.halves:
        decision = wanted.decided(rows.y[fit], probabilities[fit], _of(rows.weight, fit))
        y, weight, before = rows.y[score], _of(rows.weight, score), probabilities[score]
        after = decision.decided(decision.probabilities(before))
        found.append(Change(metric.name, metric(y, before, weight), metric(y, after, weight)))
    return _mean(found)


def _mean(changes: Sequence[Change]) -> Change:
    before, after = np.mean([(each.before, each.after) for each in changes], axis=0)
    return Change(changes[0].metric, float(before), float(after))


def _of(weight: FloatArray | None, rows: IntArray) -> FloatArray | None:
    return None if weight is None else weight[rows]
