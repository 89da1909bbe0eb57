"""The checks of a promotion, on rows that neither model was trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from hpo.arrays import FloatArray
from hpo.errors import DataError
from pipelines.registry.cost import latency_checks, size_check
from pipelines.registry.gate import Check, HeldOutScore, Limits, Verdict
from pipelines.registry.goals import Contender, goal_checks
from pipelines.registry.heldout import HeldOut
from pipelines.registry.pair import Pair, Predicted
from pipelines.registry.schema import schema_check
from pipelines.registry.slices import slice_checks
from pipelines.table.scores.bootstrap import Gain
from pipelines.table.scores.metrics import Metric, weighted_quantile
from pipelines.table.scores.named import metric_of

if TYPE_CHECKING:
    from serving.features import TargetEncoder
    from serving.predictor import Predictor

SCORE_TOLERANCE = 1e-6  # relative difference between two runs of the same model


@dataclass(frozen=True)
class Served:
    """A version as it would be served.

    Attributes:
        version: Its number.
        predictor: Its model.
        size: Of its files, in bytes.
    """

    version: int
    predictor: Predictor
    size: int


@dataclass(frozen=True)
class Contest:
    """The challenger against one opponent.

    `check_name` stands in the table of checks and `opponent` in sentences; the challenger must be
    better by more than `margin`.
    """

    check_name: str
    opponent: str
    pair: Pair
    margin: float

    @cached_property
    def gain(self) -> Gain:
        """How much better the challenger is."""
        try:
            return self.pair.gain(self.margin)
        except ValueError as error:
            raise DataError(f"{error}; give other rows with -P data=") from error

    @property
    def _better(self) -> str:
        return f"better by more than {self.margin:g}" if self.margin else "better"

    def check(self, confidence: float) -> Check:
        """Whether the challenger is better with this probability."""
        gain = self.gain
        found = (
            f"{self.pair.scores}, gain {gain.value:+.4g} [{gain.low:+.4g}, {gain.high:+.4g}], "
            f"probability {gain.probability:.4f}"
        )
        rule = f"{self._better} with probability >= {confidence:g}"
        return Check(self.check_name, found, rule, gain.probability >= confidence)

    def summary(self, rows: HeldOut) -> str:
        """The result in one sentence."""
        better = self.pair.metric.goal.better
        return (
            f"{self.pair.scores} of {self.opponent}, {self._better} with probability "
            f"{self.gain.probability:.4f} ({better} is better, {len(rows):,} {rows.origin})"
        )


def compare(
    challenger: Served, champion: Served | None, rows: HeldOut, score: HeldOutScore, limits: Limits
) -> Verdict:
    """All checks of a challenger against the champion, or against the trivial baseline alone.

    Every check is made even if another one has failed, so that the user sees all results at once.
    But models with different schemas are not scored.

    Args:
        challenger: The version to promote.
        champion: The current champion, if there is one.
        rows: The rows to compare them on.
        score: The challenger's recorded score.
        limits: What the challenger must satisfy.

    Raises:
        DataError: If a model cannot predict the rows, or they cannot be sliced.
    """
    schema = schema_check(challenger.predictor, champion.predictor if champion else None)
    if schema.passed is False:
        summary = "the challenger's inputs or outputs differ from the champion's"
        return Verdict((schema,), summary, float("nan"))
    own = _predict(challenger, rows, "the challenger")
    other = None
    if champion is not None:
        classes = (each.predictor.target.classes for each in (challenger, champion))
        other = _predict(champion, rows, "the champion").in_order_of(*classes)
    contests = _contests(challenger, champion, own, other, rows, score, limits)
    deciding, checked, summary = contests[-1], contests, contests[-1].summary(rows)
    goals: list[Check] = []
    if score.goals is not None:
        order = challenger.predictor.target.classes
        mine = Contender(challenger.predictor, challenger.size, own, order)
        theirs = None
        if champion is not None and other is not None:
            theirs = Contender(champion.predictor, champion.size, other, order)
        goals, words = goal_checks(score.goals, mine, theirs, rows, limits.confidence)
        checked = contests[:1]  # the champion is compared with by all goals
        summary = f"{words}; {summary}" if words else summary
    slices, notes = (
        slice_checks(deciding.pair, rows, limits.slice, limits.tolerance)
        if limits.slice is not None
        else ([], [])
    )
    checks = (
        schema,
        *(contest.check(limits.confidence) for contest in checked),
        *goals,
        *slices,
        *latency_checks(challenger.predictor, rows.frame, limits),
        size_check(challenger.size, limits),
    )
    notes = [*rows.notes, *_score_notes(deciding.pair, rows, score), *notes]
    return Verdict(checks, summary, deciding.gain.probability, tuple(notes))


def _contests(
    challenger: Served,
    champion: Served | None,
    own: Predicted,
    other: Predicted | None,
    rows: HeldOut,
    score: HeldOutScore,
    limits: Limits,
) -> list[Contest]:
    """The contests against the trivial baseline and the champion; the last one decides."""
    metric = metric_of(score.goal)
    prediction = own.seen_by(metric)
    constant = trivial(challenger.predictor.target, rows, metric)
    pair = Pair.on(rows, metric, prediction, constant)
    baseline = Contest("trivial baseline", "the trivial baseline", pair, 0.0)
    if champion is None or other is None:
        return [baseline]
    pair = Pair.on(rows, metric, prediction, other.seen_by(metric))
    name = f"version {champion.version}"
    return [baseline, Contest(f"champion ({name})", name, pair, limits.margin)]


def _predict(model: Served, rows: HeldOut, role: str) -> Predicted:
    """The predictions of a model.

    Raises:
        DataError: If it cannot predict the rows, or predicts values that are not finite.
    """
    try:
        prediction = model.predictor.predict_raw(rows.frame)
    except ValueError as error:
        raise DataError(
            f"{role}, version {model.version}, cannot predict the {rows.origin}: {error}"
        ) from error
    finite = np.isfinite(prediction).reshape(len(prediction), -1).all(axis=1)
    if not finite.all():
        raise DataError(
            f"{role}, version {model.version}, predicts values that are not finite for "
            f"{np.count_nonzero(~finite):,} of {len(rows):,} {rows.origin}"
        )
    return Predicted(prediction, model.predictor.decision.decided(prediction))


def trivial(target: TargetEncoder, rows: HeldOut, metric: Metric) -> FloatArray:
    """The best constant prediction for these rows: class shares (n, k), or a mean or quantile (n,).

    It is at least as good as that of the training rows, so a shift of the target alone promotes no
    model.
    """
    if target.kind == "regression":
        kind, _, level = metric.name.partition(":")
        if kind == "pinball":
            return np.full(len(rows), weighted_quantile(rows.y, float(level), rows.weight))
        return np.full(len(rows), float(np.average(rows.y, weights=rows.weight)))
    counts = np.bincount(rows.y, rows.weight, minlength=len(target.classes))
    return np.tile(counts / counts.sum(), (len(rows), 1))


def _score_notes(pair: Pair, rows: HeldOut, score: HeldOutScore) -> Iterator[str]:
    """A note if the challenger's score differs from the recorded one."""
    now = pair.metric(pair.y, pair.challenger, pair.weight)
    tolerance = SCORE_TOLERANCE * max(abs(now), abs(score.value))
    if rows.of_study and abs(now - score.value) > tolerance:
        yield (
            f"the challenger was recorded with {pair.metric.name} {score.value:.8g} on these rows "
            f"and has {now:.8g} now; were libraries or the kind of machine changed in between?"
        )
