"""What a worker measures of a trial's models beside their scores: gaps, robustness, costs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpo.arrays import IntArray
from pipelines.files.exchange import Exchange
from pipelines.objectives.scoring.scores import Trained
from pipelines.table.scores.gaps import column_of, gap, group_codes, is_gap
from pipelines.table.scores.metrics import Metric
from pipelines.table.scores.robustness import disturbed, is_robustness, strength_of

if TYPE_CHECKING:
    from pipelines.table.data import Prepared

GROUPS = "groups"  # the folder in the exchange


def save_groups(prepared: "Prepared", names: Iterable[str], exchange: Exchange) -> None:
    """Put the groups of the validation rows into the exchange, for the gaps among the metrics."""
    columns = _columns(names)
    if not columns:
        return

    def write(folder: Path) -> None:
        for i, column in enumerate(columns):
            codes = group_codes(prepared.frame[column])
            for fold, (_, valid) in enumerate(prepared.rows.folds):
                np.save(folder / _file(i, fold), codes[valid])

    exchange.put(GROUPS, write)


@dataclass(frozen=True)
class Beside:
    """Measures gaps and robustness.

    Attributes:
        names: of the metrics; others among them are ignored.
        metric: the score that `robustness` is of.
        exchange: has the groups.
    """

    names: Sequence[str]
    metric: Metric
    exchange: Exchange
    _known: dict[int, Mapping[str, IntArray]] = field(default_factory=dict, compare=False)

    def measured(self, trained: Sequence[Trained]) -> dict[str, float]:
        """The mean over the folds of each of them."""
        found = {name: self._measure(name) for name in self.names}
        return {
            name: float(np.mean([measure(name, part) for part in trained]))
            for name, measure in found.items()
            if measure is not None
        }

    def _measure(self, name: str) -> Callable[[str, Trained], float] | None:
        if is_gap(name):
            return self._gap
        return self._robustness if is_robustness(name) else None

    def _gap(self, name: str, part: Trained) -> float:
        fold = part.fold
        groups = self._groups(fold.index)[column_of(name)]
        y = fold.target.original(fold.y_valid)
        return gap(name, y, part.prediction, groups, fold.weight_valid)

    def _robustness(self, name: str, part: Trained) -> float:
        fold = part.fold
        rows = disturbed(fold.valid, strength_of(name))
        return fold.score(self.metric, part.model.predict(rows))

    def _groups(self, fold: int) -> Mapping[str, IntArray]:
        """The groups of a fold's validation rows, by column."""
        if fold not in self._known:
            folder = self.exchange.get(GROUPS)
            columns = enumerate(_columns(self.names))
            self._known[fold] = {name: np.load(folder / _file(i, fold)) for i, name in columns}
        return self._known[fold]


def _columns(names: Iterable[str]) -> list[str]:
    return [*dict.fromkeys(column_of(name) for name in names if is_gap(name))]


def _file(column: int, fold: int) -> str:
    return f"{column}-{fold}.npy"
