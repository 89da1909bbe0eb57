"""Greedy ensemble selection with replacement, bagged (Caruana et al. 2004, section 2).

An ensemble begins with the best trial. In each step the trial is added, again or for the first
time, with which the mean prediction has the smallest loss; a trial's weight is how often it was
added. A greedy choice among many similar trials fits the rows that it is made on. So it is repeated
in bags, and the weights are averaged. Caruana et al. draw trials for each bag. Here each bag draws
rows with replacement, because on few rows even the best trial is best by chance.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from hpo.arrays import FloatArray, IntArray

BAGS = 10
STEPS, PATIENCE = 25, 5  # of each bag: at most, and without a smaller loss

Loss = Callable[[FloatArray], float]
Predictions = npt.NDArray[np.floating]


def select(
    predictions: Predictions, loss_on: Callable[[IntArray], Loss], most: int, seed: int
) -> FloatArray:
    """The weights `(n_trials,)` of an ensemble; they sum to 1.

    Args:
        predictions: `(n_trials, n)` values or `(n_trials, n, k)` probabilities.
        loss_on: from some of the n rows, the loss of a prediction of these rows.
        most: the largest number of trials with a weight.
        seed: of the bags.

    Raises:
        ValueError: when the loss is not defined on the rows of any bag.
    """
    rng = np.random.default_rng(seed)
    shares, undefined = np.zeros(len(predictions)), 0
    for _ in range(BAGS):
        rows = np.sort(rng.integers(predictions.shape[1], size=predictions.shape[1]))
        try:
            shares += _greedy(predictions[:, rows], loss_on(rows), most)
        except ValueError:  # a class is missing in these rows
            undefined += 1
            if undefined == BAGS:
                raise
    heaviest = np.argsort(-shares, kind="stable")[:most]
    weights = np.zeros(len(predictions))
    weights[heaviest] = shares[heaviest] / shares[heaviest].sum()
    return weights


def blend(predictions: Predictions, weights: FloatArray) -> FloatArray:
    """The weighted mean prediction, `(n,)` or `(n, k)`."""
    used = np.flatnonzero(weights)
    mean: FloatArray = np.average(predictions[used], axis=0, weights=weights[used])
    return mean


def _greedy(predictions: Predictions, loss: Loss, most: int) -> FloatArray:
    """The shares `(n_trials,)` of the trials in the best ensemble that begins with the best one."""
    losses = [loss(prediction) for prediction in predictions]
    added = [int(np.argmin(losses))]
    total = predictions[added[0]].astype(np.float64)
    length, smallest = 1, losses[added[0]]
    while len(added) < min(STEPS, length + PATIENCE):
        allowed = _allowed(added, len(predictions), most)
        losses = [loss((total + predictions[i]) / (len(added) + 1)) for i in allowed]
        chosen = int(allowed[int(np.argmin(losses))])
        added.append(chosen)
        total += predictions[chosen]
        if min(losses) < smallest:
            length, smallest = len(added), min(losses)
    return np.bincount(added[:length], minlength=len(predictions)) / length


def _allowed(added: list[int], n_trials: int, most: int) -> IntArray:
    """The trials that may be added: all of them, or the members once there are `most`."""
    members = np.unique(added)
    return members if len(members) >= most else np.arange(n_trials)
