"""The predictions of the best trials on the validation rows, which ensembles are selected from.

A worker leaves them in the exchange beside the models of a trial; the driver deletes those of
trials that are not among the best any more, so that the space is bounded.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from hpo.arrays import FloatArray, IntArray
from hpo.trial import Trial
from pipelines.files.exchange import Exchange
from pipelines.objectives.ensemble.selection import Predictions, select
from pipelines.objectives.jobs import best_label, models_of, trial_label
from pipelines.table.scores.metrics import Metric

TRIALS = 10  # whose predictions are kept, at least; with twenty, ensembles were no better
OF_FAMILY = 2  # of the best of each family, which err otherwise than the best of all
USUAL = 3  # members of an ensemble, for whose trainings a timeout leaves time
MAX_ROWS = 10_000  # of the validation rows

_FILE = "prediction.npy"
Ranked = TypeVar("Ranked")


def library_size(max_members: int) -> int:
    """Of how many of the best trials the predictions are kept, for ensembles of so many members."""
    return max(TRIALS, max_members) if max_members else 0


def shortlist(
    ranked: Sequence[Ranked], size: int, family_of: Callable[[Ranked], str]
) -> list[Ranked]:
    """The first `size` trials of a ranking, and the first `OF_FAMILY` of each family in it."""
    found, seen = [], Counter[str]()
    for place, trial in enumerate(ranked):
        family = family_of(trial)
        seen[family] += 1
        if place < size or seen[family] <= min(OF_FAMILY, size):
            found.append(trial)
    return found


def predictions_of(label: str) -> str:
    """The name of the predictions of a trial in the exchange."""
    return f"predictions/{label}"


def sampled(n: int) -> IntArray:
    """The validation rows, of n, whose predictions are kept: all, or `MAX_ROWS` evenly spread."""
    return np.linspace(0, n - 1, min(n, MAX_ROWS)).astype(np.int64)


def save(exchange: Exchange, label: str, predictions: Sequence[FloatArray]) -> None:
    """Store the predictions on the validation rows of all folds, in original units."""
    whole = np.concatenate(predictions)
    kept = whole[sampled(len(whole))].astype(np.float32)

    def write(folder: Path) -> None:
        np.save(folder / _FILE, kept)

    exchange.put(predictions_of(label), write)


@dataclass(frozen=True)
class Library:
    """Trials with their predictions on the same n rows.

    Attributes:
        numbers: of the trials.
        predictions: `(n_trials, n)` values or `(n_trials, n, k)` probabilities.
        y: `(n,)` targets, as a `Metric` takes them.
        metric: by which an ensemble is selected.
        weight: `(n,)` weights of the rows; None for equal ones.
    """

    numbers: tuple[int, ...]
    predictions: Predictions
    y: npt.NDArray[Any]
    metric: Metric
    weight: FloatArray | None = None

    def on(self, rows: IntArray) -> "Library":
        """The same trials on some of the rows."""
        weight = None if self.weight is None else self.weight[rows]
        return replace(self, predictions=self.predictions[:, rows], y=self.y[rows], weight=weight)

    def loss(self, prediction: FloatArray) -> float:
        """The loss of a prediction of these rows.

        Raises:
            ValueError: when the metric is not defined on them.
        """
        return self.metric.goal.to_loss(self.metric(self.y, prediction, self.weight))

    def select(self, most: int, seed: int) -> FloatArray:
        """The weights `(n_trials,)` of an ensemble of at most so many trials.

        Raises:
            ValueError: when the metric is not defined on the rows.
        """
        return select(self.predictions, lambda rows: self.on(rows).loss, most, seed)


def read(
    exchange: Exchange,
    trials: Sequence[Trial],
    y: npt.NDArray[Any],
    metric: Metric,
    weight: FloatArray | None = None,
) -> Library:
    """The library of the trials whose predictions are stored, with the targets of their rows.

    Raises:
        ValueError: when there are none.
    """
    names = [(trial.number, predictions_of(best_label(trial))) for trial in trials]
    found = [(number, name) for number, name in names if exchange.has(name)]
    if not found:
        raise ValueError("no predictions are stored")
    stacked = np.stack([np.load(exchange.get(name) / _FILE) for _, name in found])
    return Library(tuple(number for number, _ in found), stacked, y, metric, weight)


@dataclass(frozen=True, order=True)
class _Kept:
    """A trial at the budget where it was best; trials are in the order of their losses."""

    loss: float
    number: int
    label: str
    family: str


class Stored:
    """What the exchange holds of the trials of this session.

    Args:
        models: of how many of the best trials the models are kept.
        predictions: the same for predictions, beside those of the best of each family.
        origin: the first trial from there keeps its models, too.
        family_of: the family of a trial.
    """

    def __init__(
        self, models: int, predictions: int, origin: str, family_of: Callable[[Trial], str]
    ) -> None:
        self._models, self._predictions = models, predictions
        self._origin = origin
        self._family_of = family_of
        self._best: dict[int, _Kept] = {}
        self._there: dict[Callable[[str], str], set[str]] = {
            models_of: set(),
            predictions_of: set(),
        }
        self._reference = ""  # the label of the trial from `origin`

    def outdated(self, trial: Trial) -> list[str]:
        """The names in the exchange that are not needed, now that this trial has reported."""
        label, family = best_label(trial), self._family_of(trial)
        self._best[trial.number] = _Kept(trial.loss, trial.number, label, family)
        if trial.origin == self._origin:
            self._reference = label
        latest = trial_label(trial.number, trial.reports[-1].budget)
        ranked = sorted(self._best.values())
        listed = shortlist(ranked, self._predictions, lambda kept: kept.family)
        needed = {
            models_of: {*(kept.label for kept in ranked[: self._models]), self._reference},
            predictions_of: {kept.label for kept in listed},
        }
        names: list[str] = []
        for name_of, labels in needed.items():
            there = self._there[name_of] | {latest}
            names += [name_of(old) for old in sorted(there - labels)]
            self._there[name_of] = there & labels
        return names
