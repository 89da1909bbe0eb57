"""Rules about the search space: ranges that end too soon, and parameters that hardly matter."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import binom

from hpo.arrays import BoolArray, FloatArray, IntArray
from hpo.space.parameters import Categorical, Float, Integer, Parameter, Value
from pipelines.findings.analysis import parents
from pipelines.findings.case import Case
from pipelines.findings.diagnosis import HINT, PROBLEM, Change, Diagnosis
from pipelines.findings.scales import number, short

EDGE = 0.1  # the share of a range that is its edge
_MIN_TRIALS = 10
_MIN_ACTIVE = 4  # of the best trials
_BY_CHANCE = 0.01  # probability of taking chance for a trend at any edge of the space
_UNIMPORTANT = 0.02  # a parameter matters if it explains this share, interactions included
_UNIMPORTANT_TOGETHER = 0.05  # so do several that explain this share together
_MIN_SEARCHED = 2  # parameters that are never fixed
_MAX_FACTOR = 10.0  # by which a logarithmic range is widened


@dataclass(frozen=True)
class Edge:
    """One end of a parameter's range.

    Attributes:
        parameter: The parameter.
        name: Which end it is, in words.
        field: The parameter's field with the value where the range ends.
        sign: The direction out of the range.
        code: The unit code of the end.
    """

    parameter: Float | Integer
    name: str
    field: str
    sign: int
    code: float

    @property
    def bound(self) -> float:
        """The value where the range ends."""
        return float(getattr(self.parameter, self.field))

    @property
    def width(self) -> float:
        """How much of the range, as a share, is near this end: at least one level."""
        return max(EDGE, 1 / (self.parameter.n_levels or math.inf))

    def near(self, codes: FloatArray) -> BoolArray:
        """Which unit codes are near this end."""
        return np.abs(codes - self.code) < self.width


def edges(parameter: Float | Integer) -> tuple[Edge, Edge]:
    """Both ends of a range."""
    return (
        Edge(parameter, "lower", "low", sign=-1, code=0.0),
        Edge(parameter, "upper", "high", sign=1, code=1.0),
    )


def best_at_bound(case: Case) -> Iterator[Diagnosis]:
    """The best trials crowd at the edge of a range, and the winner is one of them.

    That so many of the best trials lie there must be unlikely under a uniform distribution
    (binomial test, corrected for the number of edges).
    """
    data = case.evidence.comparable
    if len(data.losses) < _MIN_TRIALS:
        return
    best = np.argsort(data.losses, kind="stable")[: max(5, len(data.losses) // 10)]
    for parameter, codes in zip(case.space, data.x[best].T, strict=True):
        if isinstance(parameter, Categorical) or parameter.name not in case.winner.params:
            continue
        active = codes[np.isfinite(codes)]
        for edge in edges(parameter):
            if _crowded(edge, active, case):
                yield from _widen(edge, active, case)


def _crowded(edge: Edge, codes: FloatArray, case: Case) -> bool:
    winner = edge.parameter.to_unit(case.winner.params[edge.parameter.name])
    near = edge.near(codes)
    if len(codes) < _MIN_ACTIVE or not edge.near(np.array(winner)) or near.mean() < 0.5:
        return False
    p = binom.sf(near.sum() - 1, len(codes), edge.width)
    return bool(p <= _BY_CHANCE / (2 * len(case.space)))


def _widen(edge: Edge, codes: FloatArray, case: Case) -> Iterator[Diagnosis]:
    parameter, model = edge.parameter, case.evidence.scope.model
    allowed = model.limits(parameter.name) if model else (-math.inf, math.inf)
    wider = _widened(edge, allowed)
    if wider is None:
        return
    words = f"widen {parameter.name} to {_range(wider)} (was {_range(parameter)})"
    yield Diagnosis(
        "bound",
        PROBLEM,
        f"the best {short(parameter.name)} is at the {edge.name} end of its range",
        f"{edge.near(codes).sum()} of the {len(codes)} best trials lie in the outermost "
        f"{edge.width:.0%} of {_range(parameter)}, the winner at "
        f"{number(case.winner.params[parameter.name])}",
        words,
        (Change(wider, words),),
    )


def _range(parameter: Float | Integer) -> str:
    return f"[{number(parameter.low)}, {number(parameter.high)}]"


def _widened(edge: Edge, allowed: tuple[float, float] | None) -> Float | Integer | None:
    """The range with more room at one end; None if the model allows no more.

    Half of the range is added, in the logarithm if the scale is logarithmic, and then by a factor
    of ten at most.
    """
    if allowed is None:
        return None
    bound = _log_bound(edge) if edge.parameter.log else _linear_bound(edge)
    bound = float(np.clip(float(f"{bound:.2g}"), *allowed))
    if isinstance(edge.parameter, Integer):
        bound = round(bound)
    if edge.sign * (bound - edge.bound) <= 0 or (edge.parameter.log and bound <= 0):
        return None
    moved: dict[str, Any] = {edge.field: bound}
    return replace(edge.parameter, **moved)


def _log_bound(edge: Edge) -> float:
    factor = min(math.sqrt(edge.parameter.high / edge.parameter.low), _MAX_FACTOR)
    return float(edge.bound * factor**edge.sign)


def _linear_bound(edge: Edge) -> float:
    parameter, step = edge.parameter, edge.parameter.step
    bound = edge.bound + edge.sign * (float(parameter.high) - float(parameter.low)) / 2
    if step is None or step == 1:
        return bound
    steps = math.ceil(abs(bound - edge.bound) / step)
    return edge.bound + edge.sign * step * steps


def unimportant(case: Case) -> Iterator[Diagnosis]:
    """Parameters that explain next to nothing, by a forest that predicts unseen trials."""
    analysis, space = case.analysis, case.space
    few = case.n_finished < case.n_needed  # then another rule says that one cannot tell
    if analysis is None or not analysis.trustworthy or few:
        return
    if len(analysis.data.losses) < 2 * len(space):
        return
    total = (analysis.branch or analysis.importance).total
    columns = _fixable(total, _free(case))
    if not len(columns):
        return
    names = [space.names[j] for j in columns]
    listed, most = ", ".join(map(short, names)), max(float(total[columns].max()), 0.0)
    if len(names) == 1:
        title, them = f"{listed} hardly matters", "it"
        evidence = f"it explains {most:.1%} of the variance, interactions included"
    else:
        title, them = f"{len(names)} of {len(space)} parameters hardly matter", "them"
        evidence = f"{listed}: each explains at most {most:.1%} of the variance, with interactions"
    advice = f"fix {them} at the winner's values and search the rest"
    changes = tuple(_fixed(space[name], case.winner.params[name]) for name in names)
    yield Diagnosis("idle", HINT, title, evidence, advice, changes)


def _free(case: Case) -> list[int]:
    """Columns of the winner's active parameters that no other parameter depends on."""
    needed, active = parents(case.space), case.winner.params
    return [
        j
        for j, parameter in enumerate(case.space)
        if parameter.name in active and parameter.n_levels != 1 and parameter.name not in needed
    ]


def _fixable(total: FloatArray, free: Sequence[int]) -> IntArray:
    """The columns that explain least, alone and together, the least important first."""
    columns = np.array(free, dtype=np.int64)
    columns = columns[np.argsort(total[columns], kind="stable")]
    together = np.cumsum(np.maximum(total[columns], 0.0))
    little = (total[columns] < _UNIMPORTANT) & (together < _UNIMPORTANT_TOGETHER)
    return columns[little][: max(len(free) - _MIN_SEARCHED, 0)]


def _fixed(parameter: Parameter, value: Value) -> Change:
    fixed = Categorical(parameter.name, (value,), parameter.when)
    return Change(fixed, f"fix {parameter.name} at {number(value)}")
