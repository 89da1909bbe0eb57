"""All that MLflow knows of a study, as plain values for the report."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from hpo.arrays import FloatArray
from hpo.space import SearchSpace
from hpo.trial import Trial
from pipelines.table.metrics import METRICS, Metric
from warmstart.similarity import in_words

Curve = tuple[tuple[float, float], ...]

SHORT_ID = 8  # characters of a run id that tell studies of one name apart
WARM_ORIGIN = "warm start"  # how the origin of a trial from the past begins
HELPED = 0.5  # of the searches without a past: who is ahead of fewer was not helped
_A_FEW = 3  # other trials of a budget that are enough to compare with
_AT_LEAST = 20  # trials of a budget that are enough to learn from it


@dataclass(frozen=True)
class Helped:
    """The best trial from the past, by its `loss` at a `budget`, and how many of the `others` there are no better."""

    best: Trial
    loss: float
    budget: float
    beaten: int
    others: int

    @property
    def share(self) -> float:
        """The share of the others that are no better."""
        return self.beaten / self.others

    @property
    def trials(self) -> float:
        """How many of the others it takes on average to find one that is as good, were they independent.

        The search itself was helped by the past, so that it is too few rather than too many.
        """
        return (self.others + 1) / (self.others - self.beaten + 1)


def helped(trials: Sequence[Trial]) -> Helped | None:
    """How far a study's configurations from the past came; None where there is nothing to compare.

    Losses at one budget are compared: the highest that one of them and a few others have reached;
    where others are fewer everywhere, the one with the most of them.
    """
    budgets = {report.budget for trial in trials for report in trial.reports}
    found = [there for budget in budgets if (there := _helped_at(trials, budget))]
    return max(found, key=lambda there: (min(there.others, _A_FEW), there.budget), default=None)


def _helped_at(trials: Sequence[Trial], budget: float) -> Helped | None:
    there = [(loss, trial) for trial in trials if (loss := loss_at(trial, budget)) is not None]
    warm = [(loss, trial) for loss, trial in there if trial.origin.startswith(WARM_ORIGIN)]
    others = [loss for loss, trial in there if not trial.origin.startswith(WARM_ORIGIN)]
    if not warm or not others:
        return None
    loss, best = min(warm, key=lambda pair: pair[0])
    return Helped(best, loss, budget, sum(other >= loss for other in others), len(others))


def loss_at(trial: Trial, budget: float) -> float | None:
    """A trial's loss at a budget; None where it has none."""
    return next((report.loss for report in trial.reports if report.budget == budget), None)


@dataclass(frozen=True)
class ClassScore:
    """How the winner does on the held-out rows of one class: how many there are and which share it finds."""

    label: str
    rows: int
    recall: float


@dataclass(frozen=True)
class Rival:
    """A trial that was scored again beside the winner: by how much the winner is better, and whether that is sure.

    `gain` with its bounds `low` and `high` is in the metric's units, `p` that of a paired test,
    corrected for the number of rivals.
    """

    number: int
    gain: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Source:
    """A past study that was learned from: how alike its table is, and in what."""

    run_id: str
    name: str
    similarity: float
    same_table: bool
    why: str = ""


@dataclass(frozen=True)
class BesideCold:
    """The share of so many simulated searches without a past that a study was ahead of after a number of `trials`."""

    trials: int
    ahead: float
    simulated: int


def beside_cold_in_words(rows: Sequence[BesideCold]) -> str:
    """How a study compares with searches without a past, and whether the past helped; "" where nothing is known."""
    if not rows:
        return ""
    shares = ", ".join(f"{100 * row.ahead:.0f} % after {row.trials} trials" for row in rows)
    helped = [row.ahead > HELPED for row in rows]
    verdict = (
        "the past helped"
        if all(helped)
        else "the past did not help"
        if not any(helped)
        else "the past helped in part"
    )
    return (
        f"{verdict}: this study is ahead of {shares} of {rows[0].simulated} searches without a past, simulated on a "
        "model of its own trials"
    )


