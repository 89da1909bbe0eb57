"""Who is how far ahead: ranks, excess over the best, seconds, each with an interval over tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.markdown import interval_text, number, percent, table
from benchmarks.methods import Method
from benchmarks.race.competitors import OURS
from benchmarks.statistics import interval, ranks
from hpo.arrays import FloatArray

MOST = 1.0  # the largest excess that counts
Figures = tuple[float, float, float]  # a mean over tables and its interval


@dataclass(frozen=True)
class Standings:
    """The results of m methods on t tables in s splits, at one budget.

    Attributes:
        methods: who raced.
        tables: their names.
        errors: `(m, t, s)` on the held-out rows; infinite where a competitor failed.
        used: `(m, t, s)` wall seconds relative to the budget; nan where it failed.
        prediction: `(m, t, s)` CPU seconds for a row; nan where it failed.
    """

    methods: Sequence[Method]
    tables: Sequence[str]
    errors: FloatArray
    used: FloatArray
    prediction: FloatArray

    @classmethod
    def of(
        cls,
        methods: Sequence[Method],
        tables: Sequence[str],
        answers: Sequence[Sequence[Sequence[Mapping[str, Any]]]],
        seconds: int,
    ) -> "Standings":
        """From the answers by method, table and split."""

        def array(name: str, missing: float) -> FloatArray:
            found = [[[a.get(name, missing) for a in row] for row in rows] for rows in answers]
            return np.asarray(found, dtype=float)

        used: FloatArray = array("wall", np.nan) / seconds
        return cls(methods, tables, array("error", np.inf), used, array("prediction", np.nan))

    @property
    def excess(self) -> FloatArray:
        """`(m, t, s)` errors relative to the best one, less 1; a failure has `MOST`."""
        best = np.maximum(self.errors.min(axis=0), np.finfo(float).tiny)
        return np.asarray(np.minimum(self.errors / best - 1, MOST))

    def text(self) -> str:
        """The table of the methods, the duels and the errors, as Markdown."""
        ranked, excess = ranks(self.errors), self.excess
        rows = [
            [
                method.title,
                interval_text(*_over_tables(ranked[i]), 2),
                percent_text(_over_tables(excess[i])),
                *self._ahead(i),
                interval_text(*_over_tables(self.used[i]), 2),
                number(1e6 * float(np.nanmedian(self.prediction[i]))),
            ]
            for i, method in enumerate(self.methods)
        ]
        ahead = ["ours is ahead"] if self._mine is not None else []
        header = ["", "mean rank", "mean excess over the best", *ahead, "seconds / budget"]
        return table([*header, "ms for 1,000 rows"], rows) + "\n" + self._errors()

    @property
    def _mine(self) -> int | None:
        names = [method.name for method in self.methods]
        return names.index(OURS) if OURS in names else None

    def _ahead(self, other: int) -> list[str]:
        """On which share of the tables ours is ahead of another; ties count half."""
        mine = self._mine
        if mine is None:
            return []
        if mine == other:
            return [""]
        won = (self.errors[mine] < self.errors[other]) + 0.5 * (
            self.errors[mine] == self.errors[other]
        )
        return [percent(*_over_tables(won))]

    def _errors(self) -> str:
        """The mean errors over the splits, the best bold."""
        means = self.errors.mean(axis=2)
        rows = []
        for j, name in enumerate(self.tables):
            cells = [f"{value:.4g}" if np.isfinite(value) else "failed" for value in means[:, j]]
            best = int(np.argmin(means[:, j]))
            cells[best] = f"**{cells[best]}**"
            rows.append([name, *cells])
        return table(["held-out error", *(method.name for method in self.methods)], rows)


def percent_text(figures: Figures) -> str:
    """A mean and its interval in percent, with one decimal."""
    mean, low, high = (100 * value for value in figures)
    return interval_text(mean, low, high, 1) + " %"


def _over_tables(values: FloatArray) -> Figures:
    """The mean over tables of values `(t, s)`, and its interval; failures are left out."""
    by_table = np.array([row[np.isfinite(row)].mean() for row in values if np.isfinite(row).any()])
    if not len(by_table):
        return (np.nan, np.nan, np.nan)
    return (float(by_table.mean()), *interval(by_table, np.mean))
