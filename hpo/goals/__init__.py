"""The goals of a study: scores with a direction, and limits. Inside the engine all are losses."""

import heapq
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hpo.arrays import FloatArray
from hpo.errors import ParameterError, closest, raise_all
from hpo.goals.expression import Expression, Sums
from hpo.trial import Report

MINIMIZE, MAXIMIZE = DIRECTIONS = "minimize", "maximize"
MAX_GOALS = 5  # the cost of a hypervolume grows exponentially with the goals
_FAR = 5.0  # medians from the best value that the scale of a goal reaches at most
_GREEDY = 40  # trials of a layer that are ordered by what they add; models look at fewer
_LIMIT = re.compile(r"(?P<name>[^<>=]+?)\s*(?P<sign><=?|>=?)\s*(?P<bound>[^<>=]+)")


Values = TypeVar("Values", float, FloatArray)


@dataclass(frozen=True)
class Goal:
    """A score by its name and its direction, `minimize` or `maximize`.

    Raises:
        ParameterError: for any other direction.
    """

    name: str
    direction: str = MINIMIZE

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS:
            raise ParameterError(f"direction={self.direction!r} must be {MINIMIZE} or {MAXIMIZE}")

    @property
    def greater_is_better(self) -> bool:
        """Whether the score is maximised."""
        return self.direction == MAXIMIZE

    @property
    def better(self) -> str:
        """Which scores are better: higher or lower."""
        return "higher" if self.greater_is_better else "lower"

    def to_loss(self, value: Values) -> Values:
        """The loss of a score, or of an array of scores."""
        return -value if self.greater_is_better else value

    def from_loss(self, loss: Values) -> Values:
        """The score of a loss, or of an array of losses."""
        return -loss if self.greater_is_better else loss


@dataclass(frozen=True)
class Limit:
    """A bound that a score has to keep.

    Attributes:
        name: of the score.
        bound: the largest allowed value, or the smallest.
        at_most: whether it is the largest.
    """

    name: str
    bound: float
    at_most: bool = True

    @classmethod
    def parse(cls, text: str) -> "Limit":
        """Read `name<bound` or `name>bound`; a value that equals the bound keeps the limit.

        Raises:
            ParameterError: for any other text.
        """
        found = _LIMIT.fullmatch(text.strip())
        try:
            bound = float(found["bound"]) if found else math.nan
        except ValueError:
            bound = math.nan
        if found is None or not math.isfinite(bound):
            raise ParameterError(
                f"limits={text!r} must be a metric, < or >, and a finite number, such as "
                "latency<5; separate several with commas"
            )
        return cls(found["name"], bound, found["sign"][0] == "<")

    def excess(self, value: float) -> float:
        """By how much a value breaks the limit, relative to the bound; 0 if it keeps it."""
        beyond = value - self.bound if self.at_most else self.bound - value
        return max(beyond, 0.0) / (abs(self.bound) or 1.0)

    def __str__(self) -> str:
        short = f"{self.bound:g}"
        bound = short if float(short) == self.bound else repr(self.bound)
        return f"{self.name}{'<' if self.at_most else '>'}{bound}"