@dataclass(frozen=True)
class Warm:
    """What a study learned from, its `trust` in that after each number of results, and what it was told of the rest.

    `beside_cold` compares it with searches without a past.
    """

    sources: tuple[Source, ...]
    trust: Curve
    notes: tuple[str, ...] = ()
    beside_cold: tuple[BesideCold, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """A study that is read back.

    `rows` are those of `pipelines.store.studies.leaderboard`, best first. `best` is the best so far
    as it was logged: seconds since the study began and the metric's value. `curves` are learning
    curves of some trials, by number: budget and metric. `baselines` holds the study's metric by the
    baselines' names, `test` all metrics of the winner on the held-out rows, `classes` what it does
    there by class. `elapsed` are the seconds with at least one trial at work, `chosen` is the
    number of the trial that the study names as its winner, `confirmation` how the next best did
    beside it on the rows divided anew, `warm` what was learned from the past.
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
    def trials(self) -> tuple[Trial, ...]:
        """The trials in order of their numbers."""
        rows = sorted(self.rows, key=lambda row: int(row["number"]))
        return tuple(
            Trial(
                row["number"],
                row["params"],
                row["budget"],
                row["origin"],
                tuple(row["reports"]),
                failure=row["failure"] or None,
            )
            for row in rows
        )

    @cached_property
    def space(self) -> SearchSpace:
        """What was searched."""
        return SearchSpace.from_dict(self.header["space"], "the study's space")

    @property
    def metric(self) -> Metric:
        """What decided."""
        return METRICS[str(self.header["metric"])]

    @property
    def rungs(self) -> tuple[float, ...]:
        """The budgets at which trials could stop."""
        return tuple(self.header["rungs"])

    @cached_property
    def winner(self) -> Trial | None:
        """The trial that the study chose; before it has, the one with the smallest loss, the earliest of equals."""
        if self.chosen is not None:
            return self.trials[self.chosen]
        return min(
            (t for t in self.trials if t.reports), key=lambda t: (t.loss, t.number), default=None
        )

    @property
    def failed(self) -> list[Trial]:
        """The trials that came to nothing."""
        return [trial for trial in self.trials if trial.failure and not trial.reports]

    @cached_property
    def comparable(self) -> "Comparable":
        """Losses that may be compared with each other."""
        return comparable(self.trials, self.space)

    def shown(self, loss: float) -> float:
        """A loss as the user knows it."""
        return self.metric.from_loss(loss)

    def shown_all(self, losses: FloatArray) -> FloatArray:
        """Losses as the user knows them."""
        return -losses if self.metric.greater_is_better else losses


@dataclass(frozen=True)
class Comparable:
    """Trials at one budget: `numbers` (n,), unit codes `x` (n, d), `nan` where inactive, and `losses` (n,)."""

    budget: float
    numbers: tuple[int, ...]
    x: FloatArray
    losses: FloatArray


def comparable(trials: Sequence[Trial], space: SearchSpace) -> Comparable:
    """The losses at the largest budget that enough trials have reached; at the most common one where none has.

    A loss after few rounds says nothing next to one after many.
    """
    at: dict[float, dict[int, float]] = {}
    for trial in trials:
        for report in trial.reports:
            at.setdefault(report.budget, {})[trial.number] = report.loss
    if not at:
        return Comparable(0.0, (), np.empty((0, len(space))), np.empty(0))
    needed = max(_AT_LEAST, 2 * len(space))
    enough = [budget for budget, losses in at.items() if len(losses) >= needed]
    budget = max(enough) if enough else max(at, key=lambda b: (len(at[b]), b))
    by_number = {trial.number: trial for trial in trials}
    numbers = tuple(sorted(at[budget]))
    x = np.array([space.encode(by_number[number].params) for number in numbers])
    return Comparable(budget, numbers, x, np.array([at[budget][number] for number in numbers]))


def confirmation(tag: str | None) -> tuple[Rival, ...]:
    """The rivals in the tag `hpo.confirmation`; none when it is missing or strange."""
    try:
        tests = json.loads(tag or "{}").get("tests", ())
        return tuple(
            Rival(
                int(t["trial"]),
                float(t["mean"]),
                float(t["low"]),
                float(t["high"]),
                float(t["p_holm"]),
            )
            for t in tests
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return ()


def warm_start(kept: Any, trust: Any, beside_cold: Any) -> Warm | None:
    """What a study learned from, out of its artifacts; None when that is nothing, or strange."""
    try:
        sources = tuple(_source(neighbour) for neighbour in kept["neighbours"])
        curve = tuple((float(row["trials"]), float(row["trust"])) for row in trust or ())
        beside = tuple(
            BesideCold(int(row["trials"]), float(row["ahead"]), int(row["simulated"]))
            for row in beside_cold or ()
        )
        notes = tuple(map(str, kept.get("notes", ())))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return Warm(sources, curve, notes, beside) if sources else None


def named(source: Source) -> str:
    """A past study by its run id and its name, which several may share."""
    return f"{source.run_id[:SHORT_ID]} {source.name}"


def _source(neighbour: Mapping[str, Any]) -> Source:
    return Source(
        str(neighbour.get("run_id", "")),
        str(neighbour["name"]),
        float(neighbour["similarity"]),
        bool(neighbour["same_table"]),
        in_words(neighbour.get("differences", {})),
    )


def searched(intervals: Sequence[tuple[float, float]], moments: Sequence[float]) -> list[float]:
    """How long at least one trial had been running at each of the moments; all in seconds.

    A study that was left and resumed did not search in between.
    """
    merged: list[list[float]] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    if not merged:
        return [0.0 for _ in moments]
    starts, ends = (np.array(side) for side in zip(*merged, strict=True))
    return [float(np.clip(moment - starts, 0.0, ends - starts).sum()) for moment in moments]
