"""All that MLflow knows of a study, as plain values for the report."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from hpo.algorithms import sampler_of
from hpo.arrays import BoolArray, FloatArray, IntArray
from hpo.configurations import Configurations, by_value
from hpo.goals import Goal, Goals
from hpo.goals.leaders import Leaders, leaders, ranked
from hpo.samplers.random import RandomSampler
from hpo.space import SearchSpace
from hpo.trial import Trial
from pipelines.findings.past import WARM_ORIGIN, Curve, Warm
from pipelines.models import SearchModel, identity, is_model, search_model

_ENOUGH_TRIALS = 20  # trials at a budget, to learn from it


@dataclass(frozen=True)
class ClassScore:
    """How many held-out rows one class has, and which share of them the winner finds."""

    label: str
    rows: int
    recall: float


@dataclass(frozen=True)
class Rival:
    """A trial that was trained again beside the winner, on repeated folds.

    `gain` is by how much the winner is better, in the metric's units, with its confidence interval
    from `low` to `high`. `p` is that of a paired test, corrected for the number of rivals.
    """

    number: int
    gain: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Results:
    """Trials with a result as columns `(n,)`, in the order of their numbers.

    `scores` are losses as the user knows them, `seconds` are those of training; `is_default` and
    `is_warm` mark the default configuration and those from past studies.
    """

    numbers: IntArray
    losses: FloatArray
    scores: FloatArray
    seconds: FloatArray
    is_default: BoolArray
    is_warm: BoolArray


@dataclass(frozen=True)
class Comparable:
    """Trials at one budget, whose losses can be compared.

    `numbers` has n entries, `losses` is `(n,)`, and `x` are unit codes `(n, d)`, `nan` where a
    parameter is inactive.
    """

    budget: float
    numbers: tuple[int, ...]
    x: FloatArray
    losses: FloatArray


@dataclass(frozen=True)
class Scope:
    """What a study searches, and for which goals.

    Attributes:
        header: What the study was created with.
    """

    header: Mapping[str, Any]

    @cached_property
    def space(self) -> SearchSpace:
        """The search space."""
        return SearchSpace.from_dict(self.header["space"], "the study's space")

    @cached_property
    def goals(self) -> Goals:
        """The metrics that decide, and their limits."""
        return Goals.from_dict(self.header)

    @property
    def goal(self) -> Goal:
        """The metric that decides; of several, the first."""
        return self.goals.first

    @property
    def model(self) -> SearchModel | None:
        """The model family that was searched; None for an objective of another kind."""
        name = str(self.header["model"])
        return search_model(name) if is_model(name) else None

    @property
    def rungs(self) -> tuple[float, ...]:
        """The budgets at which trials could stop."""
        return tuple(self.header["rungs"])

    @property
    def budget_unit(self) -> str:
        """What a budget counts, such as rounds."""
        return str(self.header["budget_unit"])

    def score(self, loss: float) -> float:
        """A loss as the user knows it."""
        return self.goal.from_loss(loss)

    def scores(self, losses: FloatArray) -> FloatArray:
        """Losses as the user knows them."""
        return self.goal.from_loss(losses)


@dataclass(frozen=True)
class Evidence:
    """A study as it is read back.

    Attributes:
        study: The run id of the study.
        name: The name of its run.
        header: What the study was created with.
        rows: The rows of `pipelines.store.studies.leaderboard`, best first.
        best: The best score so far as it was logged: seconds of search, and the metric.
        curves: Learning curves of some trials by number: budget and metric.
        baselines: The metric by the baselines' names.
        test: All metrics of the winner on the held-out rows.
        classes: The winner's recall there by class.
        elapsed: Seconds with at least one trial running.
        chosen: The number of the trial that the study names as its winner.
        confirmation: The trials that were trained again beside the winner.
        warm: What was learned from the past.
    """

    study: str
    name: str
    header: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    best: Curve = ()
    curves: Mapping[int, Curve] = field(default_factory=dict)
    baselines: Mapping[str, float] = field(default_factory=dict)
    test: Mapping[str, float] = field(default_factory=dict)
    classes: tuple[ClassScore, ...] = ()
    elapsed: float = 0.0
    chosen: int | None = None
    confirmation: tuple[Rival, ...] = ()
    warm: Warm | None = None

    @cached_property
    def scope(self) -> Scope:
        """What was searched."""
        return Scope(self.header)

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """All trials in the order of their numbers; as budget each has the one that it reached."""
        return tuple(map(_trial, sorted(self.rows, key=lambda row: int(row["number"]))))

    @cached_property
    def scored(self) -> tuple[Trial, ...]:
        """The trials with a result, in the order of their numbers."""
        return tuple(trial for trial in self.trials if trial.reports)

    @cached_property
    def ranked(self) -> tuple[Trial, ...]:
        """The trials with a result, the best first; of equal ones the earliest first."""
        return ranked(self.scored, self.scope.goals)

    @cached_property
    def front(self) -> tuple[Trial, ...]:
        """The trials that no other one dominates; with one goal, the best."""
        return tuple(self.trials[number] for number in self._leaders.front)

    @cached_property
    def _leaders(self) -> Leaders:
        return leaders(self.scored, self.scope.goals)

    @cached_property
    def results(self) -> Results:
        """The trials with a result as columns."""
        losses = np.array([trial.loss for trial in self.scored])
        return Results(
            np.array([trial.number for trial in self.scored]),
            losses,
            self.scope.scores(losses),
            np.array([trial.seconds for trial in self.scored]),
            np.array([trial.origin == "default" for trial in self.scored]),
            np.array([trial.origin.startswith(WARM_ORIGIN) for trial in self.scored]),
        )

    @property
    def failed(self) -> tuple[Trial, ...]:
        """The trials that failed without any result."""
        return tuple(trial for trial in self.trials if trial.failure and not trial.reports)

    @cached_property
    def winner(self) -> Trial | None:
        """The trial that the study chose; until it does, the best so far."""
        if self.chosen is not None:
            return self.trials[self.chosen]
        best = self._leaders.best
        return None if best is None else self.trials[best]

    @cached_property
    def default(self) -> Trial | None:
        """The trial of the library's default configuration."""
        return next((trial for trial in self.trials if trial.origin == "default"), None)

    @cached_property
    def comparable(self) -> Comparable:
        """Losses that can be compared with each other."""
        return comparable(self.trials, self.scope.space)

    @cached_property
    def exhausted(self) -> bool:
        """Whether all configurations of a small space have been tried."""
        if not self.trials:
            return False
        # Of the samplers, only the grid does not draw from the whole space.
        name = str(self.header["algorithm"])
        sampler = sampler_of(name) if name.startswith("grid") else RandomSampler()
        same = by_value if self.scope.model is None else identity(self.scope.model.name)
        known = Configurations(self.scope.space, sampler, same)
        total = known.total(trial.params for trial in self.trials)
        return total is not None and sum(known.add(trial.params) for trial in self.trials) == total


