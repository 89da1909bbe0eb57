"""What came of the winner, in a tag of the study's run that is written when all of it is stored.

A later session of the study that ends with the same winner reads it, and trains nothing again.
"""

import json
from dataclasses import asdict
from typing import Any

from pipelines.study.choice.decision import Judged
from pipelines.study.ending import Choice
from pipelines.study.plan import Plan
from pipelines.study.result import BesideDefault, Outcome
from pipelines.table.scores.bootstrap import Gain, Interval

OUTCOME = "hpo.outcome"  # the tag


def to_tag(outcome: Outcome, choice: Choice, plan: Plan) -> str:
    """The value of the tag."""
    decision = outcome.decision.to_dict() if outcome.decision else None
    return json.dumps({"of": _of(choice, plan), **asdict(outcome), "decision": decision})


def from_tag(text: str, choice: Choice, plan: Plan) -> Outcome | None:
    """Read a value of the tag; None if it is of another winner, or of other options."""
    try:
        plain = json.loads(text)
        if plain.pop("of") != _of(choice, plan):
            return None
        interval, default = plain.pop("interval"), plain.pop("default")
        decision = plain.pop("decision")
        return Outcome(
            **plain,
            interval=None if interval is None else Interval(**interval),
            default=None if default is None else _beside_default(default),
            decision=None if decision is None else Judged.from_dict(decision),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _of(choice: Choice, plan: Plan) -> list[object]:
    """What the outcome depends on."""
    winner = choice.winner
    options = [plan.register, plan.refit, plan.calibrate, plan.threshold]
    return [winner.number, winner.reached, *options, choice.tags]


def _beside_default(plain: dict[str, Any]) -> BesideDefault:
    return BesideDefault(plain["score"], Gain(**plain["gain"]), plain["refitted"])