@dataclass(frozen=True)
class Goals:
    """What a study searches for.

    With one goal and no limit, trials are ordered by their loss. Otherwise, trials that keep the
    limits come first, in layers of non-dominated trials (Deb et al., 2002). Within a layer each is
    the one that adds most hypervolume to those before it. Trials that break a limit follow by how
    far they break it.

    Attributes:
        goals: at most `MAX_GOALS`, the first of which decides where one number has to.
        limits: on these or other scores.
        weights: how much each goal counts in the choice of one trial of the front; empty for the
            trial that is nearest to the best value of every goal.

    Raises:
        ParameterError: for too many goals, a name that comes twice, or weights of other names.
    """

    goals: tuple[Goal, ...]
    limits: tuple[Limit, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [goal.name for goal in self.goals]
        if not 1 <= len(names) <= MAX_GOALS:
            raise ParameterError(
                f"metric={','.join(names)!r} has {len(names)} goals; a study takes 1 to "
                f"{MAX_GOALS}: set limits on the others"
            )
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ParameterError(f"metric={','.join(names)!r} names {twice} twice; name it once")
        for name, weight in self.weights.items():
            if name not in names:
                raise ParameterError(
                    f"prefer={name!r} is not a goal{closest(name, names)}; goals: "
                    f"{', '.join(names)}"
                )
            if not (math.isfinite(weight) and weight >= 0):
                raise ParameterError(f"prefer={name}:{weight:g} must be 0 or greater, and finite")
        raise_all(ParameterError, _limit_mistakes(self.limits))
        if self.weights and not any(self.weights.values()):
            raise ParameterError("prefer must give one goal a weight greater than 0")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with the first goal's name and direction for those who look at one."""
        return {
            "metric": self.first.name,
            "direction": self.first.direction,
            "goals": {goal.name: goal.direction for goal in self.goals},
            "limits": [*map(str, self.limits)],
            "prefer": dict(self.weights),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Goals":
        """Read what `to_dict` wrote; a metric and a direction are enough."""
        goals = plain.get("goals") or {str(plain["metric"]): plain["direction"]}
        return cls(
            tuple(Goal(name, direction) for name, direction in goals.items()),
            tuple(map(Limit.parse, plain.get("limits", ()))),
            plain.get("prefer", {}),
        )

    def __str__(self) -> str:
        texts = [goal.name for goal in self.goals], map(str, self.limits)
        return " with ".join(filter(None, map(", ".join, texts)))

    @property
    def first(self) -> Goal:
        """The goal that decides where one number has to."""
        return self.goals[0]

    @cached_property
    def score(self) -> Goal:
        """The first goal, or the first score of it if it is a sum (`hpo.goals.expression`)."""
        leading = Expression.parse(self.first.name)
        return self.first if leading is None else replace(self.first, name=leading.names[0])

    @cached_property
    def sums(self) -> Sums:
        """The sums among the goals and limits, and the scores that have to be measured for them."""
        return Sums.among(self.names)

    @cached_property
    def is_plain(self) -> bool:
        """Whether trials are ordered by one score, which is no sum."""
        return self.is_single and not self.sums.expressions

    @cached_property
    def is_single(self) -> bool:
        """Whether trials are ordered by the loss of a report."""
        return len(self.goals) == 1 and not self.limits

    @property
    def names(self) -> tuple[str, ...]:
        """The scores that a report has to have, each once."""
        names = [goal.name for goal in self.goals] + [limit.name for limit in self.limits]
        return tuple(dict.fromkeys(names))

    def mistake(self, report: Report) -> str | None:
        """Why a report cannot be ordered; None if it can."""
        for name in self.names if not self.is_single else ():
            value = report.metrics.get(name, report.loss if name == self.first.name else None)
            if value is None:
                return f"{name} was not reported, which is a goal or has a limit; report it"
            if not math.isfinite(value):
                return f"{name} is {value}; a finite number was expected"
        return None

    def excess(self, report: Report) -> float:
        """By how much a report breaks the limits; 0 if it keeps them all."""
        values = self.scores(report) if self.limits else {}
        return sum(limit.excess(values[limit.name]) for limit in self.limits)

    def values(self, report: Report) -> tuple[float, ...]:
        """The excess over the limits, then the loss of each goal."""
        others = (goal.to_loss(report.metrics[goal.name]) for goal in self.goals[1:])
        return (self.excess(report), report.loss, *others)

    def scores(self, report: Report) -> dict[str, float]:
        """The value of each goal, then of what else has a limit."""
        first = self.first
        return {
            name: first.from_loss(report.loss) if name == first.name else report.metrics[name]
            for name in self.names
        }

    def text(self, report: Report) -> str:
        """These values with their names, for people."""
        return ", ".join(f"{name} {value:.5g}" for name, value in self.scores(report).items())


def _limit_mistakes(limits: Sequence[Limit]) -> Iterator[str]:
    """Which limits come twice or contradict each other."""
    for i, limit in enumerate(limits):
        for other in limits[:i]:
            if other.name != limit.name:
                continue
            if other.at_most == limit.at_most:
                kind = "an upper" if limit.at_most else "a lower"
                yield f"limits names {kind} bound of {limit.name} twice; name it once"
                continue
            low, high = sorted((limit, other), key=lambda each: each.at_most)
            if low.bound > high.bound:
                yield f"limits={low},{high}: no value of {limit.name} keeps both; change one"


def order(values: FloatArray) -> NDArray[np.intp]:
    """The rows of `(n, 1 + k)` excesses and losses, best first (`Goals`)."""
    excess, losses = values[:, 0], values[:, 1:]
    if losses.shape[1] == 1:
        return np.lexsort((losses[:, 0], excess))
    place = np.zeros(len(values))
    kept = np.flatnonzero(excess == 0)
    if len(kept):
        place[kept] = _places(_scaled(losses[kept]))
    return np.lexsort((place, excess))


def hypervolume(losses: FloatArray, low: FloatArray, high: FloatArray) -> float:
    """The share of the box between `low` and `high` `(k,)` that `(n, k)` losses dominate."""
    import moocore

    if not len(losses):
        return 0.0
    width = np.where(high > low, high - low, 1.0)
    return float(moocore.hypervolume((losses - low) / width, ref=np.ones(len(low))))


def _scaled(losses: FloatArray) -> FloatArray:
    """Each goal's values `(n, k)` in [0, 1]; far outliers count as the worst of the others."""
    low = losses.min(axis=0)
    usual = np.median(losses, axis=0) - low
    width = np.ptp(losses, axis=0)
    width = np.where(usual > 0, np.minimum(width, _FAR * usual), width)
    return np.asarray(np.minimum((losses - low) / np.where(width > 0, width, 1.0), 1.0))


def _places(losses: FloatArray) -> FloatArray:
    """The place of each row `(n, k)`: by its layer, and within a layer by `_spread`."""
    import moocore

    layer, places = moocore.pareto_rank(losses), np.empty(len(losses))
    begun = 0
    for each in np.unique(layer):
        rows = np.flatnonzero(layer == each)
        places[rows[_spread(losses[rows])]] = np.arange(begun, begun + len(rows))
        begun += len(rows)
    return places


def _spread(losses: FloatArray) -> list[int]:
    """Non-dominated rows `(n, k)`, each adding the most hypervolume to those before it.

    This greedy choice is at least 63 % as good as the best one (Guerreiro, Fonseca & Paquete, 2016,
    "Greedy hypervolume subset selection in low dimensions"). The gain of a row only falls as rows
    are chosen, so most need not be computed again. After `_GREEDY` rows the others follow by the
    gain that was last computed.
    """
    import moocore

    reference = np.full(losses.shape[1], 1.1)
    waiting = [(-gain, row, 0) for row, gain in enumerate(np.prod(reference - losses, axis=1))]
    heapq.heapify(waiting)
    chosen: list[int] = []
    covered = 0.0
    while waiting and len(chosen) < _GREEDY:
        gain, row, known = heapq.heappop(waiting)
        if known == len(chosen):
            chosen.append(row)
            covered -= gain
            continue
        both = moocore.hypervolume(losses[[*chosen, row]], ref=reference)
        heapq.heappush(waiting, (covered - both, row, len(chosen)))
    return [*chosen, *(row for _, row, _ in sorted(waiting))]


def nearest(losses: FloatArray, weights: Sequence[float] | None = None) -> int:
    """The row of non-dominated `(n, k)` losses to choose.

    Each goal is scaled to [0, 1] on these rows. Without weights it is the row with the smallest
    distance to the best value of every goal, the knee of the front. With weights it is the one with
    the smallest augmented weighted Chebyshev distance (Steuer and Choo, 1983), which, unlike a
    weighted sum, can reach all parts of a front.
    """
    width = np.ptp(losses, axis=0)
    scaled = (losses - losses.min(axis=0)) / np.where(width > 0, width, 1.0)
    if weights is None:
        return int(np.argmin((scaled**2).sum(axis=1)))
    weighted = scaled * np.asarray(weights)
    return int(np.argmin(weighted.max(axis=1) + 0.01 * weighted.sum(axis=1)))
