"""What a study took from past studies, and whether that helped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpo.trial import Trial
from warmstart.similarity import in_words

Curve = tuple[tuple[float, float], ...]

SHORT_ID = 8  # characters of a run id that tell studies of one name apart
WARM_ORIGIN = "warm start"  # the origin of a trial from a past study begins so
HELPED = 0.5  # the past helped a study that is ahead of more than this share of cold searches
_ENOUGH_OTHERS = 3  # other trials at a budget, to compare a warm-started one with


@dataclass(frozen=True)
class LearnedFrom:
    """A past study that was learned from; `why` says in what its table is alike."""

    run_id: str
    name: str
    similarity: float
    same_table: bool
    why: str = ""


@dataclass(frozen=True)
class BesideCold:
    """A study beside simulated searches without a past, after a number of `trials`.

    It is `ahead` of that share of `simulated` searches.
    """

    trials: int
    ahead: float
    simulated: int


def beside_cold_in_words(rows: Sequence[BesideCold]) -> str:
    """How a study compares with searches without a past; "" if nothing is known."""
    if not rows:
        return ""
    shares = ", ".join(f"{100 * row.ahead:.0f} % after {row.trials} trials" for row in rows)
    return (
        f"{_verdict(rows)}: this study is ahead of {shares} of {rows[0].simulated} searches "
        "without a past, simulated on a model of its own trials"
    )


def _verdict(rows: Sequence[BesideCold]) -> str:
    ahead = np.array([row.ahead for row in rows]) > HELPED
    if ahead.all():
        return "the past helped"
    return "the past helped in part" if ahead.any() else "the past did not help"


@dataclass(frozen=True)
class Warm:
    """What a study learned from the past.

    Attributes:
        sources: The past studies.
        trust: How far the search trusted them: number of results and trust.
        notes: What was left out, as the user saw it at the start.
        beside_cold: The study beside searches without a past.
    """

    sources: tuple[LearnedFrom, ...]
    trust: Curve
    notes: tuple[str, ...] = ()
    beside_cold: tuple[BesideCold, ...] = ()


@dataclass(frozen=True)
class Helped:
    """The best configuration from the past beside the other trials, at one budget.

    Attributes:
        best: The trial with that configuration.
        loss: Its loss at the budget.
        budget: The budget that is compared.
        beaten: How many of the other trials are no better.
        others: How many other trials have a loss at the budget.
    """

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
        """How many of the others it takes on average to find one as good, if independent.

        The number is too small rather than too large, because the past helped the others too.
        """
        return (self.others + 1) / (self.others - self.beaten + 1)


def helped(trials: Sequence[Trial]) -> Helped | None:
    """How good a study's configurations from the past were; None without any to compare.

    Losses are compared at the highest budget that a warm-started trial and three others have
    reached. If no budget has three others, the one with the most of them is taken.
    """
    budgets = {report.budget for trial in trials for report in trial.reports}
    found = filter(None, (_helped_at(trials, budget) for budget in budgets))
    return max(found, key=lambda at: (min(at.others, _ENOUGH_OTHERS), at.budget), default=None)


def _helped_at(trials: Sequence[Trial], budget: float) -> Helped | None:
    warm: list[tuple[float, Trial]] = []
    others: list[float] = []
    for trial in trials:
        loss = loss_at(trial, budget)
        if loss is None:
            continue
        if trial.origin.startswith(WARM_ORIGIN):
            warm.append((loss, trial))
        else:
            others.append(loss)
    if not warm or not others:
        return None
    loss, best = min(warm, key=lambda pair: pair[0])
    beaten = int(np.count_nonzero(np.array(others) >= loss))
    return Helped(best, loss, budget, beaten, len(others))


def loss_at(trial: Trial, budget: float) -> float | None:
    """A trial's loss at a budget; None if it has none."""
    return next((report.loss for report in trial.reports if report.budget == budget), None)


def warm_start(past: Any, trust: Any, beside_cold: Any) -> Warm | None:
    """What a study learned from the past, read from its artifacts.

    Args:
        past: The past studies and the notes.
        trust: Rows of `trials` and `trust`.
        beside_cold: Rows of `BesideCold`.

    Returns:
        None if there is no past study, or an artifact is malformed.
    """
    try:
        sources = tuple(map(_source, past["neighbours"]))
        curve = tuple((float(row["trials"]), float(row["trust"])) for row in trust or ())
        beside = tuple(map(_beside_cold, beside_cold or ()))
        notes = tuple(map(str, past.get("notes", ())))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return Warm(sources, curve, notes, beside) if sources else None


def _source(neighbour: Mapping[str, Any]) -> LearnedFrom:
    return LearnedFrom(
        str(neighbour.get("run_id", "")),
        str(neighbour["name"]),
        float(neighbour["similarity"]),
        bool(neighbour["same_table"]),
        in_words(neighbour.get("differences", {})),
    )


def _beside_cold(row: Mapping[str, Any]) -> BesideCold:
    return BesideCold(int(row["trials"]), float(row["ahead"]), int(row["simulated"]))
