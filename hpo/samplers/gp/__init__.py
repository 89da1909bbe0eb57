"""Bayesian optimisation with a Gaussian process.

Jones, Schonlau & Welch (1998), "Efficient global optimization of expensive black-box functions",
Journal of Global Optimization 13; Snoek, Larochelle & Adams (2012), "Practical Bayesian
optimization of machine learning algorithms", NeurIPS 25; Ament et al. (2023), "Unexpected
improvements to expected improvement for Bayesian optimization", NeurIPS 36 (the logarithm).

- The **process** (`hpo.samplers.gp.process`) has one length for each parameter, and knows choices
  and conditions; its lengths, signal and noise are fitted anew for each suggestion.
- **Losses** are bent: bad ones count by their logarithm (`hpo.samplers.gp.losses`).
- The **acquisition** is maximised by random search and local search, over codes that decode to
  themselves, so steps, choices and conditions need no special case.
- **Pending** configurations count as if they had the expected loss (the kriging believer of
  Ginsbourger, Le Riche & Carraro 2010, "Kriging is well-suited to parallelize optimization").
- **Noise** makes the process uncertain everywhere, and the acquisition then prefers the corners of
  the space. So `tpe` proposes a share of the configurations, twice that of noise in the variance;
  all where noise is the larger part.
- **Known** configurations, and those right beside one, are not proposed. A process that is too sure
  of itself would otherwise return to the same spot again and again.
- **Start-up** points are spread out, as those of `tpe`.

The time of a suggestion is bounded, because the process knows at most `MAX_RESULTS` results.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpo.arrays import FloatArray
from hpo.history import History
from hpo.samplers.gp.acquisition import (
    log_expected_improvement,
    log_probability_of_improvement,
)
from hpo.samplers.gp.losses import bent
from hpo.samplers.gp.process import Process
from hpo.samplers.gp.search import maximise
from hpo.samplers.settings import Range, Settings, setting
from hpo.samplers.tpe import TPESampler, believed, ranked, start_up, thin
from hpo.space import SearchSpace, Value

MAX_RESULTS = 200  # that the process is conditioned on
EI, UCB, PI = "ei", "ucb", "pi"
_TPE = TPESampler()
_DISTANCE = 0.1  # from known configurations, in edges of the unit cube, times their number


@dataclass(frozen=True)
class GPSampler(Settings):
    """Proposes the configuration with the largest acquisition.

    Attributes:
        acquisition: what a configuration is worth: `ei`, the logarithm of the expected improvement;
            `ucb`, the upper confidence bound (here of the negative loss); or `pi`, the probability
            of improvement.
        kappa: for `ucb`: how many standard deviations the bound is from the mean.
        xi: for `ei` and `pi`: the improvement that does not count, in standard deviations of the
            losses.
        restarts: local searches of a suggestion.
        n_startup: observations before the process is used; until then points are spread out.
    """

    acquisition: str = setting(EI, (EI, UCB, PI))
    kappa: float = setting(2.0, Range(at_least=0))
    xi: float = setting(0.0, Range(at_least=0))
    restarts: int = setting(8, Range(at_least=1, at_most=1000))
    n_startup: int = setting(8, Range(at_least=1))

    def mistakes(self) -> Iterator[str]:
        """What is wrong with the settings, and which are without effect."""
        yield from super().mistakes()
        if self.acquisition != UCB and self.kappa != GPSampler.kappa:
            yield f"kappa={self.kappa} is for acquisition=ucb; leave it out"
        if self.acquisition == UCB and self.xi != GPSampler.xi:
            yield f"xi={self.xi} is for acquisition=ei and pi; leave it out"

    def min_results(self, space: SearchSpace) -> int:
        """The start-up observations."""
        return self.n_startup

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Value]:
        """The next configuration."""
        space = history.space
        if len(history) < self.n_startup:
            return start_up(history, rng)
        rows = best_and_spread(history.losses, MAX_RESULTS)
        x = history.x[rows]
        process = Process.fitted(space, x, bent(history.losses[rows]), history.pending)
        if rng.random() < 2 * process.noise / (process.signal + process.noise):
            return _TPE.suggest(history, rng)
        known = np.concatenate([x, history.pending])
        best, distance = float(process.at(known).mean.min()), _DISTANCE / len(known)

        def value(codes: FloatArray) -> FloatArray:
            found = process.at(codes)
            worth = self._acquisition(found.mean, found.sd, best) + believed(history, codes)
            return np.where(found.nearest < distance, -np.inf, worth)

        starts = x[: self.restarts]
        if space.belief is not None:
            draws = space.codes.snap(space.belief.sample(rng, self.restarts))
            starts = np.concatenate([starts, space.codes.deactivate(draws)])
        return space.decode(maximise(space, value, starts, self.restarts, rng))

    def _acquisition(self, mean: FloatArray, sd: FloatArray, best: float) -> FloatArray:
        if self.acquisition == UCB:
            return np.asarray(self.kappa * sd - mean)
        of = log_expected_improvement if self.acquisition == EI else log_probability_of_improvement
        return of(mean, sd, best - self.xi)


def best_and_spread(losses: FloatArray, limit: int) -> NDArray[np.intp]:
    """At most `limit` rows, best first: the best ones, and as many evenly spaced others."""
    order = ranked(losses)
    half = (limit + 1) // 2
    return np.concatenate([order[:half], thin(order[half:], limit - half)])
