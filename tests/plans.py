"""Minimal plans for tests."""

from dataclasses import fields, replace
from typing import Any

from hpo.goals import Goal, Goals
from hpo.study import FirstPoint
from pipelines.study.extent import Extent
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
    "extent": Extent(1, None, None),
}
_OF_EXTENT = {each.name for each in fields(Extent)}


def plan(**values: Any) -> Plan:
    """A plan with these values, also of its extent; `space` is required."""
    own = {name: value for name, value in values.items() if name not in _OF_EXTENT}
    ends = {name: value for name, value in values.items() if name in _OF_EXTENT}
    return changed(Plan(**{**_PLAIN, **own}), **ends)


def changed(plan: Plan, **values: Any) -> Plan:
    """A plan with other values, also of its extent."""
    ends = {name: values.pop(name) for name in _OF_EXTENT & values.keys()}
    return replace(plan, extent=replace(plan.extent, **ends), **values)
