"""The checks of a promotion where the challenger's study had several goals or limits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hpo.goals import Goal, Goals
from pipelines.registry.gate import Check
from pipelines.registry.pair import Pair, Predicted
from pipelines.table.scores.costs import COSTS, LATENCY, MEGABYTE, ROWS, SIZE, latency
from pipelines.table.scores.named import metric_named, metric_of

if TYPE_CHECKING:
    from pipelines.registry.heldout import HeldOut
    from serving.predictor import Predictor

CLEARLY = 0.1  # by which share a cost has to be another one, since clocks are noisy


@dataclass(frozen=True)
class Contender:
    """A version with its predictions for the rows, whose classes have the challenger's order."""

    predictor: Predictor
    size: int
    prediction: Predicted

    def cost(self, name: str, rows: HeldOut) -> float | None:
        """One of `COSTS`; None if it is not known of a served model."""
        if name == SIZE:
            return self.size / MEGABYTE
        if name != LATENCY:
            return None
        frame = rows.frame.iloc[np.arange(min(len(rows), ROWS))]
        encoded = self.predictor.features.transform(frame)
        return latency(lambda: self.predictor.predict_encoded(encoded), len(frame))


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
    one: scores by a paired bootstrap, costs by more than `CLEARLY`.
    """
    checks = [*_limit_checks(goals, challenger, rows)]
    if champion is None:
        return checks, ""
    found = [
        result
        for goal in goals.goals
        if (result := _compared(goal, challenger, champion, rows, confidence))
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
    for limit in goals.limits:
        if limit.name in COSTS:
            value = challenger.cost(limit.name, rows)
        else:
            metric = metric_named(limit.name)
            value = metric(rows.y, challenger.prediction.seen_by(metric), rows.weight)
        if value is None:
            yield Check(f"limit {limit.name}", "not known of a served model", str(limit))
        else:
            kept = not limit.excess(value)
            yield Check(f"limit {limit.name}", f"{value:.5g}", str(limit), kept)


def _compared(
    goal: Goal, challenger: Contender, champion: Contender, rows: HeldOut, confidence: float
) -> _Result | None:
    if goal.name in COSTS:
        return _by_cost(goal, challenger, champion, rows)
    metric = metric_of(goal)
    predictions = (each.prediction.seen_by(metric) for each in (challenger, champion))
    pair = Pair.on(rows, metric, *predictions)
    better, worse = pair.gain(0.0).probability, pair.swapped.gain(0.0).probability
    found = f"{pair.scores}, probability better {better:.4f}, worse {worse:.4f}"
    rule = f"worse with probability < {confidence:g}"
    check = Check(f"goal {goal.name}", found, rule, worse < confidence)
    return _Result(goal.name, check, better >= confidence, worse >= confidence)


def _by_cost(
    goal: Goal, challenger: Contender, champion: Contender, rows: HeldOut
) -> _Result | None:
    mine, theirs = (each.cost(goal.name, rows) for each in (challenger, champion))
    if mine is None or theirs is None:
        return None
    better, worse = mine < theirs * (1 - CLEARLY), mine > theirs * (1 + CLEARLY)
    rule = f"at most {CLEARLY:.0%} more"
    check = Check(f"goal {goal.name}", f"{mine:.4g} against {theirs:.4g}", rule, not worse)
    return _Result(goal.name, check, better, worse)
