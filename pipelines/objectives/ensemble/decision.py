"""Whether an ensemble is better than the best single trial, by rows that did not choose either.

The validation rows are divided in halves, several times. On one half the ensemble and the best
single trial are chosen, and the other half scores them; both ways. So neither has seen the rows
that score it, and both have been chosen from as many rows. The weights of the ensemble itself come
from all rows.
"""

from collections.abc import Sequence

import numpy as np

from pipelines.objectives.ensemble.library import Library
from pipelines.objectives.ensemble.rows import Half
from pipelines.objectives.ensemble.selection import blend
from pipelines.study.choice.ensemble import Ensemble
from pipelines.table.scores.estimates import differences


def decide(library: Library, halves: Sequence[Half], most: int, seed: int) -> Ensemble:
    """Select an ensemble and compare it with the best single trial.

    Args:
        library: of the trials.
        halves: positions of rows.
        most: the largest number of members.
        seed: of the selection.

    Raises:
        ValueError: when the metric is not defined on a half.
    """
    losses = np.array([_losses(library, half, most, seed) for half in halves])
    ratio = float(np.mean([len(scored) / len(chosen) for chosen, scored in halves]))
    (gain,) = differences([losses[:, 1] - losses[:, 0]], ratio)
    ensemble, single = map(library.metric.goal.from_loss, map(float, losses.mean(axis=0)))
    weights = library.select(most, seed)
    order = [int(i) for i in np.argsort(-weights, kind="stable") if weights[i] > 0]
    return Ensemble(
        metric=library.metric.name,
        weights={library.numbers[i]: float(weights[i]) for i in order},
        score=ensemble,
        single=single,
        gain=gain,
    )


def _losses(library: Library, half: Half, most: int, seed: int) -> tuple[float, float]:
    """The losses of the ensemble and of the best single trial on the second half."""
    here, there = (library.on(rows) for rows in half)
    weights = here.select(most, seed)
    best = int(np.argmin([here.loss(prediction) for prediction in here.predictions]))
    ensemble = blend(there.predictions, weights)
    return there.loss(ensemble), there.loss(there.predictions[best])
