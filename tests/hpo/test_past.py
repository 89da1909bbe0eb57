from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import kendalltau

from hpo.parameters import Array, Categorical, Float
from hpo.past import Past, Source, matern, standardised
from hpo.space import SearchSpace

SPACE = SearchSpace(
    (
        Float("x", 0.0, 1.0),
        Float("y", 0.0, 1.0),
        Float("idle", 0.0, 1.0),
        Categorical("kind", ("a", "b")),
        Float("deep", 0.0, 1.0, when={"kind": ("b",)}),
    )
)


def valley(x: Array, at: float = 0.3) -> Array:
    """Only `x` and, much less, `y` matter."""
    return np.asarray((x[:, 0] - at) ** 2 + 0.05 * (x[:, 1] - 0.5) ** 2)


def source(
    name: str, loss: Callable[[Array], Array], seed: int, similarity: float = 0.5, n: int = 40
) -> Source:
    x = SPACE.sample_unit(np.random.default_rng(seed), n)
    return Source(name, x, standardised(loss(x)), similarity)


def past_of(*sources: Source) -> Past:
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


def test_a_past_study_expects_what_it_saw_and_the_worst_far_away() -> None:
    corner = SPACE.sample_unit(np.random.default_rng(3), 30)
    corner[:, 0] *= 0.3
    past = past_of(Source("s", corner, standardised(valley(corner)), 1.0))
    there = past.expected(corner)[0]
    assert np.corrcoef(there, standardised(valley(corner)))[0, 1] > 0.95
    far = corner.copy()
    far[:, 0] = 1.0
    assert past.expected(far)[0].min() > np.median(there)


@pytest.mark.parametrize(
    ("losses", "tau"), [([1, 2, 3], 1.0), ([3, 2, 1], -1.0), ([2, 2, 2], 0.0), ([1, np.inf, np.inf], 2 / 3)]
)
def test_trust_in_one_past_study_is_kendalls_tau(losses: list[float], tau: float) -> None:
    x = SPACE.deactivate(np.array([[a, 0.5, 0.5, 0.0, 0.5] for a in (0.0, 0.5, 1.0)]))
    past = past_of(Source("s", x, np.array([1.0, 2.0, 3.0]), 1.0))
    assert past.weigh(x, np.array(losses, dtype=float))[1] == pytest.approx(max(tau, 0.0))


def test_weights_begin_with_similarity_and_go_to_those_that_are_right() -> None:
    past = past_of(
        source("alike but wrong", lambda x: -valley(x), 1, similarity=0.9),
        source("unlike but right", valley, 2, similarity=0.1),
    )
    x = SPACE.sample_unit(np.random.default_rng(7), 12)
    first, trust = past.weigh(x[:1], valley(x[:1]))
    assert first[0] > first[1]
    assert trust == 1.0
    then, trust = past.weigh(x, valley(x))
    assert then[1] > 0.95
    assert trust > 0.5


def test_nobody_is_trusted_when_all_are_wrong() -> None:
    past = past_of(*(source(f"s{i}", lambda x: -valley(x), i) for i in range(3)))
    x = SPACE.sample_unit(np.random.default_rng(7), 12)
    assert past.weigh(x, valley(x))[1] == 0.0


def test_trust_is_not_that_in_whoever_was_right_by_chance() -> None:
    chosen, trusted = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        past = past_of(*(source(f"s{i}", lambda x, rng=rng: rng.random(len(x)), i, n=8) for i in range(30)))  # type: ignore[misc]
        x, losses = SPACE.sample_unit(rng, 8), rng.random(8)
        weights, trust = past.weigh(x, losses)
        chosen.append(max(kendalltau(weights @ past.expected(x), losses)[0], 0.0))
        trusted.append(trust)
    assert np.mean(chosen) > 0.4
    assert np.mean(trusted) < 0.15


def test_a_portfolio_serves_every_past_study_and_repeats_nothing() -> None:
    past = past_of(
        *(source(f"low{i}", lambda x: valley(x, 0.1), i, n=80) for i in range(2)),
        *(source(f"high{i}", lambda x: valley(x, 0.9), 9 + i, n=80) for i in range(2)),
    )
    taken = SPACE.sample_unit(np.random.default_rng(0), 1)
    found = past.portfolio(taken, 2)
    assert sorted(code[0] > 0.5 for _, code in found) == [False, True]
    assert {name[:3] for name, _ in found} == {"low", "hig"}
    again = past.portfolio(np.array([code for _, code in found]), 3)
    codes = past.points(np.array([code for _, code in [*found, *again]]))
    assert (matern(codes, codes) - np.eye(len(codes))).max() < 0.99


def test_the_portfolio_depends_on_nothing_but_the_past() -> None:
    sources = [source(f"s{i}", valley, i) for i in range(3)]
    taken = SPACE.sample_unit(np.random.default_rng(0), 2)
    one, two = past_of(*sources).portfolio(taken, 4), past_of(*sources).portfolio(taken, 4)
    assert [name for name, _ in one] == [name for name, _ in two]
    np.testing.assert_array_equal([code for _, code in one], [code for _, code in two])


def test_the_opinion_is_the_weighted_mean_of_what_is_expected() -> None:
    past = past_of(*(source(f"s{i}", valley, i, n=10 + i) for i in range(4)))
    x = SPACE.sample_unit(np.random.default_rng(5), 20)
    weights = np.array([0.5, 0.0, 0.3, 0.2])
    np.testing.assert_allclose(past.opinion(weights, x), weights @ past.expected(x))
