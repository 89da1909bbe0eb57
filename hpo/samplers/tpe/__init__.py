"""Multivariate tree-structured Parzen estimator, vectorised.

Bergstra et al. (2011), "Algorithms for hyper-parameter optimization", NeurIPS; Watanabe (2023),
"Tree-structured Parzen estimator: understanding its algorithm components", arXiv:2304.11127;
Falkner et al. (2018), "BOHB", ICML.

It differs from these papers where the problems of `benchmarks` showed an improvement:

- l has one bandwidth per dimension (Scott), g one per observation (neighbours). A sharp g keeps the
  search from repeating itself; a smooth l is not misled by single observations.
- Weights of good observations decrease with their rank (Watanabe's "expected improvement"
  weighting).
- Five start-up points that are spread out replace ten to twenty independent ones.
- One draw from l decides the branch of a conditional space; the ratio is then maximised within it.
- Options that each began with a good configuration, such as families of models, race: the next one
  is the option of a good observation, and only with probability 1 / (n + 1) any.
- Where time is limited, l / g is divided by a power of the seconds that a training is expected to
  take, as expected improvement per second is (Snoek et al. 2012, "Practical Bayesian optimization
  of machine learning algorithms", NeurIPS, section 3.2).

The time of a suggestion is bounded, because l has at most `max_good` centres and g at most
`max_others`.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpo.arrays import FloatArray
from hpo.history import History
from hpo.samplers.settings import Range, Settings, setting
from hpo.samplers.tpe.parzen import Parzen, features, neighbours, scott, with_prior
from hpo.samplers.tpe.seconds import Durations
from hpo.space import SearchSpace, Value
from hpo.space.layout import Layout
from hpo.space.prior import weight


@dataclass(frozen=True)
class TPESampler(Settings):
    """Proposes the candidate with the largest l(x) / g(x).

    l is the density of the best `gamma` share of the observations (at most `max_good`), g that of
    the others; failed and pending trials count among the others. With eight pending trials,
    counting them was better than ignoring them on conditional and categorical problems, and worse
    on smooth ones; it also avoids duplicates.

    Attributes:
        n_startup: observations before the densities are used; until then points are spread out.
        n_candidates: draws from l that are compared.
        gamma: share of good observations.
        max_good: maximum number of good observations.
        max_others: maximum number of observations in g; more are thinned evenly in order of loss.
        prior_weight: weight of the uniform prior in l, in observations.
        widening: factor on l's bandwidths with which candidates are drawn.
        cost: power of the expected seconds by which l / g is divided; 0 ignores them.
        durations: what past studies know of the seconds.
        raced: a choice whose options race (`hpo.configurations.raced`); None for no race.
    """

    n_startup: int = setting(5, Range(at_least=1))
    n_candidates: int = setting(24, Range(at_least=1))
    gamma: float = setting(0.15, Range(above=0, below=1))
    max_good: int = setting(25, Range(at_least=1))
    max_others: int = setting(500, Range(at_least=1))
    prior_weight: float = setting(1.0, Range(above=0))
    widening: float = setting(1.0, Range(above=0))
    cost: float = setting(0.5, Range(at_least=0, at_most=1))
    durations: Durations = Durations()
    raced: str | None = None

    def min_results(self, space: SearchSpace) -> int:
        """The start-up observations."""
        return self.n_startup

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Value]:
        """The next configuration."""
        space, layout = history.space, history.space.layout
        good, others = split(history.losses, self.gamma, self.max_good)
        if len(history) < self.n_startup and (self.raced is None or not len(good)):
            return start_up(history, rng)
        below = self._below(layout, history.x[good], history.weights[good])
        above = self._above(layout, history, thin(others, self.max_others))
        draws = below.widened(self.widening).sample(rng, self.n_candidates)
        if space.belief is not None:
            draws = np.concatenate([draws, space.belief.sample(rng, self.n_candidates)])
        if self.raced is not None:
            column = space.names.index(self.raced)
            draws[:, column] = self._option(history, column, good, rng)
        # One draw decides which dimensions are active. If branches were compared, those with more
        # dimensions would win by their higher densities alone, and the search would never leave the
        # first branch that did well.
        draws[:, layout.parents] = draws[0, layout.parents]
        candidates = space.codes.deactivate(space.codes.snap(draws))
        phi = features(layout, candidates)
        worth = below.log_density(phi) - above.log_density(phi) + believed(history, candidates)
        if self.cost:
            worth -= self.cost * self.durations.log_seconds(history, candidates)
        return space.decode(candidates[np.argmax(worth)])

    def _below(self, layout: Layout, x: FloatArray, weights: FloatArray) -> Parzen:
        """l(x) of the good observations, best first."""
        centres, w = with_prior(x, by_rank(weights), self.prior_weight)
        return Parzen(layout, centres, w, scott(layout, centres, w, self.prior_weight))

    def _option(
        self, history: History, column: int, good: NDArray[np.intp], rng: np.random.Generator
    ) -> float:
        """The code of an option of the choice that is raced.

        Options are drawn by the weights of the good observations that have them, divided by a
        power of the mean seconds of their trainings.
        """
        n = history.space.layout.parameters[column].n_levels or 1
        options = np.floor(history.x[:, column] * n).astype(np.intp)
        weights = by_rank(history.weights[good])
        share = np.bincount(options[good], weights, minlength=n) / max(weights.sum(), 1.0)
        leaving = 1 / (len(history) + 1) if len(good) else 1.0
        chances = (1 - leaving) * share + leaving / n
        if self.cost:
            chances /= _mean_seconds(options, history.seconds, n) ** self.cost
        return float((rng.choice(n, p=chances / chances.sum()) + 0.5) / n)

    def _above(self, layout: Layout, history: History, others: NDArray[np.intp]) -> Parzen:
        """g(x); pending configurations are included."""
        x = np.concatenate([history.x[others], history.pending])
        weights = np.concatenate([history.weights[others], np.ones(len(history.pending))])
        centres, weights = with_prior(x, weights, 1.0)
        return Parzen(layout, centres, weights, neighbours(layout, centres))


def by_rank(weights: FloatArray) -> FloatArray:
    """Weights `(n,)`, which decrease linearly from the best observation to the last (mean 1)."""
    n = len(weights)
    return np.asarray(weights * 2 * (n - np.arange(n)) / (n + 1))


def _mean_seconds(options: NDArray[np.intp], seconds: FloatArray, n: int) -> FloatArray:
    """`(n,)` mean seconds of the trainings of each option; that of all where none is known."""
    known = seconds > 0
    if not known.any():
        return np.ones(n)
    count = np.bincount(options[known], minlength=n)
    total = np.bincount(options[known], seconds[known], minlength=n)
    return np.where(count > 0, total / np.maximum(count, 1), seconds[known].mean())


def split(
    losses: FloatArray, gamma: float, max_good: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of the ceil(gamma n) best observations, and of the others, best first.

    At most `max_good` are good. Failed observations are never good; if all failed, l is the prior.
    """
    order = ranked(losses)
    n_good = min(math.ceil(gamma * len(losses)), max_good, np.count_nonzero(np.isfinite(losses)))
    return order[:n_good], order[n_good:]


