"""Which parameters matter: a random forest over unit codes, and exact decompositions of it.

A regression tree is a function on the unit cube that is constant on boxes. Leaf l has the value v_l
on the box prod_j I_lj, whose sides have the lengths w_lj. Under the uniform distribution all of
these have a closed form:

- variances (functional ANOVA: Hutter, Hoos and Leyton-Brown 2014, "An efficient approach for
  assessing hyperparameter importance"; Sobol' 2001). For a set S of parameters Var(E[f | x_S]) =
  sum_{l,m} u_l u_m prod_{j in S} |I_lj ∩ I_mj| / (w_lj w_mj) - (sum_l u_l)^2, where u_l = v_l
  prod_j w_lj;
- marginals E[f | x_i, x_j], which the contours show;
- Shapley values of one configuration, of the game v(S) = E[f | x_S]: the integral over t in [0, 1]
  of the game's multilinear extension along j (Owen 1972, "Multilinear extensions of games"). A
  leaf's integrand is a polynomial of a degree below the number of its sides, so Gauss-Legendre
  quadrature is exact.

Choices have no order. Each tree sorts the cells of a choice by the mean loss of the trials that it
sees (Breiman et al. 1984, "Classification and regression trees"; Fisher 1958), so the order in
which a space lists them does not matter. Cells keep their widths, so the formulas stay the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
from numpy.polynomial.legendre import leggauss

from hpo.arrays import FloatArray, IntArray

MIN_TRIALS = 12  # a forest learns nothing from fewer
TREES = 32
_LEAVES = 128  # of a tree; the cost of the decomposition grows with their square
_BOOTSTRAP = 2_000  # trials that one tree sees
_FEW = 64  # levels whose order the forest does not rely on
_PAIRED = 8  # parameters whose interactions are computed
_FAR_OUT = 3.0  # losses are cut at so many interquartile ranges above the upper quartile


@dataclass(frozen=True)
class Boxes:
    """One tree of L leaves: `values` (L,) on boxes from `low` (L, d) to `high` (L, d).

    The boxes fill the unit cube, in which the cells of choices are sorted: `places` has the new
    positions of the cells `(n_choices,)` by column.
    """

    values: FloatArray
    low: FloatArray
    high: FloatArray
    places: Mapping[int, IntArray] = field(default_factory=dict)

    def sorted(self, x: FloatArray) -> FloatArray:
        """Codes `(n, d)` where the boxes have them."""
        found = np.array(x)
        for j in self.places:
            found[:, j] = self.sorted_codes(j, x[:, j])
        return found

    def sorted_codes(self, j: int, codes: FloatArray) -> FloatArray:
        """Codes `(n,)` of parameter j where the boxes have them."""
        return _moved(codes, self.places[j]) if j in self.places else codes

    def given(self, fixed: Mapping[int, float]) -> "Boxes":
        """The tree with the codes of some parameters fixed; it no longer depends on these."""
        keep = np.ones(len(self.values), dtype=bool)
        for j, value in fixed.items():
            code = self.sorted_codes(j, np.array([value]))[0]
            keep &= (self.low[:, j] <= code) & (code < self.high[:, j])
        low, high = self.low[keep], self.high[keep]
        low[:, [*fixed]], high[:, [*fixed]] = 0.0, 1.0
        return replace(self, values=self.values[keep], low=low, high=high)


@dataclass(frozen=True)
class Forest:
    """Trees over the unit cube, of the losses of `trials` trials.

    `explained` is the share of the variance of unseen (out-of-bag) losses that the forest predicts:
    1 is perfect, 0 or less is no better than the mean.
    """

    trees: tuple[Boxes, ...]
    explained: float
    trials: int

    def given(self, fixed: Mapping[int, float]) -> "Forest":
        """The forest with the codes of some parameters fixed."""
        return replace(self, trees=tuple(tree.given(fixed) for tree in self.trees))


@dataclass(frozen=True)
class Importance:
    """Shares of the forest's variance over the unit cube.

    Attributes:
        main: What each parameter explains alone, `(d,)`.
        spread: The standard deviation of `main` over the trees, `(d,)`.
        total: What each parameter explains with all its interactions, `(d,)`.
        pairs: What two parameters explain together beyond both alone, by their columns, for the
            parameters with the largest totals.
    """

    main: FloatArray
    spread: FloatArray
    total: FloatArray
    pairs: Mapping[tuple[int, int], float]


def fit(
    x: FloatArray, losses: FloatArray, choices: Mapping[int, int] | None = None, seed: int = 0
) -> Forest:
    """A forest of losses `(n,)` at unit codes `(n, d)`.

    An inactive parameter (`nan`) gets a random code, since the loss does not depend on it. Losses
    far above the rest are cut to what Tukey (1977) calls far out: otherwise a few diverged
    trainings would make up all of the variance.

    Args:
        x: The codes.
        losses: The losses.
        choices: The number of choices of each column without order. By default, these are the
            columns whose codes are those of a few levels.
        seed: Of the forest.
    """
    from sklearn.tree import DecisionTreeRegressor

    rng = np.random.default_rng(seed)
    filled = np.where(np.isnan(x), rng.random(x.shape), x)
    lower, upper = np.quantile(losses, (0.25, 0.75))
    cut = np.minimum(losses, upper + _FAR_OUT * (upper - lower)) if upper > lower else losses
    unordered = _unordered(x) if choices is None else choices
    trees: list[Boxes] = []
    predictions = np.full((TREES, len(x)), np.nan)  # of the trials that a tree has not seen
    for k in range(TREES):
        seen = rng.integers(len(x), size=min(len(x), _BOOTSTRAP))
        places = {j: _places(x[seen, j], cut[seen], n) for j, n in unordered.items()}
        at = Boxes(cut, filled, filled, places).sorted(filled).astype(np.float32)
        tree = DecisionTreeRegressor(
            min_samples_leaf=2 if len(x) < 100 else 3,
            max_features=0.8,
            max_leaf_nodes=_LEAVES,
            random_state=int(rng.integers(2**31)),
        ).fit(at[seen], cut[seen])
        trees.append(replace(_boxes(tree.tree_, x.shape[1]), places=places))
        unseen = np.setdiff1d(np.arange(len(x)), seen)
        predictions[k, unseen] = tree.predict(at[unseen]) if len(unseen) else np.nan
    return Forest(tuple(trees), _explained(predictions, cut), len(x))


def _explained(predictions: FloatArray, losses: FloatArray) -> float:
    """R² of the mean of the predictions `(T, n)` for losses `(n,)`; `nan` for too few."""
    known = np.isfinite(predictions).any(axis=0)
    if len(losses) < MIN_TRIALS or np.ptp(losses[known]) == 0:
        return float("nan") if len(losses) < MIN_TRIALS else 1.0
    errors = np.nanmean(predictions[:, known], axis=0) - losses[known]
    return float(1 - (errors**2).mean() / losses[known].var())


def _unordered(x: FloatArray) -> dict[int, int]:
    """The columns whose codes are the middles of a few cells, and their numbers of cells."""
    found: dict[int, int] = {}
    for j, column in enumerate(x.T):
        codes = np.unique(column[np.isfinite(column)])
        if 1 < len(codes) <= _FEW:
            n = next((n for n in range(2, _FEW + 1) if _are_middles(codes, n)), 0)
            found |= {j: n} if n else {}
    return found


def _are_middles(codes: FloatArray, n: int) -> bool:
    cells = codes * n - 0.5
    return bool(np.abs(cells - np.rint(cells)).max() < 1e-9)


def _places(codes: FloatArray, losses: FloatArray, n: int) -> IntArray:
    """The positions `(n,)` of the cells of n choices, sorted by the mean of losses `(m,)`.

    A choice that was not tried has the mean of all.
    """
    active = np.isfinite(codes)
    cells = np.minimum((codes[active] * n).astype(np.intp), n - 1)
    total, count = (np.bincount(cells, w, n) for w in (losses[active] - losses.mean(), None))
    order = np.argsort(total / np.maximum(count, 1), kind="stable")
    places = np.empty(n, dtype=np.int64)
    places[order] = np.arange(n)
    return places


def _moved(codes: FloatArray, places: IntArray) -> FloatArray:
    """Codes with their cells at other places; `nan` stays."""
    n = len(places)
    cells = np.minimum(np.nan_to_num(codes) * n, n - 1).astype(np.intp)
    return np.asarray(codes + (places[cells] - cells) / n)


def _boxes(tree: "object", d: int) -> Boxes:
    """The leaves of scikit-learn's tree, in which children come after their parents."""
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
    shares = np.array([*filter(None, map(_shares, forest.trees))])  # (trees, 2, d)
    if not len(shares):
        return Importance(np.zeros(d), np.zeros(d), np.zeros(d), {})
    main, total = shares[:, 0], shares[:, 1].mean(axis=0)
    top = np.sort(np.argsort(-total)[:_PAIRED]).tolist()
    pairs = list(combinations(top, 2))
    by_tree = [_pair_shares(tree, pairs) for tree in forest.trees if tree.values.std() > 0]
    together = np.maximum(np.mean(by_tree, axis=0), 0.0)
    by_pair = dict(zip(pairs, together.tolist(), strict=True))
    return Importance(main.mean(axis=0), main.std(axis=0), total, by_pair)


