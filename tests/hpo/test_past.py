from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kendalltau

from hpo.arrays import FloatArray
from hpo.kernels import matern
from hpo.past import Past, PastSource, standardised
from hpo.space import SearchSpace
from hpo.space.parameters import Categorical, Float

SPACE = SearchSpace(
    (
        Float("x", 0.0, 1.0),
        Float("y", 0.0, 1.0),
        Float("idle", 0.0, 1.0),
        Categorical("kind", ("a", "b")),
        Float("deep", 0.0, 1.0, when={"kind": ("b",)}),
    )
)


def valley(x: FloatArray, at: float = 0.3) -> FloatArray:
    """Depends on `x` and, much less, on `y`."""
    return np.asarray((x[:, 0] - at) ** 2 + 0.05 * (x[:, 1] - 0.5) ** 2)


def source(
    name: str,
    loss: Callable[[FloatArray], FloatArray],
    seed: int,
    similarity: float = 1.0,
    n: int = 40,
) -> PastSource:
    x = SPACE.codes.sample(np.random.default_rng(seed), n)
    return PastSource(name, x, standardised(loss(x)), similarity, name)


def past_of(*sources: PastSource) -> Past:
    return Past(SPACE, sources)


def test_scores_compare_across_studies() -> None:
    losses = np.random.default_rng(0).normal(size=50)
    scores = standardised(losses)
    assert scores.mean() == pytest.approx(0)
    assert scores.std() == pytest.approx(1)
    assert (np.argsort(scores) == np.argsort(losses)).all()
    np.testing.assert_allclose(standardised(1000 * losses - 7), scores)


def test_equal_losses_score_nothing() -> None:
    assert standardised(np.full(5, 2.0)).tolist() == [0.0] * 5


def test_the_kernel_is_short_where_a_parameter_matters() -> None:
    past = past_of(*(source(f"s{i}", valley, i) for i in range(4)))
    x, y, idle = past.lengths[:3]
    assert x < y < idle


def test_what_many_saw_is_expected_and_something_bad_far_away() -> None:
    corners = [
        SPACE.codes.sample(np.random.default_rng(seed), 30) * [0.3, 1, 1, 1, 1] for seed in range(4)
    ]
    past = past_of(
        *(
            PastSource(f"s{i}", x, standardised(valley(x)), 1.0, f"s{i}")
            for i, x in enumerate(corners)
        )
    )
    there = past.expected(corners[0])
    assert np.corrcoef(there, standardised(valley(corners[0])))[0, 1] > 0.9
    far = corners[0].copy()
    far[:, 0] = 1.0
    assert past.expected(far).min() > np.median(there)


def test_studies_that_agree_say_more_than_one_alone() -> None:
    """With half noise, sixteen studies rank better than four, and four better than one."""

    def rough(seed: int) -> PastSource:
        x = SPACE.codes.sample(np.random.default_rng(seed), 20)
        scores = standardised(valley(x)) + np.random.default_rng(100 + seed).normal(size=20)
        return PastSource(f"s{seed}", x, standardised(np.exp(scores)), 1.0, f"s{seed}")

    x = SPACE.codes.sample(np.random.default_rng(99), 300)
    found = [
        np.mean(
            [
                kendalltau(past_of(*map(rough, range(k * n, k * n + n))).expected(x), valley(x))[0]
                for k in range(4)
            ]
        )
        for n in (1, 4, 16)
    ]
    assert found == sorted(found)
    assert found[2] > found[0] + 0.1


def test_noise_is_told_from_what_studies_share() -> None:
    rng = np.random.default_rng(0)
    smooth = past_of(*(source(f"s{i}", valley, i) for i in range(6)))
    shuffled = past_of(*(source(f"s{i}", lambda x: rng.random(len(x)), i) for i in range(6)))
    assert smooth.variances[0] > 3 * smooth.variances[3]
    assert shuffled.variances[3] > 3 * shuffled.variances[0]


def test_what_a_table_like_this_one_saw_counts_more() -> None:
    alike = np.kron(np.eye(2), np.ones((3, 3))) * 0.98 + 0.02
    sides = [(lambda x: valley(x, 0.1), 1.0), (lambda x: valley(x, 0.9), 0.05)]
    sources = [
        source(f"s{3 * j + i}", loss, 3 * j + i, similarity)
        for j, (loss, similarity) in enumerate(sides)
        for i in range(3)
    ]
    past = Past(SPACE, tuple(sources), np.asarray(alike, dtype=float))
    low, high = past.expected(
        np.array([[0.1, 0.5, 0.5, 0.25, np.nan], [0.9, 0.5, 0.5, 0.25, np.nan]])
    )
    assert low < high


def test_what_this_very_table_saw_counts_most() -> None:
    others = [source(f"s{i}", lambda x: valley(x, 0.9), i) for i in range(3)]
    mine = replace(source("mine", lambda x: valley(x, 0.1), 7), same_table=True)
    x = np.array([[0.1, 0.5, 0.5, 0.25, np.nan], [0.9, 0.5, 0.5, 0.25, np.nan]])
    without, there = past_of(*others, replace(mine, same_table=False)), past_of(*others, mine)
    assert np.subtract(*there.expected(x)) < np.subtract(*without.expected(x))


def test_trust_follows_the_results_and_few_move_it_little() -> None:
    past = past_of(*(source(f"s{i}", valley, i) for i in range(4)))
    x = SPACE.codes.sample(np.random.default_rng(7), 40)
    right, wrong = past.trust_after_each(x, valley(x)), past.trust_after_each(x, -valley(x))
    assert (right > 0.9).all()
    assert wrong[0] == 1.0
    assert 0.2 < wrong[1] < 1.0
    assert (wrong[15:] == 0.0).all()
    for n in (1, 2, 9):
        assert past.trust(x[:n], -valley(x[:n])) == pytest.approx(wrong[n - 1])
    assert past.trust(x[:0], np.empty(0)) == 1.0


def test_trust_with_failures_and_equal_losses() -> None:
    past = past_of(*(source(f"s{i}", valley, i) for i in range(4)))
    x = SPACE.codes.sample(np.random.default_rng(7), 30)
    assert past.trust(x, np.full(30, np.inf)) < 0.4
    assert past.trust(x, np.ones(30)) == past.trust(x, np.full(30, np.inf))


def test_what_was_best_on_this_very_table_is_repeated_once() -> None:
    mine = replace(source("mine", valley, 1), same_table=True)
    past = past_of(*(source(f"s{i}", valley, 5 + i) for i in range(3)), mine)
    taken = SPACE.codes.sample(np.random.default_rng(0), 1)
    found = past.best_on_same_table(taken, 3)
    assert {name for name, _ in found} == {"mine"}
    best = mine.x[np.argsort(mine.scores)[:5]]
    assert all((code == best)[:, :3].all(axis=1).any() for _, code in found)
    codes = np.array([code for _, code in found])
    points = past.points(codes)
    assert (matern(points, points) - np.eye(len(points))).max() < 0.99
    again = past.best_on_same_table(codes, 5)
    assert not any((codes[:, 0] == code[0]).any() for _, code in again)
    assert past_of(*past.sources[:3]).best_on_same_table(taken, 2) == []