def ranked(losses: FloatArray) -> NDArray[np.intp]:
    """Indices from the smallest to the largest loss; equal losses keep their order."""
    # numpy's stable sort takes six times as long as its vectorised one, so the order of equal
    # losses is restored afterwards.
    order = np.argsort(losses)
    ascending = losses[order]
    group = np.zeros(len(losses), dtype=np.intp)
    np.cumsum(ascending[1:] != ascending[:-1], out=group[1:])
    group *= len(losses)
    order += group
    order.sort()
    return order - group


def thin(ordered: NDArray[np.intp], limit: int) -> NDArray[np.intp]:
    """At most `limit` evenly spaced members of `ordered`."""
    if len(ordered) <= limit:
        return ordered
    chosen: NDArray[np.intp] = ordered[np.linspace(0, len(ordered) - 1, limit).round().astype(int)]
    return chosen


def start_up(history: History, rng: np.random.Generator) -> dict[str, Value]:
    """A configuration for a model that has too few results: spread out among all others.

    Half of them are draws from what the user believes, where there is a prior.
    """
    space = history.space
    if space.belief is not None and rng.random() < 0.5:
        return space.decode(space.belief.sample(rng, 1)[0])
    taken = np.concatenate([history.x, history.pending])
    return space.decode(spread_out(space, taken, rng))


def believed(history: History, codes: FloatArray) -> FloatArray:
    """`(m,)` what is added to the logarithm of an acquisition at codes `(m, d)`, by the prior.

    The belief counts less with each trial (piBO), so that the results decide in the end.
    """
    belief = history.space.belief
    if belief is None:
        return np.zeros(len(codes))
    return weight(max(len(history), history.n_sampled)) * belief.log_density(codes)


def spread_out(
    space: SearchSpace, taken: FloatArray, rng: np.random.Generator, n_draws: int = 8
) -> FloatArray:
    """The one of `n_draws` random points that is farthest from those `taken` `(m, d)`.

    This is Mitchell's best candidate. With many draws, points would gather at the cube's corners.
    """
    return farthest(space, space.codes.sample(rng, n_draws), taken)


def farthest(space: SearchSpace, points: FloatArray, taken: FloatArray) -> FloatArray:
    """The one of `points` `(n, d)` that is farthest from those `taken` `(m, d)`.

    Distances are Euclidean in the unit cube. Different choices are 1/2 apart, and so are two points
    in a dimension that is active in one of them only.
    """
    gap = np.abs(points[:, None] - taken[None])
    columns = space.layout.choices
    gap[..., columns] = 0.5 * (gap[..., columns] > 0)
    only_one = np.isnan(points)[:, None] != np.isnan(taken)[None]
    gap = np.where(only_one, 0.5, np.nan_to_num(gap))
    nearest = (gap**2).sum(axis=2).min(axis=1, initial=np.inf)
    found: FloatArray = points[np.argmax(nearest)]
    return found
