"""A sampler that starts where past studies expect good results, and goes on as the study's own sampler.

Start-up points are spread out as without a past, but over the better part of the space: each is the
farthest from all others among a few random configurations, those that past studies (`hpo.past`)
expect most of. How many they are chosen from follows the trust in the past. A past that misleads
leaves the start-up points where they would be without it.

After the start-up the study's own sampler decides. On real trainings, past studies say little about
which of the good configurations is best on another table, and no search that listened to them
longer was ahead of one without a past (`docs/warm-start.md`).
"""

from dataclasses import dataclass

import numpy as np

from hpo.history import History
from hpo.past import Past
from hpo.samplers import Sampler
from hpo.samplers.tpe import farthest
from hpo.space import SearchSpace, Value

KEPT = 8  # random configurations among which the farthest is chosen
OUT_OF = 4  # times as many are drawn where the past is trusted


@dataclass(frozen=True)
class LearnedSampler:
    """Spreads start-up points over what past studies expect to be good; then asks the study's own sampler.

    Attributes:
        past: what past studies know.
        own: the study's own sampler.
    """

    past: Past
    own: Sampler

    def least(self, space: SearchSpace) -> int:
        """As many as the study's own sampler starts with."""
        return self.own.least(space)

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Value] | None:
        """The next configuration."""
        space = history.space
        if len(history) >= self.own.least(space):
            return self.own.suggest(history, rng)
        trust = self.past.trust(history.x, history.losses)
        draws = space.sample_unit(rng, round(KEPT * (1 + (OUT_OF - 1) * trust)))
        expected = self.past.expected(space.deactivate(space.snap(draws)))
        kept = draws[np.argsort(expected, kind="stable")[:KEPT]]
        return space.decode(farthest(space, kept, np.concatenate([history.x, history.pending])))
