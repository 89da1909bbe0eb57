"""Greedy ensemble selection with replacement, bagged (Caruana et al. 2004, section 2).

An ensemble begins with the best trial. In each step the trial is added, again or for the first
time, with which the mean prediction has the smallest loss; a trial's weight is how often it was
added. A greedy choice among many similar trials fits the rows that it is made on. So it is repeated
in bags, each with a random part of the trials, and the weights are averaged.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from hpo.arrays import FloatArray, IntArray

BAGS, SHARE = 10, 0.5  # how many bags, and which share of the trials is in each
STEPS, PATIENCE = 25, 5  # of each bag: at most, and without a smaller loss

Loss = Callable[[FloatArray], float]
Predictions = npt.NDArray[np.floating]


def select(predictions: Predictions, loss: Loss, most: int, seed: int) -> FloatArray:
    """The weights `(n_trials,)` of an ensemble; they sum to 1.

    Args:
        predictions: `(n_trials, n)` values or `(n_trials, n, k)` probabilities.
        loss: of one prediction.
        most: the largest number of trials with a weight.
        seed: of the bags.
    """
    rng = np.random.default_rng(seed)
    best = int(np.argmin([loss(prediction) for prediction in predictions]))
    others = np.delete(np.arange(len(predictions)), best)
    size = int(np.ceil(SHARE * len(others)))
    shares = np.zeros(len(predictions))
    for _ in range(BAGS):
        bag = np.append(best, rng.permutation(others)[:size])
        shares[bag] += _greedy(predictions[bag], loss, most)
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
    """The shares `(n_trials,)` of the trials in the best ensemble that begins with the first."""
    added = [0]
    total = predictions[0].astype(np.float64)
    length, smallest = 1, loss(total)
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