def _trial(row: Mapping[str, Any]) -> Trial:
    return Trial(
        row["number"],
        row["params"],
        row["budget"],
        row["origin"],
        tuple(row["reports"]),
        failure=row["failure"] or None,
    )


def comparable(trials: Iterable[Trial], space: SearchSpace) -> Comparable:
    """The losses at the largest budget that enough trials have reached.

    A loss after few rounds says nothing beside one after many. If no budget has enough trials, the
    most common one is taken.
    """
    at: dict[float, dict[int, tuple[Trial, float]]] = defaultdict(dict)
    for trial in trials:
        for report in trial.reports:
            at[report.budget][trial.number] = (trial, report.loss)
    if not at:
        return Comparable(0.0, (), np.empty((0, len(space))), np.empty(0))
    needed = max(_ENOUGH_TRIALS, 2 * len(space))
    enough = [budget for budget, results in at.items() if len(results) >= needed]
    budget = max(enough) if enough else max(at, key=lambda budget: (len(at[budget]), budget))
    numbers = tuple(sorted(at[budget]))
    results = [at[budget][number] for number in numbers]
    x = np.array([space.encode(trial.params) for trial, _ in results])
    return Comparable(budget, numbers, x, np.array([loss for _, loss in results]))


def confirmation(tag: str | None) -> tuple[Rival, ...]:
    """The rivals in the tag `hpo.confirmation`; none if it is missing or malformed."""
    try:
        return tuple(map(_rival, json.loads(tag or "{}").get("tests", ())))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ()


def _rival(test: Mapping[str, Any]) -> Rival:
    gain, low, high = float(test["mean"]), float(test["low"]), float(test["high"])
    return Rival(int(test["trial"]), gain, low, high, float(test["p_holm"]))


def searched(intervals: Sequence[tuple[float, float]], moments: Sequence[float]) -> list[float]:
    """For how long at least one trial had been running at each of the moments, in seconds.

    The time between the end of a study and its resumption does not count.
    """
    merged: list[list[float]] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    if not merged:
        return [0.0] * len(moments)
    starts, ends = np.array(merged).T
    before = np.concatenate(
        [[0.0], np.cumsum(ends - starts)]
    )  # seconds in the intervals until then
    at = np.asarray(moments, dtype=float)
    begun = np.searchsorted(starts, at, side="right")
    last = np.maximum(begun - 1, 0)
    inside = np.clip(at - starts[last], 0.0, ends[last] - starts[last])
    return [float(each) for each in np.where(begun > 0, before[last] + inside, 0.0)]


def best_and_others(n: int, most: int) -> IntArray:
    """Places in a ranking of `n` trials, at most so many: the best, and an even choice of the rest.

    Half of the places go to the best.
    """
    half = most // 2
    others = np.linspace(half, n - 1, max(min(most, n) - half, 0)).round().astype(np.int64)
    return np.concatenate([np.arange(min(half, n)), others])