def _ratios(tree: Boxes) -> tuple[FloatArray, FloatArray]:
    """|I_lj ∩ I_mj| / (w_lj w_mj) for each parameter, `(d, L, L)`, and u_l `(L,)`."""
    width = tree.high - tree.low
    low, high, w = map(np.ascontiguousarray, (tree.low.T, tree.high.T, width.T))
    lower = np.maximum(low[:, :, None], low[:, None, :])
    upper = np.minimum(high[:, :, None], high[:, None, :])
    ratios = np.maximum(upper - lower, 0.0) / (w[:, :, None] * w[:, None, :])
    return ratios, tree.values * width.prod(axis=1)


def _shares(tree: Boxes) -> tuple[FloatArray, FloatArray] | None:
    """What each parameter explains alone and in total, as shares; None for a constant tree."""
    d = tree.low.shape[1]
    ratios, u = _ratios(tree)
    mean = u.sum() ** 2
    before = np.ones((d + 1, *ratios.shape[1:]))  # products of the ratios of the columns before j
    for j in range(d):
        before[j + 1] = before[j] * ratios[j]
    variance = u @ before[d] @ u - mean
    if variance <= 1e-12 * max(mean, 1e-12):
        return None
    main, total = np.empty(d), np.empty(d)
    behind = np.ones(ratios.shape[1:])  # the product of the ratios of the columns behind j
    for j in range(d - 1, -1, -1):
        main[j] = (u @ ratios[j] @ u - mean) / variance
        total[j] = 1 - (u @ (before[j] * behind) @ u - mean) / variance
        behind = behind * ratios[j]
    return main, total


