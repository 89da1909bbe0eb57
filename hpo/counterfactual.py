"""What a search without a past would have found, by a model of a study's own trials.

The model is a Gaussian process on the normal scores of the study's losses, with the kernel's
lengths given and signal and noise by maximum marginal likelihood. A simulated search asks the
study's own sampler, as a new study would, and gets for each configuration a draw from the model's
posterior, conditioned on the draws before it and with the noise added; so what nobody has tried may
be good or bad. First points that the study has tried have the losses that it saw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky
from scipy.special import ndtri
from scipy.stats import rankdata

from hpo.arrays import FloatArray
from hpo.past import Past, matern, surprise
from hpo.samplers import Sampler
from hpo.schedulers.full import Full
from hpo.storage import MemoryStorage
from hpo.study import FirstPoint, Study
from hpo.trial import Report

SIGNALS, NOISES = (
    (0.25, 0.5, 1.0, 2.0),
    (0.05, 0.15, 0.4, 1.0),
)  # variances, where the losses have variance 1
PRIOR = 10.0  # variance of the mean level


@dataclass(frozen=True)
class OwnModel:
    """A Gaussian process on a study's own results: levels `(n,)` at points `(n, p)` in units of the kernel's length."""

    points: FloatArray
    levels: FloatArray
    signal: float
    noise: float

    @classmethod
    def fitted(cls, points: FloatArray, losses: FloatArray) -> "OwnModel":
        """With the signal and the noise under which the losses `(n,)` are most likely."""
        y = normal_scores(losses)
        kernel = matern(points, points)
        eye = np.eye(len(y))
        scored = [
            (-surprise(PRIOR + s * kernel + e * eye, y), s, e) for s in SIGNALS for e in NOISES
        ]
        _, signal, noise = max(scored)
        return cls(points, y, signal, noise)

    def draw(
        self, at: FloatArray, drawn: FloatArray, values: FloatArray, rng: np.random.Generator
    ) -> float:
        """A value at a point `(p,)`, given the `values` `(m,)` that were drawn at points `(m, p)` before."""
        x, y = np.concatenate([self.points, drawn]), np.concatenate([self.levels, values])
        known = PRIOR + self.signal * matern(x, x) + self.noise * np.eye(len(x))
        cross = PRIOR + self.signal * matern(at[None], x)[0]
        factor = (cholesky(known, lower=True), True)
        mean = cross @ cho_solve(factor, y)
        variance = PRIOR + self.signal - cross @ cho_solve(factor, cross)
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
    """`(n,)` best levels so far of a study with losses `(n,)`, and `(repeats, n)` those of simulated searches.

    Args:
        past: whose space and kernel are used.
        x: `(n, d)` codes of the study's trials, in order.
        losses: theirs, infinite where a trial failed.
        sampler: that of the study, without a past.
        first_points: that a study without a past begins with.
        lag: how many trials back a result must lie to be seen.
        seed: of the draws.
        repeats: how many searches.
    """
    model = OwnModel.fitted(past.points(x), losses)
    known = {code.tobytes(): float(level) for code, level in zip(x, model.levels, strict=True)}
    runs = []
    for run in range(repeats):
        rng = np.random.default_rng([seed, run])
        study = Study(
            past.space,
            sampler,
            Full(1.0),
            MemoryStorage(),
            seed=int(rng.integers(2**31)),
            max_trials=len(losses),
            first_points=first_points,
            lag=lag,
        )
        runs.append(_searched(study, past, model, known, rng))
    return np.minimum.accumulate(model.levels), np.minimum.accumulate(np.array(runs), axis=1)


def normal_scores(losses: FloatArray) -> FloatArray:
    """Losses `(n,)` by rank, as quantiles of a normal distribution: so the model's tails are those of the trials."""
    return np.asarray(ndtri((rankdata(losses) - 0.5) / len(losses)))


def _searched(
    study: Study,
    past: Past,
    model: OwnModel,
    known: Mapping[bytes, float],
    rng: np.random.Generator,
) -> list[float]:
    """The levels of a simulated search's trials; those of codes that are `known` are what they were."""
    drawn, values = np.empty((0, model.points.shape[1])), np.empty(0)
    found: list[float] = []
    while (trial := study.ask()) is not None:
        code = past.space.encode(trial.params)
        value = known.get(code.tobytes())
        if value is None:
            at = past.points(code[None])
            value = model.draw(at[0], drawn, values, rng)
            drawn, values = np.concatenate([drawn, at]), np.append(values, value)
        found.append(value)
        study.tell(trial.number, Report(1.0, value))
    return found
