"""How much the next trials are expected to improve the best loss, from the trials so far.

The recent trials are taken for draws from one distribution, and its lower tail for exponential, as
in the peaks-over-threshold method (Pickands 1975, Annals of Statistics 3; Davison & Smith 1990,
JRSS B 52). With `m` recent losses, the threshold `u` that `k` of them lie below, and their mean
distance `s` from it, a further draw falls below the best loss `b` with probability
`p = k/m · exp((b - u)/s)`, by `s` on average. The best of `n` further draws improves `b` by

    s · Σ_{j=1..n} (1 - (1 - p)^j) / j

On average over searches the forecast is near the gains that follow, but a single one may be far
off. A rule that ended a search at the first low forecast would pick those that are too low. So it
has to be low for as many trials as it looks ahead; `python -m benchmarks stopping` compares rules.
"""

import math

import numpy as np

from hpo.arrays import FloatArray

HORIZON = 20  # trials that the forecast is of
MIN_RESULTS = 20
_MAX_RECENT = 100
_TAIL = 0.25  # the share of recent trials whose losses make the tail


def expected_gain(losses: FloatArray) -> float | None:
    """How much the best of `HORIZON` further trials is expected to be below the best loss.

    Args:
        losses: `(n,)` in the order of the trials; infinite for those that failed.

    Returns:
        None while there are too few results.
    """
    if len(losses) < MIN_RESULTS:
        return None
    recent = np.sort(losses[-min(max(MIN_RESULTS, len(losses) // 2), _MAX_RECENT) :])
    k = math.ceil(_TAIL * len(recent))
    if not math.isfinite(recent[k]):
        return None
    scale = float(np.mean(recent[k] - recent[:k]))
    if scale <= 0:
        return 0.0
    p = k / len(recent) * math.exp((losses.min() - recent[k]) / scale)
    j = np.arange(1, HORIZON + 1)
    return scale * float(np.sum((1 - (1 - p) ** j) / j))


def gains_little(losses: FloatArray, least: float) -> bool:
    """Whether the forecast has been below `least` after each of the last `HORIZON` trials."""
    for n in range(len(losses), len(losses) - HORIZON, -1):
        gain = expected_gain(losses[: max(n, 0)])
        if gain is None or gain >= least:
            return False
    return True
