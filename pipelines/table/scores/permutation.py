"""Permutation importance: the loss of a model when one column is shuffled.

Breiman (2001), "Random forests", section 10. The importance is in the metric's units, comparable
between model families, and measured on the object that is served. Columns with the same information
share its importance, and each may look useless alone.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipelines.table.scores.metrics import Metric, Weights
from serving.columns import CategoricalColumn
from serving.features import FeatureEncoder, Matrix
from serving.predictor import Predictor

MAX_ROWS, MIN_ROWS = 2_000, 100
MAX_COLUMNS = 300
MAX_PREDICTIONS = 30_000  # rows times members of the predictor; each takes 2 to 50 microseconds
_STREAM = 0x5FF1  # so that no other generator of this seed draws the same numbers


@dataclass(frozen=True)
class Permuted:
    """Permutation importance.

    Attributes:
        losses: the increase of the loss for each column, in the metric's units, largest first.
        rows: number of rows that it was measured on.
    """

    losses: tuple[tuple[str, float], ...]
    rows: int


def permuted(
    predictor: Predictor,
    frame: pd.DataFrame,
    y: npt.NDArray[np.generic],
    metric: Metric,
    seed: int,
    weight: Weights = None,
) -> Permuted | None:
    """Shuffle each column of held-out rows once.

    The more columns and members, the fewer rows are used, so that the cost is bounded.

    Args:
        predictor: the model.
        frame: raw held-out rows.
        y: their `(n,)` class codes or values.
        metric: how to score.
        seed: of the sample and of the permutations.
        weight: `(n,)` weights of the rows; None for equal ones.

    Returns:
        None if there are too many columns, or the metric is not defined on the rows.
    """
    columns = predictor.features.inputs
    if not 0 < len(columns) <= MAX_COLUMNS:
        return None
    affordable = MAX_PREDICTIONS // (len(columns) * len(predictor.members))
    n = min(len(frame), MAX_ROWS, max(affordable, MIN_ROWS))
    rng = np.random.default_rng([seed, _STREAM])
    sample = np.sort(rng.choice(len(frame), n, replace=False))
    rows, truth = predictor.features.transform(frame.iloc[sample]), y[sample]
    sampled = None if weight is None else weight[sample]
    encoded = _encoded_columns(predictor.features)

    def loss(matrix: Matrix) -> float:
        prediction = predictor.predict_encoded(matrix)
        seen = predictor.decision.decided(prediction) if metric.on_labels else prediction
        return metric.goal.to_loss(metric(truth, seen, sampled))

    increases = {}
    try:
        baseline = loss(rows)
        for name in columns:
            increases[name] = loss(encoded[name].shuffled(rows, rng.permutation(n))) - baseline
    except ValueError:  # undefined, for example if all rows are of one class
        return None
    return Permuted(tuple(sorted(increases.items(), key=lambda item: -item[1])), n)


@dataclass(frozen=True)
class _EncodedColumn:
    """The columns of a `Matrix` that one raw column became; a date became several."""

    numeric: slice
    categorical: slice

    def shuffled(self, rows: Matrix, order: npt.NDArray[np.int64]) -> Matrix:
        numeric, categorical = rows.numeric.copy(), rows.categorical.copy()
        numeric[:, self.numeric] = rows.numeric[order, self.numeric]
        categorical[:, self.categorical] = rows.categorical[order, self.categorical]
        return Matrix(numeric, categorical)


def _encoded_columns(features: FeatureEncoder) -> dict[str, _EncodedColumn]:
    found = {}
    p = q = 0  # the first numeric and categorical column of the next raw column
    for column in features.columns:
        next_p = p + len(column.numeric_names)
        next_q = q + isinstance(column, CategoricalColumn)
        found[column.name] = _EncodedColumn(slice(p, next_p), slice(q, next_q))
        p, q = next_p, next_q
    return found
