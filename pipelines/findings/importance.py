"""Which parameters matter: a random forest over unit codes, and exact decompositions of what it has learned.

A regression tree is a function of the unit cube that is constant on boxes. Leaf l has the value v_l
on the box prod_j I_lj, whose sides have the lengths w_lj. Under the uniform distribution all that
is asked here has a closed form:

- variances (functional ANOVA: Hutter, Hoos and Leyton-Brown 2014, "An efficient approach for
  assessing hyperparameter importance"; Sobol' 2001). For a set S of parameters Var(E[f | x_S]) =
  sum_{l,m} u_l u_m prod_{j in S} |I_lj ∩ I_mj| / (w_lj w_mj) - (sum_l u_l)^2, where u_l = v_l
  prod_j w_lj;
- marginals E[f | x_i, x_j], which the contours show;
- Shapley values of one configuration, of the game v(S) = E[f | x_S]: the integral over t in [0, 1]
  of the game's multilinear extension along j (Owen 1972, "Multilinear extensions of games"). A
  leaf's integrand is a polynomial of a degree below the number of its sides, so Gauss-Legendre
  quadrature is exact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from numpy.polynomial.legendre import leggauss

from hpo.arrays import FloatArray

LEAST = 12  # trials; of fewer a forest learns nothing
TREES = 32
_LEAVES = 128  # of a tree; pairs of leaves are what the decomposition costs
_BOOTSTRAP = 2_000  # trials that one tree sees
_PAIRED = 8  # parameters whose interactions are computed
_FAR = 3.0  # interquartile ranges above the upper quartile: where losses are cut


@dataclass(frozen=True)
class Boxes:
    """One tree: `values` (L,) on the boxes from `low` (L, d) to `high` (L, d), which fill the unit cube."""

    values: FloatArray
    low: FloatArray
    high: FloatArray

    def given(self, fixed: Mapping[int, float]) -> "Boxes":
        """The tree where the codes in `fixed` are what they are: it no longer depends on these dimensions."""
        keep = np.ones(len(self.values), dtype=bool)
        for j, code in fixed.items():
            keep &= (self.low[:, j] <= code) & (code < self.high[:, j])
        low, high = self.low[keep], self.high[keep]
        low[:, [*fixed]], high[:, [*fixed]] = 0.0, 1.0
        return Boxes(self.values[keep], low, high)


@dataclass(frozen=True)
class Forest:
    """Trees over the unit cube, of the losses of `trials` trials.

    `explained` is the share of the variance of unseen (out-of-bag) losses that the forest predicts;
    1 is perfect, 0 or less is nothing at all.
    """

    trees: tuple[Boxes, ...]
    explained: float
    trials: int

    def given(self, fixed: Mapping[int, float]) -> "Forest":
        """The forest where some codes are fixed."""
        return replace(self, trees=tuple(tree.given(fixed) for tree in self.trees))


@dataclass(frozen=True)
class Importance:
    """Shares of the forest's variance over the unit cube.

    `main` (d,) is what a parameter explains alone and `spread` (d,) its standard deviation over the
    trees; `total` (d,) is what would be missing without it, interactions included. `pairs` holds
    what two parameters explain together beyond both alone, for the parameters with the largest
    totals.
    """

    main: FloatArray
    spread: FloatArray
    total: FloatArray
    pairs: Mapping[tuple[int, int], float]


def fit(x: FloatArray, losses: FloatArray, seed: int = 0) -> Forest:
    """A forest of losses `(n,)` at unit codes `(n, d)`.

    An inactive parameter (`nan`) gets a random code: whatever it had been, the loss would be the
    same. Losses far above the rest are cut to where Tukey (1977) calls a value far out, or a few
    diverged trainings would be all the variance.
    """
    from sklearn.ensemble import RandomForestRegressor

    filled = np.where(np.isnan(x), np.random.default_rng(seed).random(x.shape), x)
    lower, upper = np.quantile(losses, (0.25, 0.75))
    cut = np.minimum(losses, upper + _FAR * (upper - lower)) if upper > lower else losses
    forest = RandomForestRegressor(
        TREES,
        min_samples_leaf=2 if len(x) < 100 else 3,
        max_features=0.8,
        max_leaf_nodes=_LEAVES,
        max_samples=min(len(x), _BOOTSTRAP),
        oob_score=len(x) >= LEAST,
        random_state=seed,
    ).fit(filled.astype(np.float32), cut)
    trees = tuple(_boxes(estimator.tree_, x.shape[1]) for estimator in forest.estimators_)
    return Forest(trees, float(getattr(forest, "oob_score_", np.nan)), len(x))


def _boxes(tree: "object", d: int) -> Boxes:
    """The leaves of scikit-learn's tree; children stand behind their parents there."""
    left, right = getattr(tree, "children_left"), getattr(tree, "children_right")  # noqa: B009
    feature, threshold = getattr(tree, "feature"), getattr(tree, "threshold")  # noqa: B009
    low, high = np.zeros((len(left), d)), np.ones((len(left), d))
    for node in np.flatnonzero(left >= 0):
        for child in (left[node], right[node]):
            low[child], high[child] = low[node], high[node]
        high[left[node], feature[node]] = low[right[node], feature[node]] = threshold[node]
    leaves = left < 0
    return Boxes(getattr(tree, "value")[leaves, 0, 0], low[leaves], high[leaves])  # noqa: B009


