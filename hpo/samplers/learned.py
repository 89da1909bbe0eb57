"""A sampler that starts where past studies expect good results, and continues with another one.

Start-up points are spread out as without past studies, but over the better part of the space: each
is the farthest from all others among the few random configurations that past studies (`hpo.past`)
expect most of. The number of configurations drawn depends on the trust in the past. Without trust,
start-up points are the same as without past studies.

After the start-up, the study's own sampler decides. On real trainings, past studies say little
about which of the good configurations is best on another table, and no search that used them for
longer was ahead of one without (`docs/warm-start.md`).
"""

from dataclasses import dataclass

import numpy as np

from hpo.history import History
from hpo.past import Past
from hpo.samplers import Sampler
from hpo.samplers.tpe import farthest
from hpo.space import SearchSpace, Value

N_CANDIDATES = 8  # random configurations of which the farthest is chosen
MAX_DRAWS = 4  # times as many are drawn with full trust, and the best expected ones are candidates


@dataclass(frozen=True)
class LearnedSampler:
    """Spreads start-up points over the configurations that past studies expect to be good.

    Attributes:
        past: the past studies.
        own: the study's own sampler, used after the start-up.
    """

    past: Past
    own: Sampler

    def min_results(self, space: SearchSpace) -> int:
        """As many as the study's own sampler needs."""
        return self.own.min_results(space)

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Value] | None:
        """The next configuration."""
        space = history.space
        if len(history) >= self.own.min_results(space):
            return self.own.suggest(history, rng)
        trust = self.past.trust(history.x, history.losses)
        draws = space.codes.sample(rng, round(N_CANDIDATES * (1 + (MAX_DRAWS - 1) * trust)))
        expected = self.past.expected(space.codes.deactivate(space.codes.snap(draws)))
        candidates = draws[np.argsort(expected, kind="stable")[:N_CANDIDATES]]
        taken = np.concatenate([history.x, history.pending])
        return space.decode(farthest(space, candidates, taken))
