"""A sampler that goes on from what past studies have learned.

The loss is modelled as the past's expectation, as far as it can be trusted here, plus a Gaussian process of what this
study's own results add to it, with the kernel learned from the past (`hpo.past`). The next configuration has the
largest expected improvement (Jones, Schonlau & Welch 1998, eq. 15) among random ones, ones near the past's best and
ones near the study's own. Pending configurations are believed to come out as expected (Ginsbourger, Le Riche &
Carraro 2010, "Kriging is well-suited to parallelize optimization"), so that nothing is uncertain next to them.

With a probability of 1 - trust^(1/3) the study's own sampler is asked instead, and after `until` results always: then
it knows more than any past. So a past that misleads costs a few trials.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.special import ndtr

from hpo.history import History
from hpo.past import LEADERS, Past, matern
from hpo.samplers import Sampler
from hpo.samplers.tpe import ranked
from hpo.space import Array, SearchSpace, Value

SIGNAL, NOISE = (
    0.6,
    0.05,
)  # variances of what own results add, where their standardised losses have variance 1
CEILING = 2.5  # of the squashed losses: how bad a bad one is says little
UNTIL = 60  # results after which a study's own sampler knows more than any past
LEAST_SPREAD = 0.25  # of expected scores, so that configurations that are expected to be equal decide nothing


@dataclass(frozen=True)
class LearnedSampler:
    """Proposes what promises most by past and own results.

    Attributes:
        past: what past studies know.
        own: asked when the past is not.
        until: results after which it never is.
        n_candidates: of each kind that are compared.
    """

    past: Past
    own: Sampler
    until: int = UNTIL
    n_candidates: int = 96

    def least(self, space: SearchSpace) -> int:
        """As many as the study's own sampler starts with."""
        return self.own.least(space)

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Value] | None:
        """The next configuration."""
        if len(history) > self.until:
            return self.own.suggest(history, rng)
        weights, trust = self.past.weigh(history.x, history.losses)
        if rng.random() >= trust ** (1 / 3):
            return self.own.suggest(history, rng)
        order = ranked(history.losses)[: np.count_nonzero(np.isfinite(history.losses))]
        seen = history.x if len(order) else history.x[:0]  # where all failed nothing is known
        candidates = self._candidates(history.space, history.x[order[:LEADERS]], rng)
        points = np.concatenate([candidates, history.pending])
        expected = self.past.opinion(weights, points)
        if len(seen):
            y, there = levels(history.losses), self.past.opinion(weights, seen)
            slope = trust / max(float(there.std()), LEAST_SPREAD)
            mean = slope * (expected - there.mean())
            mean += self._added(seen, y - slope * (there - there.mean()), points)
            best = float(y.min())
        else:
            mean, best = expected, math.inf
        n = len(candidates)
        best = min(best, float(np.min(mean[n:], initial=math.inf)))
        if math.isinf(best):  # nothing to improve on
            return history.space.decode(candidates[np.argmin(mean)])
        deviation = self._deviation(np.concatenate([seen, history.pending]), candidates)
        return history.space.decode(candidates[np.argmax(improvement(mean[:n], deviation, best))])

    def _added(self, x: Array, residual: Array, at: Array) -> Array:
        """What results whose `residual` `(n,)` was not expected at `x` `(n, d)` add at codes `(m, d)`: `(m,)`."""
        factor, cross = self._process(x, at)
        return np.asarray(cross @ cho_solve((factor, True), residual))

    def _deviation(self, x: Array, at: Array) -> Array:
        """How uncertain a loss is at codes `(m, d)` when those at `x` `(n, d)` are known: `(m,)`."""
        factor, cross = self._process(x, at)
        explained = (solve_triangular(factor, cross.T, lower=True) ** 2).sum(axis=0)
        return np.asarray(np.sqrt(np.maximum(SIGNAL - explained, 1e-9)))

    def _process(self, x: Array, at: Array) -> tuple[Array, Array]:
        points = self.past.points(x)
        factor = cholesky(SIGNAL * matern(points, points) + NOISE * np.eye(len(x)), lower=True)
        return factor, SIGNAL * matern(self.past.points(at), points)

    def _candidates(self, space: SearchSpace, own: Array, rng: np.random.Generator) -> Array:
        n, d = self.n_candidates, len(space)
        kinds = [rng.random((2 * n, d)), near(self.past.leaders(), n, 0.1, rng)]
        if len(own):
            kinds += [near(own, n, 0.15, rng), near(own, n, 0.04, rng)]
        return space.deactivate(space.snap(np.concatenate(kinds)))


def near(x: Array, n: int, step: float, rng: np.random.Generator) -> Array:
    """`(n, d)` points near rows of `x`: half of the coordinates moved by a normal step, one in twenty drawn anew."""
    drawn = x[rng.integers(len(x), size=n)]
    drawn = np.where(np.isnan(drawn), rng.random(drawn.shape), drawn)
    moved = np.clip(drawn + rng.normal(0, step, drawn.shape) * (rng.random(drawn.shape) < 0.5), 0, 1)
    return np.where(rng.random(drawn.shape) < 0.05, rng.random(drawn.shape), moved)


def levels(losses: Array) -> Array:
    """Standardised losses `(n,)`: squashed around the median, failures as bad as the worst."""
    finite = losses[np.isfinite(losses)]
    low, middle, high = np.quantile(finite, [0.25, 0.5, 0.75])
    filled = np.where(np.isfinite(losses), losses, finite.max())
    squashed = np.minimum(np.arcsinh(1.5 * (filled - middle) / ((high - low) or 1.0)), CEILING)
    return np.asarray((squashed - squashed.mean()) / (squashed.std() or 1.0))


def improvement(mean: Array, deviation: Array, best: float) -> Array:
    """Expected improvement on `best` of normal losses."""
    z = (best - mean) / deviation
    return np.asarray((best - mean) * ndtr(z) + deviation * np.exp(-z * z / 2) / np.sqrt(2 * np.pi))
