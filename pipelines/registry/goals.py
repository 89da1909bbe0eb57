"""The checks of a promotion where the challenger's study had several goals or limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hpo.errors import DataError, closest
from hpo.goals import Goal, Goals
from hpo.goals.expression import Expression
from pipelines.registry.gate import Check
from pipelines.registry.pair import Pair, Predicted
from pipelines.table.scores.costs import LATENCY, MEGABYTE, ROWS, SIZE, is_cost, latency
from pipelines.table.scores.gaps import column_of, gap, group_codes, is_gap
from pipelines.table.scores.metrics import Metric
from pipelines.table.scores.named import metric_named, metric_of
from pipelines.table.scores.robustness import disturbed, is_robustness, strength_of

if TYPE_CHECKING:
    from pipelines.registry.heldout import HeldOut
    from serving.predictor import Predictor

CLEARLY = 0.1  # by which share a cost has to be another one, since clocks are noisy
CLEAR_GAP = 0.02  # by how much a gap between groups has to be another one


@dataclass(frozen=True)
class Contender:
    """A version with its predictions for the rows.

    Attributes:
        predictor: Of the version.
        size: Of its files, in bytes.
        prediction: Of the rows, whose classes have the challenger's order.
        classes: The classes in that order.
    """

    predictor: Predictor
    size: int
    prediction: Predicted
    classes: Sequence[object] = ()

    def value(self, name: str, rows: HeldOut, score: Metric) -> float | None:
        """A score, or what is measured beside them; None if it is not known of a served model.

        Args:
            name: Of a goal or a limit.
            rows: To measure it on.
            score: The first score of the study, which `robustness` is of.
        """
        found = Expression.parse(name)
        if found is not None:
            values = {each: self.value(each, rows, score) for each in found.names}
            known = {each: value for each, value in values.items() if value is not None}
            return found.value(known) if len(known) == len(values) else None
        if is_cost(name):
            return self._cost(name, rows)
        if is_gap(name):
            return gap(name, rows.y, self.prediction.decided, _groups(name, rows), rows.weight)
        if is_robustness(name):
            return score(rows.y, self.disturbed(name, rows).seen_by(score), rows.weight)
        metric = metric_named(name)
        return metric(rows.y, self.prediction.seen_by(metric), rows.weight)

    def disturbed(self, name: str, rows: HeldOut) -> Predicted:
        """The predictions for the rows with noise and missing cells (`robustness`)."""
        encoded = disturbed(self.predictor.features.transform(rows.frame), strength_of(name))
        values = self.predictor.predict_encoded(encoded)
        found = Predicted(values, self.predictor.decision.decided(values))
        own = self.predictor.target.classes
        return found.in_order_of(self.classes or own, own)

    def _cost(self, name: str, rows: HeldOut) -> float | None:
        if name == SIZE:
            return self.size / MEGABYTE
        if name != LATENCY:
            return None
        frame = rows.frame.iloc[np.arange(min(len(rows), ROWS))]
        encoded = self.predictor.features.transform(frame)
        return latency(lambda: self.predictor.predict_encoded(encoded), len(frame))


def _groups(name: str, rows: HeldOut) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """The group of each row.

    Raises:
        DataError: If the rows lack the column.
    """
    column = column_of(name)
    if column not in rows.frame.columns:
        names = [str(each) for each in rows.frame.columns]
        raise DataError(
            f"the {rows.origin} have no column {column!r}, which {name} needs"
            f"{closest(column, names)}; give rows that have it as -P data="
        )
    return group_codes(rows.frame[column])


@dataclass(frozen=True)
class _Result:
    """The comparison by one goal; `better` and `worse` say what is beyond chance."""

    name: str
    check: Check
    better: bool
    worse: bool


def goal_checks(
    goals: Goals,
    challenger: Contender,
    champion: Contender | None,
    rows: HeldOut,
    confidence: float,
) -> tuple[list[Check], str]:
    """The checks of all goals and limits, and the result in a few words.

    The challenger may be worse than the champion in no goal beyond chance, and has to be better in
    one: scores by a paired bootstrap, costs by more than `CLEARLY`, gaps by more than `CLEAR_GAP`.
    Of a sum, its first score is compared.
    """
    checks = [*_limit_checks(goals, challenger, rows)]
    if champion is None:
        return checks, ""
    found = [
        result
        for goal in goals.goals
        if (result := _compared(goals, goal, challenger, champion, rows, confidence))
    ]
    better = [result.name for result in found if result.better]
    worse = [result.name for result in found if result.worse]
    rule = "better in at least one goal"
    checks += [result.check for result in found]
    checks.append(Check("goals together", f"better in {_names(better)}", rule, bool(better)))
    return checks, f"better in {_names(better)}, worse in {_names(worse)}"


def _names(names: list[str]) -> str:
    return ", ".join(names) or "none"


def _limit_checks(goals: Goals, challenger: Contender, rows: HeldOut) -> Iterator[Check]:
    score = metric_of(goals.score)
    for limit in goals.limits:
        value = challenger.value(limit.name, rows, score)
        if value is None:
            yield Check(f"limit {limit.name}", "not known of a served model", str(limit))
        else:
            kept = not limit.excess(value)
            yield Check(f"limit {limit.name}", f"{value:.5g}", str(limit), kept)


def _compared(
    goals: Goals,
    goal: Goal,
    challenger: Contender,
    champion: Contender,
    rows: HeldOut,
    confidence: float,
) -> _Result | None:
    score = metric_of(goals.score)
    if is_cost(goal.name) or is_gap(goal.name):
        return _by_value(goal, challenger, champion, rows, score)
    if is_robustness(goal.name):
        metric = score
        found = [each.disturbed(goal.name, rows) for each in (challenger, champion)]
    else:
        sum_of = Expression.parse(goal.name)  # costs of its other terms are not known here
        metric = score if sum_of is not None else metric_of(goal)
        found = [each.prediction for each in (challenger, champion)]
    pair = Pair.on(rows, metric, *(each.seen_by(metric) for each in found))
    better, worse = pair.gain(0.0).probability, pair.swapped.gain(0.0).probability
    text = f"{pair.scores}, probability better {better:.4f}, worse {worse:.4f}"
    rule = f"worse with probability < {confidence:g}"
    check = Check(f"goal {goal.name}", text, rule, worse < confidence)
    return _Result(goal.name, check, better >= confidence, worse >= confidence)


def _by_value(
    goal: Goal, challenger: Contender, champion: Contender, rows: HeldOut, score: Metric
) -> _Result | None:
    mine, theirs = (each.value(goal.name, rows, score) for each in (challenger, champion))
    if mine is None or theirs is None:
        return None
    clearly = CLEAR_GAP if is_gap(goal.name) else CLEARLY * theirs
    better, worse = mine < theirs - clearly, mine > theirs + clearly
    rule = f"at most {CLEAR_GAP:g} more" if is_gap(goal.name) else f"at most {CLEARLY:.0%} more"
    check = Check(f"goal {goal.name}", f"{mine:.4g} against {theirs:.4g}", rule, not worse)
    return _Result(goal.name, check, better, worse)
