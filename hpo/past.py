"""The expectation that past studies have of a configuration in this one, and its trustworthiness.

A hierarchical Gaussian process over all past studies and the new one, a multi-task model as in
Swersky, Snoek & Adams (2013), "Multi-task Bayesian optimization", NeurIPS 26, eq. 6. The score of
configuration x in study t is

    score_t(x) = f(x) + g_t(x) + h_t(x) + noise,

where f, g and h are Gaussian processes with one kernel k over configurations:

- **f** is shared by all studies.
- **g** is similar in studies of similar tables: its covariance is k times their similarity.
- **h** is specific to a table, and shared by the studies of that table.
- **k** is Matérn 5/2 with one length for each parameter, the maximum of the summed marginal
  likelihoods of all past studies (Wang et al. 2024, "Pre-trained Gaussian processes for Bayesian
  optimization", JMLR 25). Which parameters matter is much the same for all tables, even if the best
  values differ.
- The **mean** is the score of a bad configuration. Searches leave bad regions early, so regions
  without trials are likely to be bad.

The variances of the four parts are fitted to the past studies. Scores of real trainings are noisy:
about a third of the variance within a study is noise, so a single good score means little, while
many studies that agree mean much.

The **trust** measures how well the past ranks this study's results (Kendall's tau), as the mean of
a normal posterior whose prior is the usual agreement. A few results therefore change it little.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky
from scipy.optimize import minimize

from hpo.arrays import FloatArray
from hpo.kernels import (
    KernelFit,
    Prior,
    coordinates,
    matern,
    negative_log_likelihood,
    owners,
)
from hpo.samplers.tpe import ranked, thin
from hpo.samplers.tpe.seconds import Durations
from hpo.space import SearchSpace

BAD_SCORE = 1.0  # of a bad configuration; a study's scores have mean 0 and standard deviation 1
USUAL_VARIANCES = (0.3, 0.4, 0.3, 0.5)  # of f, g, h and the noise, a priori
STUDY_VARIANCE = 0.5  # of a past study's mean score: some studies tried better configurations
MAX_RESULTS = 800  # of past studies that the process is conditioned on
SAME = 0.99  # kernel value above which two configurations count as the same
N_BEST = 5  # configurations of each past study that may become first points
TAU_MEAN = 0.3  # Kendall's tau between the past and a new study's results, a priori: its mean
TAU_SD = 0.2  # and its standard deviation
TAU_NOISE = 2 / 3  # standard deviation of the tau of n random rankings, times sqrt(n)

# of the kernel within one study; nothing is known about signal and noise but their bounds
_LENGTH = Prior(0.5, 3.0, np.log(0.1), np.log(10.0))
_SIGNAL = Prior(0.0, np.inf, -4.0, 4.0)
_NOISE = Prior(-2.0, np.inf, -6.0, 1.0)
_FIT_STUDIES, _FIT_TRIALS = 24, 40  # to which the lengths are fitted
_FIT_RESULTS = 400  # to which the variances are fitted
_LOG_VARIANCE_SD = 2.0  # of the prior of the logarithm of a variance


def standardised(losses: FloatArray) -> FloatArray:
    """Losses `(n,)` of one study as scores that are comparable between studies.

    The scores are logarithms of the distance to the best loss, in units of the median distance, so
    that differences among good configurations count. They have mean 0 and standard deviation 1, or
    are all 0 where the losses are equal.
    """
    best = losses.min()
    width = float(np.median(losses) - best) or 1.0
    scores = np.log(0.1 + (losses - best) / width)
    return np.asarray((scores - scores.mean()) / (scores.std() or 1.0))


@dataclass(frozen=True)
class PastSource:
    """A past study, encoded in the space of the new one.

    Attributes:
        name: of the study.
        x: `(n, d)` codes of its configurations.
        scores: `(n,)` standardised losses.
        similarity: of its table to that of the new study, from 0 to 1.
        table: equal for studies of one table; empty if unknown.
        same_table: whether that is the table of the new study.
        kinship: correlation with other studies, given their tables; less than 1 for another metric
            or model family.
        seconds: `(n,)` of its trainings, 0 where unknown; empty for another model family.
    """

    name: str
    x: FloatArray
    scores: FloatArray
    similarity: float = 1.0
    table: str = ""
    same_table: bool = False
    kinship: float = 1.0
    seconds: FloatArray = field(default_factory=lambda: np.empty(0))

    def best(self, n: int) -> NDArray[np.intp]:
        """Rows of the `n` best configurations, best first."""
        return ranked(self.scores)[:n]

    def thinned(self, n: int) -> "PastSource":
        """This study with at most `n` configurations, evenly spaced by rank, best first."""
        rows = thin(ranked(self.scores), n)
        return replace(self, x=self.x[rows], scores=self.scores[rows])


@dataclass(frozen=True, eq=False)
class Past:
    """One or more past studies, encoded in one space.

    Attributes:
        space: the space of the new study.
        sources: the past studies.
        alike: `(s, s)` similarities of their tables, from 0 to 1; None if they are all equal.
    """

    space: SearchSpace
    sources: tuple[PastSource, ...]
    alike: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.sources)

    @cached_property
    def lengths(self) -> FloatArray:
        """`(d,)` lengths of the kernel, in edges of the unit cube."""
        chosen = sorted(self.sources, key=lambda source: -source.similarity)[:_FIT_STUDIES]
        n = min(_FIT_TRIALS, *(len(source.x) for source in chosen))
        thinned = [source.thinned(n) for source in chosen]
        x = np.stack([source.x for source in thinned])
        scores = np.stack([source.scores for source in thinned])
        fit = KernelFit.of(self.space, x, scores, _LENGTH, _SIGNAL, _NOISE)
        return fit.most_likely()[: len(self.space)]

    @cached_property
    def durations(self) -> Durations:
        """What the past studies know of the seconds that a training takes."""
        known = [(source.x, source.seconds) for source in self.sources if len(source.seconds)]
        return Durations.of(self.space, known)

    def points(self, x: FloatArray) -> FloatArray:
        """`(m, p)` coordinates of the codes `(m, d)` in units of the kernel's lengths."""
        return coordinates(self.space, x) / self.lengths[owners(self.space)]

    @cached_property
    def variances(self) -> FloatArray:
        """`(4,)` of f, g, h and the noise: the most likely ones given the past."""
        known = self._known
        every = thin(np.arange(len(known.scores)), _FIT_RESULTS)
        results = _Results(known.points[every], known.scores[every], known.study[every])
        kernel = matern(results.points, results.points)
        y, usual = results.scores - BAD_SCORE, np.log(USUAL_VARIANCES)

        def loss(logs: FloatArray) -> float:
            prior = 0.5 * float(((logs - usual) ** 2).sum() / _LOG_VARIANCE_SD**2)
            return (
                negative_log_likelihood(self._covariance(kernel, results, np.exp(logs)), y) + prior
            )

        options = {"maxiter": 80, "xatol": 0.05, "fatol": 0.05}
        return np.asarray(np.exp(minimize(loss, usual, method="Nelder-Mead", options=options).x))

    def expected(self, x: FloatArray) -> FloatArray:
        """`(m,)` expected scores at codes `(m, d)`; smaller is better."""
        return np.asarray(
            BAD_SCORE + matern(self.points(x), self._known.points) @ self._coefficients
        )

    def trust(self, x: FloatArray, losses: FloatArray) -> float:
        """The trust after results `(n,)` at codes `(n, d)`, from 0 (none) to 1 (the usual)."""
        return float(self.trust_after_each(x, losses)[-1]) if len(losses) else 1.0

    def trust_after_each(self, x: FloatArray, losses: FloatArray) -> FloatArray:
        """`(n,)` the trust after each of the results; takes time and memory quadratic in n."""
        n = np.arange(1, len(losses) + 1)
        agreed = np.tril(_order(self.expected(x)) * _order(losses)).sum(axis=1).cumsum()
        tau = agreed / np.maximum(n * (n - 1) / 2, 1)
        prior_precision, precision = TAU_SD**-2, np.where(n > 1, n, 0) / TAU_NOISE**2
        posterior = (prior_precision * TAU_MEAN + precision * tau) / (prior_precision + precision)
        return np.asarray(np.clip(posterior / TAU_MEAN, 0.0, 1.0))

    def leaders(self) -> FloatArray:
        """`(m, d)` codes of the best few configurations of each past study."""
        return np.concatenate([source.x[source.best(N_BEST)] for source in self.sources])

    def best_on_same_table(self, taken: FloatArray, n: int) -> list[tuple[str, FloatArray]]:
        """The best configurations of past studies of this very table, best expectation first.

        Args:
            taken: `(m, d)` codes; configurations next to one of them are left out.
            n: how many to return at most.

        Returns:
            Names of studies with the codes `(d,)`; no two configurations are next to each other.
        """
        leaders = [
            (source.name, code)
            for source in self.sources
            if source.same_table
            for code in source.x[source.best(N_BEST)]
        ]
        if not leaders:
            return []
        codes = np.array([code for _, code in leaders])
        found: list[tuple[str, FloatArray]] = []
        for i in np.argsort(self.expected(codes), kind="stable"):
            kernel = matern(self.points(codes[i : i + 1]), self.points(taken))
            if len(found) < n and kernel.max(initial=0.0) <= SAME:
                found.append(leaders[i])
                taken = np.concatenate([taken, codes[i : i + 1]])
        return found

    @cached_property
    def _known(self) -> "_Results":
        """The results that the process is conditioned on: the same number of each study."""
        each = max(MAX_RESULTS // len(self.sources), 3)
        thinned = [source.thinned(each) for source in self.sources]
        x = np.concatenate([source.x for source in thinned])
        scores = np.concatenate([source.scores for source in thinned])
        study = np.repeat(np.arange(len(thinned)), [len(source.x) for source in thinned])
        return _Results(self.points(x), scores, study)

    @cached_property
    def _coefficients(self) -> FloatArray:
        """`(n,)` the factor of each known result's kernel in the expected score."""
        known, variances = self._known, self.variances
        covariance = self._covariance(matern(known.points, known.points), known, variances)
        solved = cho_solve((cholesky(covariance, lower=True), True), known.scores - BAD_SCORE)
        shared, similar, own, _ = variances
        similarity = np.array([source.similarity for source in self.sources])
        same_table = np.array([source.same_table for source in self.sources])
        of_study = self._relations.kinships * (shared + similar * similarity + own * same_table)
        return np.asarray(of_study[known.study] * solved)

    def _covariance(
        self, kernel: FloatArray, results: "_Results", variances: FloatArray
    ) -> FloatArray:
        """`(n, n)` covariance of past results with the kernel `(n, n)`."""
        of_studies = self._relations.covariance(variances)
        same_study = results.study[:, None] == results.study
        signal = kernel * of_studies[np.ix_(results.study, results.study)]
        noise = variances[-1] * np.eye(len(kernel))
        return np.asarray(signal + STUDY_VARIANCE * same_study + noise)

    @cached_property
    def _relations(self) -> "_Relations":
        return _Relations(self.sources, self.alike)


class _Relations:
    """How the scores of past studies vary together, whatever their configurations.

    Args:
        sources: the past studies.
        alike: `(s, s)` similarities of their tables; None if they are all equal.

    Attributes:
        kinships: `(s,)` the kinship of each study.
    """

    def __init__(self, sources: Sequence[PastSource], alike: FloatArray | None) -> None:
        self.kinships = np.array([source.kinship for source in sources])
        tables = np.array([source.table or str(i) for i, source in enumerate(sources)])
        self._same_table = np.asarray(tables[:, None] == tables, dtype=float)
        n = len(sources)
        self._similarities = np.ones((n, n)) if alike is None else _nearest_covariance(alike)

    def covariance(self, variances: FloatArray) -> FloatArray:
        """`(s, s)` covariance of the scores of one configuration, from the four variances."""
        shared, similar, own, _ = variances
        found = shared + similar * self._similarities + own * self._same_table
        found = found * np.outer(self.kinships, self.kinships)
        np.fill_diagonal(found, shared + similar + own)
        return np.asarray(found)


def _nearest_covariance(alike: FloatArray) -> FloatArray:
    """`(s, s)` the covariance nearest to `alike`, which may be none if values are missing."""
    values, vectors = np.linalg.eigh(alike)
    return np.asarray((vectors * np.maximum(values, 0.0)) @ vectors.T)


@dataclass(frozen=True)
class _Results:
    """Scores `(n,)` at points `(n, p)`, and the index `(n,)` of the study of each."""

    points: FloatArray
    scores: FloatArray
    study: NDArray[np.intp]


def _order(values: FloatArray) -> FloatArray:
    """`(n, n)` signs of all differences of values `(n,)`, which may be infinite."""
    return np.asarray((values[:, None] > values) * 1.0 - (values[:, None] < values))
