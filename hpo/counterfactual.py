"""Simulated searches without past studies, on a model of a study's own trials.

The model is a Gaussian process on the normal scores of the study's losses; the kernel's lengths are
given, signal and noise maximise the marginal likelihood. A simulated search asks the study's own
sampler, like a new study, and each configuration gets a draw from the model's posterior,
conditioned on the previous draws and with noise added. Configurations far from all trials may
therefore be good or bad. First points that the study has tried get the losses that it observed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.linalg import cho_solve, cholesky
from scipy.special import ndtri
from scipy.stats import rankdata

from hpo.arrays import FloatArray
from hpo.kernels import matern, negative_log_likelihood
from hpo.past import Past
from hpo.samplers import Sampler
from hpo.schedulers.full import Full
from hpo.storage import MemoryStorage
from hpo.study import FirstPoint, Study, StudySettings
from hpo.trial import Report

SIGNALS = (0.25, 0.5, 1.0, 2.0)  # variances to choose from, where the losses have variance 1
NOISES = (0.05, 0.15, 0.4, 1.0)
MEAN_VARIANCE = 10.0  # of the prior of the mean


@dataclass(frozen=True)
class OwnModel:
    """A Gaussian process on a study's own results.

    Attributes:
        points: `(n, p)` in units of the kernel's lengths.
        scores: `(n,)` normal scores of the losses.
        signal: variance of the process.
        noise: variance of the noise.
    """

    points: FloatArray
    scores: FloatArray
    signal: float
    noise: float

    @classmethod
    def fitted(cls, points: FloatArray, losses: FloatArray) -> "OwnModel":
        """The model with the signal and noise under which losses `(n,)` are most likely."""
        y = normal_scores(losses)
        kernel = matern(points, points)

        def misfit(variances: tuple[float, float]) -> float:
            signal, noise = variances
            covariance = MEAN_VARIANCE + signal * kernel + noise * np.eye(len(y))
            return negative_log_likelihood(covariance, y)

        return cls(points, y, *min(product(SIGNALS, NOISES), key=misfit))

    def draw(
        self, at: FloatArray, drawn: FloatArray, values: FloatArray, rng: np.random.Generator
    ) -> float:
        """A random score at point `(p,)`, given the `values` `(m,)` drawn before at `(m, p)`."""
        x, y = np.concatenate([self.points, drawn]), np.concatenate([self.scores, values])
        known = MEAN_VARIANCE + self.signal * matern(x, x) + self.noise * np.eye(len(x))
        cross = MEAN_VARIANCE + self.signal * matern(at[None], x)[0]
        factor = (cholesky(known, lower=True), True)
        mean = cross @ cho_solve(factor, y)
        variance = MEAN_VARIANCE + self.signal - cross @ cho_solve(factor, cross)
        return float(mean + np.sqrt(max(variance, 0.0) + self.noise) * rng.normal())


def without_past(
    past: Past,
    x: FloatArray,
    losses: FloatArray,
    sampler: Sampler,
    first_points: Sequence[FirstPoint],
    *,
    lag: int,
    seed: int,
    repeats: int,
) -> tuple[FloatArray, FloatArray]:
    """The best scores so far of a study, and those of simulated searches without past studies.

    Args:
        past: gives the space and the kernel.
        x: `(n, d)` codes of the study's trials, in order.
        losses: `(n,)`, infinite where a trial failed.
        sampler: the study's sampler, without past studies.
        first_points: the first points of a study without past studies.
        lag: the study's lag.
        seed: seed of the simulations.
        repeats: how many searches to simulate.

    Returns:
        Best scores so far, `(n,)` of the study and `(repeats, n)` of the simulated searches.
    """
    model = OwnModel.fitted(past.points(x), losses)
    known = {code.tobytes(): float(score) for code, score in zip(x, model.scores, strict=True)}
    simulated = np.empty((repeats, len(losses)))
    for run in range(repeats):
        rng = np.random.default_rng([seed, run])
        study = Study(
            past.space,
            sampler,
            Full(1.0),
            MemoryStorage(),
            seed=int(rng.integers(2**31)),
            max_trials=len(losses),
            settings=StudySettings(first_points=first_points, lag=lag),
        )
        simulated[run] = _searched(study, past, model, known, rng)
    return np.minimum.accumulate(model.scores), np.minimum.accumulate(simulated, axis=1)


def normal_scores(losses: FloatArray) -> FloatArray:
    """The normal quantiles `(n,)` of the ranks of losses `(n,)`; insensitive to outliers."""
    return np.asarray(ndtri((rankdata(losses) - 0.5) / len(losses)))


def _searched(
    study: Study,
    past: Past,
    model: OwnModel,
    known: Mapping[bytes, float],
    rng: np.random.Generator,
) -> list[float]:
    """The scores of a simulated search; configurations in `known` keep the score they had."""
    drawn, values = np.empty((0, model.points.shape[1])), np.empty(0)
    scores: list[float] = []
    while (trial := study.ask()) is not None:
        code = past.space.encode(trial.params)
        score = known.get(code.tobytes())
        if score is None:
            at = past.points(code[None])
            score = model.draw(at[0], drawn, values, rng)
            drawn, values = np.concatenate([drawn, at]), np.append(values, score)
        scores.append(score)
        study.tell(trial.number, Report(1.0, score))
    return scores
