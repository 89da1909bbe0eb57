"""A sampler that goes on from what past studies have learned.

With a probability that falls as results come in, the next configuration is the one with the largest expected
improvement by the past and the study's own results (`hpo.past`); else the study's own sampler is asked:

    trust * fading / (fading + results)

So the past takes the place of most of the start-up points, and has a say for as long as it ranks results rightly. What
replaced the study's own sampler for longer was behind it on real trainings (`docs/benchmarks.md`, warmstart-in-use).
"""

from dataclasses import dataclass

import numpy as np

from hpo.history import History
from hpo.past import LEADERS, Past, improvement
from hpo.samplers import Sampler
from hpo.samplers.tpe import ranked
from hpo.space import Array, SearchSpace, Value

FADING = 8.0  # results after which the past is asked for every second configuration
CEILING = 2.5  # of the squashed losses: how bad a bad one is says little


@dataclass(frozen=True)
class LearnedSampler:
    """Proposes what promises most by past and own results, or what the study's own sampler proposes.

    Attributes:
        past: what past studies know.
        own: the study's own sampler.
        fading: results after which the past is asked for every second configuration.
        n_candidates: of each kind that are compared.
        per_second: whether the improvement in each second of training counts, not that in each trial.
    """

    past: Past
    own: Sampler
    fading: float = FADING
    n_candidates: int = 96
    per_second: bool = False

    def least(self, space: SearchSpace) -> int:
        """As many as the study's own sampler starts with."""
        return self.own.least(space)

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Value] | None:
        """The next configuration."""
        trust = self.past.trust(history.x, history.losses)
        if rng.random() >= trust * self.fading / (self.fading + len(history)):
            return self.own.suggest(history, rng)
        order = ranked(history.losses)[: np.count_nonzero(np.isfinite(history.losses))]
        seen = history.x if len(order) else history.x[:0]  # where all failed nothing is known
        candidates = self._candidates(history.space, history.x[order[:LEADERS]], rng)
        values = levels(history.losses) if len(order) else np.empty(0)
        mean, deviation, best = self.past.believed(seen, values, history.pending, candidates)
        promise = improvement(mean, deviation, best) if np.isfinite(best) else -mean
        if self.per_second and np.isfinite(best):
            promise = np.log(np.maximum(promise, 1e-12)) - self.past.log_seconds(candidates)
        return history.space.decode(candidates[np.argmax(promise)])

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
