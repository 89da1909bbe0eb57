"""The model of BOHB: kernel density estimators of good and of other configurations at one budget.

Falkner, Klein and Hutter (2018), "BOHB: Robust and efficient hyperparameter optimization at scale",
ICML, section 4 and algorithm 2. Letters are the paper's. The observations are those of the largest
budget that has enough of them. A share `rho` of the configurations is drawn at random, so that no
region is ever excluded.

The densities are those of `hpo.samplers.tpe`. They differ from the paper and from HpBandSter:

- Inactive dimensions are factored out: a kernel without a dimension says nothing about it.
  HpBandSter fills them with random values of other configurations, which blurs both densities in
  every conditional dimension.
- Running configurations count among the others, so that parallel workers try different ones.
- One draw from l decides the branch of a conditional space. Bandwidths follow Scott's rule in l and
  the distances to the neighbours in g, with 1/100 of a range as the minimum (HpBandSter: Scott's
  rule in both, minimum 1/1000).
- Five observations are enough, where the paper has d + 3: waiting for that many full trainings
  keeps the model at low budgets, which favour other configurations, for too long.
- rho = 1/20 and b_w = 1 where the paper has 1/3 and 3: a third of random configurations, and
  candidates drawn from widened kernels, cost more than they gain (`docs/benchmarks.md`, replay).
"""

from dataclasses import dataclass

import numpy as np

from hpo.history import History
from hpo.samplers.settings import Range, setting
from hpo.samplers.tpe import TPESampler
from hpo.space import Value


@dataclass(frozen=True)
class KDESampler(TPESampler):
    """Proposes the candidate with the largest l(x) / g(x), or a random one.

    Attributes:
        rho: share of random configurations.
        n_candidates: the paper's N_s; `gamma` is its q, `widening` b_w.
    """

    n_candidates: int = setting(64, Range(at_least=1))
    rho: float = setting(0.05, Range(at_least=0, at_most=1))

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Value]:
        """The next configuration."""
        if len(history) >= self.n_startup and rng.random() < self.rho:
            return history.space.sample(rng)
        return super().suggest(history, rng)
