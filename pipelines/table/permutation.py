"""Which columns a model relies on: its loss when one of them is shuffled (Breiman 2001, "Random forests", section 10).

It is in the metric's units, the same for every family, and of the very object that is served.
Columns that say the same share what they are worth, and each may look useless alone.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipelines.table.metrics import Metric
from serving.columns import CategoricalColumn, DateColumn
from serving.features import FeatureEncoder, Matrix
from serving.predictor import Predictor

MOST_ROWS, FEWEST_ROWS = 2_000, 100
MOST_COLUMNS = 300
PREDICTED = 30_000  # rows in all, times members of the predictor; a row costs 2 to 50 microseconds


@dataclass(frozen=True)
class Permuted:
    """Columns with the loss of shuffling each, the worst first, in the metric's units, and the rows it was seen on."""

    losses: tuple[tuple[str, float], ...]
    rows: int


def permuted(
    predictor: Predictor, frame: pd.DataFrame, y: npt.NDArray[np.generic], metric: Metric, seed: int
) -> Permuted | None:
    """Shuffle each column of held-out rows once; None when there are too many, or the metric is not defined.

    `frame` holds the raw rows, `y` (n,) their class codes or values. Of many columns or members
    fewer rows are taken, so that the cost is bounded.
    """
    columns = predictor.features.inputs
    if not 0 < len(columns) <= MOST_COLUMNS:
        return None
    wanted = PREDICTED // (len(columns) * len(predictor.members))
    n = min(len(frame), MOST_ROWS, max(wanted, FEWEST_ROWS))
    rng = np.random.default_rng([seed, 0x5FF1])
    chosen = np.sort(rng.choice(len(frame), n, replace=False))
    rows, truth = predictor.features.transform(frame.iloc[chosen]), y[chosen]
    places = _places(predictor.features)
    try:
        before = metric.to_loss(metric(truth, predictor.predict_encoded(rows)))
        losses = []
        for name in columns:
            mixed = _shuffled(rows, places[name], rng.permutation(n))
            losses.append(
                (name, metric.to_loss(metric(truth, predictor.predict_encoded(mixed))) - before)
            )
    except ValueError:  # one class only, say
        return None
    return Permuted(tuple(sorted(losses, key=lambda item: -item[1])), n)


def _places(features: FeatureEncoder) -> dict[str, tuple[list[int], list[int]]]:
    """The numeric and the categorical columns of the matrix that each raw column became; a date became several."""
    places: dict[str, tuple[list[int], list[int]]] = {}
    p = q = 0
    for column in features.columns:
        if isinstance(column, CategoricalColumn):
            places[column.name], q = ([], [q]), q + 1
        else:
            width = len(column.parts) if isinstance(column, DateColumn) else 1
            places[column.name], p = ([*range(p, p + width)], []), p + width
    return places


def _shuffled(
    rows: Matrix, place: tuple[list[int], list[int]], order: npt.NDArray[np.int64]
) -> Matrix:
    numeric, categorical = rows.numeric.copy(), rows.categorical.copy()
    numeric[:, place[0]] = numeric[order][:, place[0]]
    categorical[:, place[1]] = categorical[order][:, place[1]]
    return Matrix(numeric, categorical)
