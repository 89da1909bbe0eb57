"""Minimal plans for tests."""

from typing import Any

from hpo.goals import Goal, Goals
from hpo.study import FirstPoint
from pipelines.study.plan import Plan

_PLAIN: dict[str, Any] = {
    "model": "lightgbm",
    "algorithm": "tpe",
    "goals": Goals((Goal("rmse"),)),
    "seed": 0,
    "first_points": (FirstPoint({}, "default"),),
    "rungs": (1.0,),
    "eta": 3.0,
    "budget_unit": "rounds",
    "fidelity": "rounds",
    "checkpoints": None,
    "workers": 1,
    "threads": 1,
    "lag": 0,
    "trials": 1,
    "timeout": None,
    "trial_timeout": None,
}


def plan(**values: Any) -> Plan:
    """A plan with these values; `space` is required."""
    return Plan(**{**_PLAIN, **values})
