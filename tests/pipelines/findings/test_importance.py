"""Importance on functions whose variances are known."""

from itertools import combinations
from math import factorial

import numpy as np
import pytest

from hpo.arrays import FloatArray
from pipelines.findings.importance import (
    Boxes,
    Forest,
    decompose,
    dependence,
    fit,
    shapley,
    surface,
)

N, D = 800, 4


def uniform(seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).random((N, D))


def test_an_additive_function_is_explained_by_its_parts() -> None:
    x = uniform()
    found = decompose(
        fit(x, 3 * x[:, 0] + 2 * x[:, 1] + x[:, 2])
    )  # variances 9 : 4 : 1 of twelfths
    assert found.main == pytest.approx([9 / 14, 4 / 14, 1 / 14, 0], abs=0.06)
    assert found.total == pytest.approx(found.main, abs=0.06)
    assert max(found.pairs.values()) < 0.03


def test_a_pure_interaction_is_nobodys_alone() -> None:
    x = uniform()
    found = decompose(fit(x, (x[:, 0] - 0.5) * (x[:, 1] - 0.5)))
    assert found.main.max() < 0.15
    assert found.pairs[(0, 1)] > 0.6
    assert max(share for pair, share in found.pairs.items() if pair != (0, 1)) < 0.06
    assert found.total[:2].min() > 0.75
    assert found.total[2:].max() < 0.15


def test_what_has_no_effect_has_no_importance() -> None:
    x = uniform()
    found = decompose(fit(x, np.sin(6 * x[:, 0])))
    assert found.total[1:].max() < 0.02
    assert found.main[0] > 0.95


def test_noise_is_not_explained() -> None:
    x = uniform()
    assert fit(x, np.random.default_rng(1).normal(size=N)).explained < 0.1
    assert fit(x, x[:, 0]).explained > 0.95


def test_a_few_diverged_trials_do_not_take_all_the_variance() -> None:
    x = uniform()
    losses = x[:, 0] + np.where((x[:, 1] > 0.98) & (x[:, 2] > 0.5), 1e6, 0)
    assert decompose(fit(x, losses)).main[0] > 0.5


def test_an_inactive_parameter_does_not_pass_for_its_parent() -> None:
    x = uniform()
    x[:, 0] = np.where(x[:, 0] < 0.5, 0.25, 0.75)
    x[x[:, 0] < 0.5, 1] = np.nan  # column 1 hangs on column 0 and does nothing
    found = decompose(fit(x, x[:, 0]))
    assert found.main[0] > 0.9
    assert found.total[1] < 0.05


def test_one_tree_by_hand() -> None:
    """f = 4 where x0 < 1/4 and x1 < 1/2, else 0: its moments are fractions."""
    tree = Boxes(
        np.array([4.0, 0.0, 0.0]),
        np.array([[0.0, 0.0], [0.0, 0.5], [0.25, 0.0]]),
        np.array([[0.25, 0.5], [0.25, 1.0], [1.0, 1.0]]),
    )
    found = decompose(Forest((tree,), 1.0, 3))
    variance = 16 / 8 - 0.25
    first = (0.25 * 2**2 - 0.25) / variance  # E[f | x0] is 2 on a quarter
    second = (0.5 * 1**2 - 0.25) / variance
    assert found.main == pytest.approx([first, second])
    assert found.pairs[(0, 1)] == pytest.approx(1 - first - second)
    assert found.total == pytest.approx([1 - second, 1 - first])
    grid = np.array([0.1, 0.9])
    assert surface(Forest((tree,), 1.0, 3), 0, 1, grid).tolist() == [[4, 0], [0, 0]]
    at = np.array([[0.9, 0.1], [0.9, 0.9]])
    assert dependence(Forest((tree,), 1.0, 3), at, 0, grid)[0].tolist() == [2, 0]
    given = Forest((tree,), 1.0, 3).given({0: 0.1})
    assert decompose(given).main == pytest.approx([0, 1])


def test_shapley_values_are_those_of_the_definition() -> None:
    x = uniform()[:60]
    forest = fit(x, x[:, 0] * x[:, 1] + x[:, 2])
    found = shapley(forest, x[:2])
    for row, configuration in zip(found, x[:2], strict=True):
        assert row == pytest.approx([by_definition(forest, configuration, j) for j in range(D)])


def by_definition(forest: Forest, x: FloatArray, j: int) -> float:
    others = [k for k in range(D) if k != j]
    total = 0.0
    for size in range(D):
        weight = factorial(size) * factorial(D - size - 1) / factorial(D)
        for chosen in combinations(others, size):
            total += weight * (worth(forest, x, {*chosen, j}) - worth(forest, x, {*chosen}))
    return total


def worth(forest: Forest, x: FloatArray, known: set[int]) -> float:
    """The mean of f where the codes in `known` are those of x."""
    means = []
    for tree in forest.trees:
        inside = (tree.low <= x) & (x < tree.high)
        width = tree.high - tree.low
        weight = np.prod([inside[:, k] if k in known else width[:, k] for k in range(D)], axis=0)
        means.append(float(tree.values @ weight))
    return float(np.mean(means))


def test_shapley_is_silent_about_what_is_inactive() -> None:
    x = uniform()[:60]
    x[:30, 3] = np.nan
    found = shapley(fit(x, x[:, 0]), x[:40])
    assert np.isnan(found[:30, 3]).all()
    assert np.isfinite(found[30:]).all()


def test_equal_losses_have_no_importance() -> None:
    found = decompose(fit(uniform(), np.ones(N)))
    assert not found.main.any()
    assert not found.pairs


@pytest.mark.parametrize("order", ["abcdefghijkl", "acegikbdfhjl", "lkjihgfedcba"])
def test_the_order_of_choices_changes_nothing(order: str) -> None:
    """Half of the choices are good: loss = bad + x / 2, whose variances are 1/4 and 1/48."""
    rng = np.random.default_rng(1)
    chosen = rng.choice(list("abcdefghijkl"), 200)
    x = np.column_stack([[order.index(c) for c in chosen], rng.random((200, 2))])
    x[:, 0] = (x[:, 0] + 0.5) / 12
    losses = np.where(np.isin(chosen, list("acegik")), 0.0, 1.0) + x[:, 1] / 2
    forest = fit(x, losses, {0: 12})

    assert decompose(forest).main == pytest.approx([12 / 13, 1 / 13, 0], abs=0.05)
    assert forest.explained > 0.95
    codes = (np.array([order.index("a"), order.index("b")]) + 0.5) / 12
    good, bad = dependence(forest, x, 0, codes).mean(axis=0)
    assert bad - good == pytest.approx(1, abs=0.1)
    assert decompose(forest.given({0: float(codes[0])})).main[1] > 0.8
    values = shapley(forest, x)
    assert values[losses > 0.75, 0].min() > 0.3
    assert values[losses < 0.25, 0].max() < -0.3
    at_good, at_bad = surface(forest, 0, 1, np.array([*codes, 0.5]))[:2].mean(axis=1)
    assert at_bad - at_good > 0.8


def test_choices_without_effect_explain_nothing() -> None:
    rng = np.random.default_rng(0)
    x = np.column_stack([(np.arange(60) + 0.5) / 60, rng.random((60, 2))])

    assert fit(x, rng.normal(size=60), {0: 60}).explained < 0.1
