"""Extrapolation of a learning curve to a larger budget."""

import math
from collections.abc import Sequence

import numpy as np

from hpo.arrays import FloatArray

MIN_POINTS = 5
MAX_DECAY = 30.0  # the fastest exponential decays by exp(-MAX_DECAY) over the known curve


def extrapolate(points: Sequence[tuple[float, float]], to: float) -> float:
    """The best loss to expect at the budget `to`, from a curve of (budget, loss).

    Fits a + b g(t) with b >= 0 by least squares, with larger weights for later points, over
    exponential decays and power laws g. The form with the best fit is evaluated at `to`. The result
    is the best loss so far if the curve has fewer than five points or has turned upwards, or if no
    form falls.
    """
    t, y = np.array(points).T if points else (np.zeros(0), np.zeros(0))
    best = float(y.min()) if len(y) else math.nan
    if len(y) < MIN_POINTS or int(np.argmin(y)) < 0.8 * (len(y) - 1):
        return best
    end = np.append(t, to)
    forms = [np.exp(-end / pace) for pace in np.geomspace(t[-1] / MAX_DECAY, 3 * to, 80)]
    forms += [end**-power for power in (0.25, 0.5, 1.0, 2.0)]
    fits = [found for g in forms if (found := _fit(t, y, g[:-1], float(g[-1]))) is not None]
    return max(min(best, min(fits)[1]), 0.0) if fits else best


def _fit(t: FloatArray, y: FloatArray, g: FloatArray, end: float) -> tuple[float, float] | None:
    """Fit y = a + b g: the weighted squared error and the value at g = `end`; None unless b > 0."""
    weights = t / t.sum()
    g0, y0 = weights @ g, weights @ y
    spread = weights @ (g - g0) ** 2
    b = float(weights @ ((g - g0) * (y - y0)) / spread) if spread > 0 else 0.0
    if b <= 0:
        return None
    residual = y - y0 - b * (g - g0)
    return float(weights @ residual**2), float(y0 + b * (end - g0))
