"""What past studies expect of a configuration, and how far they can be trusted here.

A Gaussian process whose kernel and mean are learned from past studies, as in Wang et al. (2024), "Pre-trained Gaussian
processes for Bayesian optimization", JMLR 25, but with one surrogate for each past study:

- **Kernel**: Matérn 5/2 with one length for each parameter, the maximum of the summed marginal likelihoods of all past
  studies. Which parameters matter is much the same from table to table, even where the best values are not.
- **Mean**: each past study's own posterior mean. Away from all observations it is the worst score that was seen: a
  search leaves the regions that it found bad, so what it did not try is no better.
- **Weights**: by how alike the tables are and, as results come in, by how well each past study ranks them: the share of
  pairs that it orders rightly minus that of those it does not (Kendall's tau), the ranking loss of Feurer, Letham &
  Bakshy (2018), "Scalable meta-learning for Bayesian optimization using ranking-weighted Gaussian process ensembles".
  The same measure of the weighted mean, of what it said of each result before it was known, is the **trust** in it.
  Past studies that mislead lose their weight first and, when all of them do, any influence.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from hpo.parameters import Array
from hpo.samplers.tpe import ranked, thin
from hpo.space import SearchSpace

NOISE = 0.1  # of the scores that past studies are fitted to, which have variance 1
EVEN = 0.5  # share of the weight that does not depend on similarity
EVIDENCE = 1.0  # how fast agreement moves the weights, for each result
LEAST = 3  # results from which trust is measured
SLIGHT = 1e-3  # a weight that nobody would notice
COPY = 0.99  # of the kernel: two configurations that are so alike are one
LEADERS = 5  # configurations of each past study that may become first points

_FIT_STUDIES, _FIT_TRIALS = 24, 40  # that the lengths are fitted to
_USUAL, _SPREAD = 0.5, 3.0  # logarithm of a length, a priori: normal
_FLAG = 0.5  # distance between a conditional parameter's being active and not, in its edges of the cube


def standardised(losses: Array) -> Array:
    """Losses `(n,)` of one study as scores that compare with those of others: mean 0, deviation 1.

    Logarithms of the distance from the best, in units of the median's, so that differences among good configurations
    count.
    """
    best = losses.min()
    width = float(np.median(losses) - best) or 1.0
    scores = np.log(0.1 + (losses - best) / width)
    return np.asarray((scores - scores.mean()) / (scores.std() or 1.0))


@dataclass(frozen=True)
class Source:
    """A past study in the space of this one: codes `(n, d)`, scores `(n,)` (less is better), similarity from 0 to 1."""

    name: str
    x: Array
    scores: Array
    similarity: float


@dataclass(frozen=True)
class Past:
    """At least one past study, in one space."""

    space: SearchSpace
    sources: tuple[Source, ...]

    def __len__(self) -> int:
        return len(self.sources)

    @cached_property
    def similarities(self) -> Array:
        """`(s,)` weights before any result of this study: half evenly, half by similarity."""
        alike = np.array([source.similarity for source in self.sources])
        return np.asarray(EVEN / len(alike) + (1 - EVEN) * alike / (alike.sum() or 1.0))

    @cached_property
    def lengths(self) -> Array:
        """`(d,)` lengths of the kernel, in edges of the unit cube."""
        chosen = sorted(self.sources, key=lambda source: -source.similarity)[:_FIT_STUDIES]
        n = min(_FIT_TRIALS, *(len(source.x) for source in chosen))
        kept = [thin(ranked(source.scores), n) for source in chosen]
        points = np.stack([_points(self.space, source.x[k]) for source, k in zip(chosen, kept, strict=True)])
        scores = np.stack([source.scores[k] for source, k in zip(chosen, kept, strict=True)])
        return _fitted(points, scores, _owners(self.space), len(self.space))

    def points(self, x: Array) -> Array:
        """What the kernel takes distances in, `(m, p)`, of codes `(m, d)`."""
        return _points(self.space, x) / self.lengths[_owners(self.space)]

    def expected(self, x: Array) -> Array:
        """`(s, m)` scores that each past study expects at codes `(m, d)`."""
        kernel = matern(self.points(x), self._centres)
        kernel *= self._alpha
        return np.asarray(np.add.reduceat(kernel, self._starts, axis=1).T + self._worst[:, None])

    def opinion(self, weights: Array, x: Array) -> Array:
        """`(m,)` scores that the past expects at codes `(m, d)`, by weights `(s,)`; the slightest are left out."""
        heard = np.flatnonzero(weights > SLIGHT)
        rows = np.concatenate(
            [
                np.arange(start, start + len(self._parts[i]))
                for i, start in zip(heard, self._starts[heard], strict=True)
            ]
        )
        shares = np.repeat(weights[heard], [len(self._parts[i]) for i in heard])
        kernel = matern(self.points(x), self._centres[rows])
        return np.asarray(
            (kernel @ (shares * self._alpha[rows]) + weights[heard] @ self._worst[heard])
            / weights[heard].sum()
        )

    def weigh(self, x: Array, losses: Array) -> tuple[Array, float]:
        """Weights `(s,)` of the past studies and the trust in them, 0 to 1, after results `(n,)` at codes `(n, d)`.

        Trust is measured by what was expected of each result just before it was known: among many past studies some
        agree by chance with any few results that chose them.
        """
        if len(losses) < 2:
            return self.similarities, 1.0
        weights, trust = self.course(x, losses)
        return weights[:, -1], float(trust[-1])

    def course(self, x: Array, losses: Array) -> tuple[Array, Array]:
        """Weights `(s, n)` and trust `(n,)` as `weigh` has them after each of the results, one at least."""
        n = len(losses)
        expected = self.expected(x)
        order = np.tril(_order(losses[None])[0])  # (n, n): each result against those before it
        agreed = (_order(expected) * order).sum(axis=2).cumsum(axis=1)
        results = np.arange(1, n + 1)
        pairs = np.maximum(results * (results - 1) / 2, 1)
        evidence = np.log(self.similarities)[:, None] + EVIDENCE * results * agreed / pairs
        weights = np.exp(evidence - evidence.max(axis=0))
        weights /= weights.sum(axis=0)
        then = np.column_stack([self.similarities, weights[:, :-1]])
        foreseen = _order((then * expected).sum(axis=0)[None])[0]
        trust = np.maximum((foreseen * order).sum(axis=1).cumsum() / pairs, 0.0)
        return weights, np.where(results < LEAST, 1.0, trust)

    def leaders(self) -> Array:
        """`(m, d)` codes of the best few configurations of each past study."""
        best = [ranked(source.scores)[:LEADERS] for source in self.sources]
        return np.concatenate([source.x[k] for source, k in zip(self.sources, best, strict=True)])

    def portfolio(self, taken: Array, n: int) -> list[tuple[str, Array]]:
        """Codes `(d,)` that do well together, some one of them on each past study, with the studies they come from.

        Greedy, as in Wistuba, Schilling & Schmidt-Thieme (2015), "Sequential model-free hyperparameter tuning": each
        next one lowers most the weighted mean, over past studies, of the least score that any chosen one has there.
        Those `taken` `(m, d)` are tried anyway, and none that is next to them or to one that is chosen is.
        """
        candidates = self.leaders()
        names = [source.name for source in self.sources for _ in range(min(LEADERS, len(source.x)))]
        expected, alike = self.expected(candidates), matern(self.points(candidates), self.points(candidates))
        least = np.min(self.expected(taken), axis=1, initial=np.inf)
        closed = (matern(self.points(candidates), self.points(taken)) > COPY).any(axis=1)
        chosen: list[int] = []
        while len(chosen) < n and not closed.all():
            value = self.similarities @ np.minimum(expected, least[:, None])
            best = int(np.argmin(np.where(closed, np.inf, value)))
            chosen.append(best)
            closed |= alike[:, best] > COPY
            least = np.minimum(least, expected[:, best])
        return [(names[i], candidates[i]) for i in chosen]

    @cached_property
    def _parts(self) -> list[Array]:
        return [self.points(source.x) for source in self.sources]

    @cached_property
    def _centres(self) -> Array:
        return np.concatenate(self._parts)

    @cached_property
    def _starts(self) -> NDArray[np.intp]:
        return np.cumsum([0, *(len(part) for part in self._parts)])[:-1]

    @cached_property
    def _worst(self) -> Array:
        return np.array([source.scores.max() for source in self.sources])

    @cached_property
    def _alpha(self) -> Array:
        return np.concatenate(
            [
                cho_solve(cho_factor(matern(part, part) + NOISE * np.eye(len(part))), source.scores - worst)
                for part, source, worst in zip(self._parts, self.sources, self._worst, strict=True)
            ]
        )


def _order(values: Array) -> Array:
    """`(s, n, n)` of values `(s, n)`, which may be infinite: 1 where the first is larger, -1 where it is smaller."""
    first, second = values[:, :, None], values[:, None, :]
    return np.asarray((first > second) * 1.0 - (first < second))


def matern(a: Array, b: Array) -> Array:
    """`(m, n)` Matérn 5/2 kernel between points `(m, p)` and `(n, p)` in units of its length."""
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    r = np.sqrt(5 * np.maximum(squared, 0.0))
    return np.asarray((1 + r + r * r / 3) * np.exp(-r))


def _points(space: SearchSpace, x: Array) -> Array:
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


def _fitted(points: Array, scores: Array, owners: NDArray[np.intp], d: int) -> Array:
    """`(d,)` lengths that make the scores `(s, n)` at points `(s, n, p)` most likely, with signal and noise."""
    s, n, _ = points.shape
    y = scores - scores.mean(axis=1, keepdims=True)
    gaps = np.zeros((d, s, n, n))  # squared, by parameter
    for column, owner in enumerate(owners):
        c = points[:, :, column]
        gaps[owner] += (c[:, :, None] - c[:, None]) ** 2
    eye = np.eye(n)

    def loss(theta: Array) -> tuple[float, Array]:
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
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 40})
    return np.asarray(np.exp(found.x[:d]))
