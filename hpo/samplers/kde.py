"""The model of BOHB: kernel density estimators of good and of other configurations at one budget.

Falkner, Klein and Hutter (2018), "BOHB: Robust and efficient hyperparameter optimization at scale", ICML, section 4 and
algorithm 2. Letters are the paper's. The observations are those of the largest budget that has enough of them; a
`rho` share of the configurations is drawn at random.

Where it departs from the paper and from HpBandSter:

- Inactive dimensions are factored out: a kernel that lacks a dimension says nothing about it. HpBandSter fills them
  with random values of other configurations, which blurs both densities in every conditional dimension.
- Configurations that run now count among the others, so that workers side by side do not try the same.
- One draw from l decides the branch of a conditional space, as in `hpo.samplers.tpe`, for the same reason.
- Bandwidths are those of `hpo.samplers.parzen`: Scott's rule on a variance that is drawn towards the prior's, and not
  below 1/100 of a range (HpBandSter: 1/1000).
"""

from dataclasses import dataclass, replace

import numpy as np

from hpo.history import History
from hpo.layout import Layout
from hpo.samplers.parzen import Parzen, features, scott, with_prior
from hpo.samplers.tpe import ranked, thin
from hpo.space import Array, SearchSpace, Value


@dataclass(frozen=True)
class KDESampler:
    """Proposes the candidate with the largest l(x) / g(x), or a random one.

    Attributes:
        rho: share of random configurations.
        q: share of the observations that is good.
        n_samples: N_s, candidates drawn from l with widened bandwidths.
        widening: b_w, the factor on the bandwidths that candidates are drawn with.
        max_others: bound on the observations in g; beyond it they are thinned evenly in order of loss.
        prior_weight: of the uniform prior in either density, in observations.
    """

    rho: float = 1 / 3
    q: float = 0.15
    n_samples: int = 64
    widening: float = 3.0
    max_others: int = 500
    prior_weight: float = 0.1

    def least(self, space: SearchSpace) -> int:
        """N_min + 2 observations, N_min = d + 1."""
        return len(space) + 3

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Value]:
        """The next configuration."""
        space = history.space
        if rng.random() < self.rho or np.isfinite(history.losses).sum() < self.least(space):
            return space.sample(rng)
        layout, n_min = space.layout, len(space) + 1
        order = ranked(history.losses)
        n_good = min(max(n_min, round(self.q * len(order))), int(np.isfinite(history.losses).sum()))
        others = thin(order[n_good:], self.max_others)
        below = self._density(layout, history.x[order[:n_good]], history.weights[order[:n_good]])
        above = self._density(
            layout,
            np.concatenate([history.x[others], history.pending]),
            np.concatenate([history.weights[others], np.ones(len(history.pending))]),
        )
        wide = replace(below, bandwidths=np.minimum(self.widening * below.bandwidths, 1.0))
        draws = wide.sample(rng, self.n_samples)
        draws[:, layout.parents] = draws[0, layout.parents]
        candidates = space.deactivate(space.snap(draws))
        phi = features(layout, candidates)
        return space.decode(candidates[np.argmax(below.log_density(phi) - above.log_density(phi))])

    def _density(self, layout: Layout, x: Array, weights: Array) -> Parzen:
        centres, weights = with_prior(x, weights, self.prior_weight)
        return Parzen(layout, centres, weights, scott(layout, centres, weights, self.prior_weight))