def decompose(forest: Forest) -> Importance:
    """The forest's variance by parameters, the mean over its trees."""
    d = forest.trees[0].low.shape[1]
    shares = [share for tree in forest.trees if (share := _shares(tree)) is not None]
    if not shares:
        return Importance(np.zeros(d), np.zeros(d), np.zeros(d), {})
    main = np.array([share[0] for share in shares])
    total = np.array([share[1] for share in shares]).mean(axis=0)
    top = np.sort(np.argsort(-total)[:_PAIRED])
    pairs = np.mean([_pairs(tree, top) for tree in forest.trees if tree.values.std() > 0], axis=0)
    found = {
        (int(i), int(j)): max(float(pairs[a, b]), 0.0)
        for a, i in enumerate(top)
        for b, j in enumerate(top)
        if a < b
    }
    return Importance(main.mean(axis=0), main.std(axis=0), total, found)


def _ratios(tree: Boxes, columns: Sequence[int]) -> tuple[FloatArray, FloatArray]:
    """|I_lj ∩ I_mj| / (w_lj w_mj) for each of the columns, `(k, L, L)`, and u_l `(L,)`."""
    width = tree.high - tree.low
    low, high, w = (a[:, columns].T for a in (tree.low, tree.high, width))
    overlap = np.minimum(high[:, :, None], high[:, None, :]) - np.maximum(
        low[:, :, None], low[:, None, :]
    )
    return np.maximum(overlap, 0.0) / (w[:, :, None] * w[:, None, :]), tree.values * width.prod(
        axis=1
    )


def _shares(tree: Boxes) -> tuple[FloatArray, FloatArray] | None:
    """What each parameter explains alone and in total, as shares; None for a tree that is constant."""
    d = tree.low.shape[1]
    ratios, u = _ratios(tree, range(d))
    mean = u.sum() ** 2
    before = np.ones((d + 1, *ratios.shape[1:]))  # products of the ratios of the columns before j …
    for j in range(d):
        before[j + 1] = before[j] * ratios[j]
    variance = u @ before[d] @ u - mean
    if variance <= 1e-12 * max(mean, 1e-12):
        return None
    main, total, behind = (
        np.empty(d),
        np.empty(d),
        np.ones(ratios.shape[1:]),
    )  # … and of those behind it
    for j in range(d - 1, -1, -1):
        main[j] = (u @ ratios[j] @ u - mean) / variance
        total[j] = 1 - (u @ (before[j] * behind) @ u - mean) / variance
        behind = behind * ratios[j]
    return main, total


def _pairs(tree: Boxes, columns: npt.NDArray[np.intp]) -> FloatArray:
    """What two of the columns explain together beyond both alone, as shares, `(k, k)`."""
    everything, u = _ratios(tree, range(tree.low.shape[1]))
    mean = u.sum() ** 2
    variance = u @ everything.prod(axis=0) @ u - mean
    ratios = everything[columns]
    alone = np.array([u @ r @ u - mean for r in ratios])
    both = np.array([[u @ (r * s) @ u - mean for s in ratios] for r in ratios])
    return np.asarray((both - alone[:, None] - alone[None, :]) / max(variance, 1e-300))


def dependence(forest: Forest, x: FloatArray, j: int, codes: FloatArray) -> FloatArray:
    """The mean loss over configurations `(n, d)` if parameter j had the codes `(g,)`, by tree: `(trees, g)`.

    Friedman's (2001) partial dependence, over the configurations where the parameter is active.
    """
    at = np.where(np.isnan(x), 0.5, x)[np.isfinite(x[:, j])]
    rows = []
    for tree in forest.trees:
        outside = (at[:, None] < tree.low) | (
            (at[:, None] >= tree.high) & (tree.high < 1)
        )  # (n, L, d)
        others = outside.sum(axis=2) - outside[:, :, j]
        rows.append((tree.values * (others == 0).mean(axis=0)) @ _covers(tree, j, codes))
    return np.array(rows)


def surface(forest: Forest, i: int, j: int, codes: FloatArray) -> FloatArray:
    """The mean loss at codes `(g,)` of the parameters i and j over all others: `(g, g)`, i by row."""
    total = np.zeros((len(codes), len(codes)))
    for tree in forest.trees:
        width = tree.high - tree.low
        weight = tree.values * width.prod(axis=1) / (width[:, i] * width[:, j])
        total += _covers(tree, i, codes).T @ (weight[:, None] * _covers(tree, j, codes))
    return total / len(forest.trees)


def _covers(tree: Boxes, j: int, codes: FloatArray) -> FloatArray:
    """Which leaves hold which codes of parameter j, `(L, g)` of 0 and 1."""
    inside = (tree.low[:, j, None] <= codes) & (
        (codes < tree.high[:, j, None]) | (tree.high[:, j, None] >= 1)
    )
    return inside.astype(float)


def shapley(forest: Forest, x: FloatArray) -> FloatArray:
    """Shapley values `(n, d)` at codes `(n, d)`: their sum over d is f(x) minus the mean of f; `nan` where inactive."""
    inactive = np.isnan(x)
    at = np.where(inactive, 0.5, x)
    values = sum((_tree_shapley(tree, at) for tree in forest.trees), np.zeros(x.shape)) / len(
        forest.trees
    )
    return np.where(inactive, np.nan, values)


def _tree_shapley(tree: Boxes, x: FloatArray) -> FloatArray:
    d = x.shape[1]
    nodes, weights = leggauss((d + 1) // 2 + 1)
    width = tree.high - tree.low
    found = np.zeros(x.shape)
    for value, low, high, w in zip(tree.values, tree.low, tree.high, width, strict=True):
        sides = np.flatnonzero(w < 1)
        inside = (
            (low[sides] <= x[:, sides]) & ((x[:, sides] < high[sides]) | (high[sides] >= 1))
        ).astype(float)
        gain = inside - w[sides]  # (n, k)
        for t, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            factors = w[sides] + t * gain
            found[:, sides] += (
                value
                * weight
                * gain
                * (factors.prod(axis=1)[:, None] / np.maximum(factors, 1e-300))
            )
    return found