def _pair_shares(tree: Boxes, pairs: Sequence[tuple[int, int]]) -> FloatArray:
    """What two parameters explain together beyond both alone, as shares, for each of the pairs."""
    ratios, u = _ratios(tree)
    mean = u.sum() ** 2

    def explained(ratio: FloatArray) -> float:
        return float(u @ ratio @ u - mean)

    alone = [explained(ratio) for ratio in ratios]
    both = [explained(ratios[i] * ratios[j]) - alone[i] - alone[j] for i, j in pairs]
    return np.array(both) / max(explained(ratios.prod(axis=0)), 1e-300)


def dependence(forest: Forest, x: FloatArray, j: int, codes: FloatArray) -> FloatArray:
    """The mean loss over configurations if parameter j had other codes, by tree.

    This is Friedman's (2001) partial dependence over the configurations with an active parameter j.

    Args:
        forest: The forest of T trees.
        x: Unit codes of the configurations, `(n, d)`, `nan` where inactive.
        j: The parameter's column.
        codes: Its codes, `(g,)`.

    Returns:
        Losses `(T, g)`.
    """
    at = np.where(np.isnan(x), 0.5, x)[np.isfinite(x[:, j])]
    return np.array([_dependence(tree, at, j) @ _covers(tree, j, codes) for tree in forest.trees])


def _dependence(tree: Boxes, x: FloatArray, j: int) -> FloatArray:
    """What each leaf adds to the mean where it covers a code of parameter j, `(L,)`."""
    x = tree.sorted(x)
    below = x[:, None] < tree.low
    above = (x[:, None] >= tree.high) & (tree.high < 1)
    outside = below | above  # (n, L, d)
    others = outside.sum(axis=2) - outside[:, :, j]
    share: FloatArray = (others == 0).mean(axis=0)
    return tree.values * share


def surface(forest: Forest, i: int, j: int, codes: FloatArray) -> FloatArray:
    """The mean loss at codes `(g,)` of the parameters i (rows) and j (columns), `(g, g)`."""
    total = np.zeros((len(codes), len(codes)))
    for tree in forest.trees:
        width = tree.high - tree.low
        weight = tree.values * width.prod(axis=1) / (width[:, i] * width[:, j])
        total += _covers(tree, i, codes).T @ (weight[:, None] * _covers(tree, j, codes))
    return total / len(forest.trees)


def _covers(tree: Boxes, j: int, codes: FloatArray) -> FloatArray:
    """Which leaves cover which codes of parameter j: 0 or 1, `(L, g)`."""
    codes = tree.sorted_codes(j, codes)
    inside = (tree.low[:, j, None] <= codes) & (
        (codes < tree.high[:, j, None]) | (tree.high[:, j, None] >= 1)
    )
    return inside.astype(float)


def shapley(forest: Forest, x: FloatArray) -> FloatArray:
    """Shapley values `(n, d)` at codes `(n, d)`, `nan` where inactive.

    Their sum over the parameters is f(x) minus the mean of f.
    """
    inactive = np.isnan(x)
    at = np.where(inactive, 0.5, x)
    values = np.zeros(x.shape)
    for tree in forest.trees:
        values += _tree_shapley(tree, at)
    return np.where(inactive, np.nan, values / len(forest.trees))


def _tree_shapley(tree: Boxes, x: FloatArray) -> FloatArray:
    d = x.shape[1]
    nodes, weights = leggauss((d + 1) // 2 + 1)  # on [-1, 1]
    nodes, weights = (nodes + 1) / 2, weights / 2
    values, x = np.zeros(x.shape), tree.sorted(x)
    for value, low, high in zip(tree.values, tree.low, tree.high, strict=True):
        sides = np.flatnonzero(high - low < 1)
        low, high, at = low[sides], high[sides], x[:, sides]
        inside = (low <= at) & ((at < high) | (high >= 1))
        gain = inside - (high - low)  # (n, sides)
        for t, weight in zip(nodes, weights, strict=True):
            factors = high - low + t * gain
            others = factors.prod(axis=1)[:, None] / np.maximum(factors, 1e-300)
            values[:, sides] += value * weight * gain * others
    return values
