"""Predictions of two models for the same rows, compared by a metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hpo.arrays import FloatArray, IntArray
from pipelines.table.scores.bootstrap import Gain, paired_gain
from pipelines.table.scores.metrics import Metric, Weights

if TYPE_CHECKING:
    from pipelines.registry.heldout import HeldOut


@dataclass(frozen=True)
class Predicted:
    """The predictions of a model for some rows.

    Attributes:
        values: Probabilities (n, k), or values (n,).
        decided: The same as metrics of labels see it, where a threshold decides.
    """

    values: FloatArray
    decided: FloatArray

    def seen_by(self, metric: Metric) -> FloatArray:
        """The predictions as a metric sees them."""
        return self.decided if metric.on_labels else self.values

    def in_order_of(self, classes: Sequence[object], own: Sequence[object]) -> Predicted:
        """Probabilities of a model's `own` classes in the order of others; numbers as they are."""
        order = [list(own).index(label) for label in classes]
        if not order:
            return self
        return Predicted(self.values[:, order], self.decided[:, order])


@dataclass(frozen=True)
class Pair:
    """Predictions of a challenger and of another model for the same rows.

    Attributes:
        metric: The metric to compare them by.
        y: Class codes, or values in original units, (n,).
        challenger: Probabilities (n, k), or values (n,).
        other: The same of the other model.
        groups: Codes (n,) of rows that depend on each other; None if there are none.
        weight: Weights (n,) of the rows; None for equal ones.
    """

    metric: Metric
    y: npt.NDArray[Any]
    challenger: FloatArray
    other: FloatArray
    groups: IntArray | None = None
    weight: Weights = None

    @classmethod
    def on(cls, rows: HeldOut, metric: Metric, challenger: FloatArray, other: FloatArray) -> Pair:
        """The predictions of two models for held-out rows."""
        return cls(metric, rows.y, challenger, other, rows.groups, rows.weight)

    @property
    def swapped(self) -> Pair:
        """The same comparison from the other model's side."""
        return replace(self, challenger=self.other, other=self.challenger)

    @property
    def scores(self) -> str:
        """Both scores, as text."""
        one = self.metric(self.y, self.challenger, self.weight)
        other = self.metric(self.y, self.other, self.weight)
        return f"{self.metric.name} {one:.6g} against {other:.6g}"

    def gain(self, margin: float) -> Gain:
        """How much better the challenger is (paired bootstrap).

        Raises:
            ValueError: If the metric is not defined on these rows.
        """
        return paired_gain(
            self.metric,
            self.y,
            self.challenger,
            self.other,
            margin=margin,
            groups=self.groups,
            weight=self.weight,
        )

    def subset(self, members: npt.NDArray[np.int64]) -> Pair:
        """The rows at the positions `members`.

        If they all belong to one group, they count as independent: there are no other groups to
        draw.
        """
        groups = None if self.groups is None else self.groups[members]
        if groups is not None and len(np.unique(groups)) < 2:
            groups = None
        return replace(
            self,
            y=self.y[members],
            challenger=self.challenger[members],
            other=self.other[members],
            groups=groups,
            weight=None if self.weight is None else self.weight[members],
        )
