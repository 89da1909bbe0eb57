"""Losses as the values of a Gaussian process."""

import numpy as np

from hpo.arrays import FloatArray


def bent(losses: FloatArray) -> FloatArray:
    """Losses `(n,)` with mean 0 and standard deviation 1, of which the worse half is bent.

    Above the median, the distance to the best loss counts by its logarithm. A diverged training
    therefore does not hide the differences among the good ones, which are left as they are.
    Failures count as the worst loss. Losses that are all equal, or all failures, are 0.
    """
    known = losses[np.isfinite(losses)]
    if not len(known):
        return np.zeros(len(losses))
    best = known.min()
    filled = np.where(np.isfinite(losses), losses, known.max())
    width = (np.median(filled) - best) or (known.max() - best) or 1.0
    distance = (filled - best) / width
    values = np.where(distance > 1, 1 + np.log(np.maximum(distance, 1)), distance)
    return np.asarray((values - values.mean()) / (values.std() or 1.0))
