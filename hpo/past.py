"""What past studies expect of a configuration here, and how far they can be trusted.

A hierarchical Gaussian process over all past studies and the new one, a multi-task model as in
Swersky, Snoek & Adams (2013), "Multi-task Bayesian optimization", NeurIPS 26, eq. 6. The score of
configuration x in study t is

    score_t(x) = f(x) + g_t(x) + h_t(x) + noise,    each a Gaussian process with one kernel k over
    configurations:

- **f** is shared by all studies,
- **g** is alike in studies whose tables are alike: its covariance is k times their similarity,
- **h** is a table's own. Studies of the same table share it.
- **k** is Matérn 5/2 with one length for each parameter, the maximum of the summed marginal
  likelihoods of all past studies (Wang et al. 2024, "Pre-trained Gaussian processes for Bayesian
  optimization", JMLR 25). Which parameters matter is much the same from table to table, even where
  the best values are not.
- The **mean** is the score of a bad configuration: a search leaves the regions that it found bad,
  so what it did not try is no better.

The variances of the four parts are fitted to the past. Real trainings are rough: about a third of
the variance of a study's scores is noise, so a single good score says little and many studies that
agree say much.

**Trust** is how well the past ranks this study's results (Kendall's tau), as a normal posterior: it
begins with what is usual, and few results move it little.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

from hpo.arrays import FloatArray
from hpo.samplers.tpe import ranked, thin
from hpo.space import SearchSpace

BAD = 1.0  # score of a bad configuration, where a study's scores have mean 0 and deviation 1
USUAL = (0.3, 0.4, 0.3, 0.5)  # variances of f, g, h and noise, a priori
LEVEL = 0.5  # variance of a past study's mean score: how good the configurations were that it tried
MOST = 800  # results of past studies that the process is made of
COPY = 0.99  # of the kernel: two configurations that are so alike are one
LEADERS = 5  # configurations of each past study that may become first points
AGREEMENT = 0.3  # Kendall's tau of the past with a new study's results: its mean a priori
DEVIATION = 0.2  # and its deviation
ONE_RESULT = 2 / 3  # deviation of Kendall's tau of n results without order, times sqrt(n)

_FIT_STUDIES, _FIT_TRIALS = 24, 40  # that the lengths are fitted to
_FIT_RESULTS = 400  # that the variances are fitted to
_USUAL, _SPREAD = 0.5, 3.0  # logarithm of a length, a priori: normal
_VARIANCE_SPREAD = 2.0  # deviation of the logarithm of a variance, a priori
_FLAG = (
    0.5  # distance between a conditional parameter's being active and not, in its edges of the cube
)


def standardised(losses: FloatArray) -> FloatArray:
    """Losses `(n,)` of one study as scores that compare with those of others: mean 0, deviation 1.

    Logarithms of the distance from the best, in units of the median's, so that differences among
    good configurations count.
    """
    best = losses.min()
    width = float(np.median(losses) - best) or 1.0
    scores = np.log(0.1 + (losses - best) / width)
    return np.asarray((scores - scores.mean()) / (scores.std() or 1.0))


@dataclass(frozen=True)
class Source:
    """A past study in the space of this one.

    Attributes:
        name: of the study.
        x: `(n, d)` codes of its configurations.
        scores: `(n,)` standardised losses.
        similarity: of its table to that of the new study, from 0 to 1.
        table: equal for studies of one table.
        same_table: whether that is the table of the new study.
        kinship: correlation with other studies, given their tables; less than 1 for another metric
            or family.
    """

    name: str
    x: FloatArray
    scores: FloatArray
    similarity: float = 1.0
    table: str = ""
    same_table: bool = False
    kinship: float = 1.0


@dataclass(frozen=True, eq=False)
class Past:
    """At least one past study, in one space.

    `alike` `(s, s)` is how alike their tables are, from 0 to 1; without it all are equally alike.
    """

    space: SearchSpace
    sources: tuple[Source, ...]
    alike: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.sources)

    @cached_property
    def lengths(self) -> FloatArray:
        """`(d,)` lengths of the kernel, in edges of the unit cube."""
        chosen = sorted(self.sources, key=lambda source: -source.similarity)[:_FIT_STUDIES]
        n = min(_FIT_TRIALS, *(len(source.x) for source in chosen))
        kept = [thin(ranked(source.scores), n) for source in chosen]
        points = np.stack(
            [_points(self.space, source.x[k]) for source, k in zip(chosen, kept, strict=True)]
        )
        scores = np.stack([source.scores[k] for source, k in zip(chosen, kept, strict=True)])
        return _fitted(points, scores, _owners(self.space), len(self.space))

    def points(self, x: FloatArray) -> FloatArray:
        """What the kernel takes distances in, `(m, p)`, of codes `(m, d)`."""
        return _points(self.space, x) / self.lengths[_owners(self.space)]

    @cached_property
    def variances(self) -> FloatArray:
        """`(4,)` of f, g, h and the noise, the most likely ones given the past."""
        known = self._known
        every = thin(np.arange(len(known.scores)), _FIT_RESULTS)
        results = _Results(known.points[every], known.scores[every], known.study[every])
        kernel = matern(results.points, results.points)
        y, usual = results.scores - BAD, np.log(USUAL)

        def loss(logs: FloatArray) -> float:
            far = ((logs - usual) ** 2).sum() / _VARIANCE_SPREAD**2
            return surprise(self._covariance(kernel, results, np.exp(logs)), y) + 0.5 * float(far)

        options = {"maxiter": 80, "xatol": 0.05, "fatol": 0.05}
        return np.asarray(np.exp(minimize(loss, usual, method="Nelder-Mead", options=options).x))

    def expected(self, x: FloatArray) -> FloatArray:
        """`(m,)` scores that the past expects at codes `(m, d)`."""
        return np.asarray(BAD + matern(self.points(x), self._known.points) @ self._pull)

    def trust(self, x: FloatArray, losses: FloatArray) -> float:
        """How far the past can be trusted after results `(n,)` at codes `(n, d)`: 0 not at all, 1 as far as usual."""
        return float(self.course(x, losses)[-1]) if len(losses) else 1.0

    def course(self, x: FloatArray, losses: FloatArray) -> FloatArray:
        """`(n,)`: the trust after each of the results."""
        n = np.arange(1, len(losses) + 1)
        agreed = np.tril(_order(self.expected(x)) * _order(losses)).sum(axis=1).cumsum()
        tau = agreed / np.maximum(n * (n - 1) / 2, 1)
        usual, seen = DEVIATION**-2, np.where(n > 1, n, 0) / ONE_RESULT**2
        return np.asarray(
            np.clip((usual * AGREEMENT + seen * tau) / (usual + seen) / AGREEMENT, 0.0, 1.0)
        )

    def leaders(self) -> FloatArray:
        """`(m, d)` codes of the best few configurations of each past study."""
        best = [ranked(source.scores)[:LEADERS] for source in self.sources]
        return np.concatenate([source.x[k] for source, k in zip(self.sources, best, strict=True)])

    def repeated(self, taken: FloatArray, n: int) -> list[tuple[str, FloatArray]]:
        """Codes `(d,)` of what studies of this very table found best, at most `n`, with the studies they come from.

        They are in order of what the past expects of them; none is next to another one or to those
        `taken` `(m, d)`.
        """
        same = [source for source in self.sources if source.same_table]
        leaders = [(s.name, code) for s in same for code in s.x[ranked(s.scores)[:LEADERS]]]
        if not leaders:
            return []
        codes = np.array([code for _, code in leaders])
        found: list[tuple[str, FloatArray]] = []
        for i in np.argsort(self.expected(codes), kind="stable"):
            near = matern(self.points(codes[i : i + 1]), self.points(taken))
            if len(found) < n and not (near > COPY).any():
                found.append(leaders[i])
                taken = np.concatenate([taken, codes[i : i + 1]])
        return found

    @cached_property
    def _known(self) -> "_Results":
        """The results that the process is made of: of each study evenly many, evenly by rank."""
        each = max(MOST // len(self.sources), 3)
        kept = [thin(ranked(source.scores), each) for source in self.sources]
        return _Results(
            np.concatenate([self.points(s.x[k]) for s, k in zip(self.sources, kept, strict=True)]),
            np.concatenate([s.scores[k] for s, k in zip(self.sources, kept, strict=True)]),
            np.repeat(np.arange(len(kept)), [len(k) for k in kept]),
        )

    @cached_property
    def _pull(self) -> FloatArray:
        """`(n,)` by which each known result moves what is expected of the new study next to it."""
        known, variances = self._known, self.variances
        factor = cholesky(
            self._covariance(matern(known.points, known.points), known, variances), lower=True
        )
        solved = cho_solve((factor, True), known.scores - BAD)
        shared, alike, own, _ = variances
        of_study = np.array(
            [s.kinship * (shared + alike * s.similarity + own * s.same_table) for s in self.sources]
        )
        return np.asarray(of_study[known.study] * solved)

    def _covariance(
        self, kernel: FloatArray, results: "_Results", variances: FloatArray
    ) -> FloatArray:
        """`(n, n)` of the scores of results of past studies with that `kernel` `(n, n)`."""
        shared, alike, own, noise = variances
        of_studies = shared + alike * self._similar + own * self._same_table
        of_studies = of_studies * np.outer(self._kinships, self._kinships)
        np.fill_diagonal(of_studies, shared + alike + own)
        one_study = results.study[:, None] == results.study
        whole = kernel * of_studies[np.ix_(results.study, results.study)] + LEVEL * one_study
        return np.asarray(whole + noise * np.eye(len(kernel)))

    @cached_property
    def _kinships(self) -> FloatArray:
        return np.array([source.kinship for source in self.sources])

    @cached_property
    def _same_table(self) -> FloatArray:
        tables = [source.table or str(i) for i, source in enumerate(self.sources)]
        return np.array([[one == other for other in tables] for one in tables], dtype=float)

    @cached_property
    def _similar(self) -> FloatArray:
        """`alike` as a covariance: similarities that cannot be one, when values are missing, are moved a little."""
        if self.alike is None:
            return np.ones((len(self), len(self)))
        values, vectors = np.linalg.eigh(self.alike)
        return np.asarray((vectors * np.maximum(values, 0.0)) @ vectors.T)


@dataclass(frozen=True)
class _Results:
    """Scores `(n,)` at points `(n, p)`, and the numbers `(n,)` of the studies that they are of."""

    points: FloatArray
    scores: FloatArray
    study: NDArray[np.intp]


def _order(values: FloatArray) -> FloatArray:
    """`(n, n)` of values `(n,)`, which may be infinite: 1 where the first is larger, -1 where it is smaller."""
    return np.asarray((values[:, None] > values) * 1.0 - (values[:, None] < values))


def surprise(covariance: FloatArray, y: FloatArray) -> float:
    """Minus the log likelihood of values `(n,)` under a centred normal distribution, but for a constant."""
    factor = cholesky(covariance, lower=True)
    half = solve_triangular(factor, y, lower=True)
    return float(0.5 * half @ half + np.log(np.diag(factor)).sum())


def matern(a: FloatArray, b: FloatArray) -> FloatArray:
    """`(m, n)` Matérn 5/2 kernel between points `(m, p)` and `(n, p)` in units of its length."""
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    r = np.sqrt(5 * np.maximum(squared, 0.0))
    return np.asarray((1 + r + r * r / 3) * np.exp(-r))


def _points(space: SearchSpace, x: FloatArray) -> FloatArray:
    """`(m, p)` coordinates of codes: ranges as they are and a flag where inactive; one for each choice."""
    ranges = x[:, space.layout.ranges]
    inactive = np.isnan(ranges)
    choices = np.sqrt(0.5) * space.layout.one_hot(x).T  # two that differ lie one edge apart
    return np.concatenate([np.where(inactive, 0.5, ranges), _FLAG * inactive, choices], axis=1)


def _owners(space: SearchSpace) -> NDArray[np.intp]:
    """`(p,)` the parameter that each coordinate belongs to."""
    layout = space.layout
    of_choices = layout.per_choice(layout.choices.astype(float)).astype(np.intp)
    return np.concatenate([layout.ranges, layout.ranges, of_choices])


def _fitted(points: FloatArray, scores: FloatArray, owners: NDArray[np.intp], d: int) -> FloatArray:
    """`(d,)` lengths that make the scores `(s, n)` at points `(s, n, p)` most likely, with signal and noise."""
    s, n, _ = points.shape
    y = scores - scores.mean(axis=1, keepdims=True)
    gaps = np.zeros((d, s, n, n))  # squared, by parameter
    for column, owner in enumerate(owners):
        c = points[:, :, column]
        gaps[owner] += (c[:, :, None] - c[:, None]) ** 2
    eye = np.eye(n)

    def loss(theta: FloatArray) -> tuple[float, FloatArray]:
        logs, signal, noise = theta[:d], np.exp(theta[d]), np.exp(theta[d + 1])
        scaled = gaps * np.exp(-2 * logs)[:, None, None, None]
        r = np.sqrt(5 * scaled.sum(axis=0))
        decay = signal * np.exp(-r)
        kernel = decay * (1 + r + r * r / 3)
        whole = kernel + (noise + 1e-5) * eye
        inverse = np.linalg.inv(whole)
        alpha = (inverse @ y[:, :, None])[:, :, 0]
        sign_and_log = np.linalg.slogdet(whole)[1]
        value = 0.5 * ((y * alpha).sum() + sign_and_log.sum()) / s
        pull = (logs - _USUAL) / _SPREAD**2
        slope = inverse - alpha[:, :, None] * alpha[:, None]  # of the value by the kernel, twice
        by_length = 0.5 * np.einsum("ijk,dijk->d", slope * decay * (5 / 3) * (1 + r), scaled) / s
        by_signal = 0.5 * (slope * kernel).sum() / s
        by_noise = 0.5 * noise * np.trace(slope, axis1=1, axis2=2).sum() / s
        return value + 0.5 * _SPREAD**2 * (pull**2).sum(), np.array(
            [*(by_length + pull), by_signal, by_noise]
        )

    start = np.array([0.0] * d + [0.0, -2.0])
    bounds = [(np.log(0.1), np.log(10.0))] * d + [(-4.0, 4.0), (-6.0, 1.0)]
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 40}
    )
    return np.asarray(np.exp(found.x[:d]))
