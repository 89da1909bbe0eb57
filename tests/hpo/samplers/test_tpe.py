import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import truncnorm

from hpo.arrays import FloatArray
from hpo.history import History
from hpo.samplers import Sampler
from hpo.samplers.random import RandomSampler
from hpo.samplers.tpe import TPESampler, ranked, split, spread_out, thin
from hpo.samplers.tpe.parzen import Parzen, features, neighbours, scott, with_prior
from hpo.samplers.tpe.seconds import Durations
from hpo.space import Categorical, Float, Integer, Params, SearchSpace
from tests.strategies import spaces

BRANIN = SearchSpace((Float("x", -5.0, 10.0), Float("y", 0.0, 15.0)))
BRANCHES = SearchSpace(
    (
        Categorical("kind", ("deep", "flat")),
        *(Float(f"x{i}", 0.0, 1.0, when={"kind": ("deep",)}) for i in range(4)),
        Float("y", 0.0, 1.0, when={"kind": ("flat",)}),
    )
)


def branin(params: Params) -> float:
    x, y = float(params["x"]), float(params["y"])
    bowl = (y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6) ** 2
    return bowl + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def two_branches(params: Params) -> float:
    """The deep branch is good everywhere; the flat one is better, but near 0.9 only."""
    if params["kind"] == "deep":
        return 0.3 + sum((float(params[f"x{i}"]) - 0.5) ** 2 for i in range(4))
    return 3 * abs(float(params["y"]) - 0.9)


def study(sampler: Sampler, space: SearchSpace, loss: object, n: int, seed: int) -> History:
    history = History(space)
    for number in range(n):
        history.n_sampled = number
        params = sampler.suggest(history, np.random.default_rng([seed, number]))
        assert params is not None
        history.observe(params, loss(params))  # type: ignore[operator]
    return history


def test_beats_random_search_on_branin() -> None:
    # Sign test: were the two equally good, 16 or more wins of 20 would have probability 0.006.
    wins = 0
    for seed in range(20):
        ours = study(TPESampler(), BRANIN, branin, 40, seed).losses.min()
        wins += ours < study(RandomSampler(), BRANIN, branin, 40, 1000 + seed).losses.min()

    assert wins >= 16


def test_converges_on_branin() -> None:
    # The least value is 0.3979; a share of 1.4e-4 of the square lies within 0.1 of it, so 100
    # uniform draws find it in 1.4 % of the studies.
    assert all(
        study(TPESampler(), BRANIN, branin, 100, seed).losses.min() < 0.5 for seed in range(4)
    )


def test_leaves_a_good_branch_for_a_better_one() -> None:
    assert all(
        study(TPESampler(), BRANCHES, two_branches, 80, seed).losses.min() < 0.1
        for seed in range(4)
    )


def test_keeps_away_from_failures() -> None:
    space = SearchSpace((Float("x", 0.0, 1.0), Categorical("c", ("a", "b"))))
    history = study(
        TPESampler(),
        space,
        lambda p: math.inf if p["x"] > 0.5 or p["c"] == "a" else p["x"],
        60,
        seed=0,
    )

    assert np.isfinite(history.losses[:20]).mean() < np.isfinite(history.losses[30:]).mean() > 0.7


def test_all_failed_explores() -> None:
    history = study(TPESampler(), BRANIN, lambda _: math.inf, 40, seed=0)

    # 36 model suggestions over 4 quarters: an empty quarter has probability 4 (3/4)^36 = 1e-4 for
    # uniform draws
    assert len({(x > 0.5, y > 0.5) for x, y in history.x[5:]}) == 4


def test_pending_configurations_are_avoided() -> None:
    history = study(TPESampler(), BRANIN, branin, 30, seed=0)
    sampler = TPESampler()
    free = [BRANIN.encode(sampler.suggest(history, np.random.default_rng(i))) for i in range(20)]
    history.set_pending([BRANIN.decode(code) for code in free])
    busy = [BRANIN.encode(sampler.suggest(history, np.random.default_rng(i))) for i in range(20)]

    def nearest(codes: list[FloatArray]) -> float:
        return float(np.mean([min(np.abs(code - other).max() for other in free) for code in codes]))

    assert nearest(busy) > 0.01


def test_a_heavier_observation_draws_more() -> None:
    space = SearchSpace((Float("x", 0.0, 1.0),))

    def near(weight: float) -> int:
        history = History(space)
        for x in np.linspace(0.05, 0.95, 19):
            history.observe({"x": float(x)}, 1.0)
        history.observe({"x": 0.2}, 0.0)
        history.observe({"x": 0.8}, 0.1, weight=weight)
        drawn = [
            TPESampler(gamma=0.1).suggest(history, np.random.default_rng(i))["x"] for i in range(60)
        ]
        return sum(float(x) > 0.5 for x in drawn)

    assert near(1.0) < near(100.0)


def test_cost_hardly_grows_because_the_others_are_thinned() -> None:
    ordered = np.arange(10_000)

    assert len(thin(ordered, 500)) == 500
    assert thin(ordered, 500)[[0, -1]].tolist() == [0, 9999]
    assert thin(ordered[:7], 500).tolist() == list(range(7))


def test_split_takes_the_best_share_without_failures() -> None:
    losses = np.array([3.0, math.inf, 1.0, 2.0, math.inf, 0.5])

    good, others = split(losses, 0.5, 25)
    assert good.tolist() == [5, 2, 3]
    assert others.tolist() == [0, 1, 4]
    assert split(losses, 1.0, 25)[0].tolist() == [5, 2, 3, 0]
    assert split(losses, 1.0, 2)[0].tolist() == [5, 2]
    assert split(np.full(4, math.inf), 0.5, 25)[0].tolist() == []


@given(
    losses=st.lists(
        st.sampled_from([0.5, 0.25, 1.0, math.inf]) | st.floats(allow_nan=False), max_size=40
    )
)
def test_ranks_are_those_of_a_stable_sort(losses: list[float]) -> None:
    assert ranked(np.array(losses)).tolist() == np.argsort(losses, kind="stable").tolist()


def test_startup_points_are_spread_out() -> None:
    def least_gap(n_draws: int, seed: int) -> float:
        rng = np.random.default_rng(seed)
        taken = np.empty((0, 2))
        for _ in range(6):
            taken = np.vstack([taken, spread_out(BRANIN, taken, rng, n_draws)])
        gaps = np.linalg.norm(taken[:, None] - taken, axis=2)
        return float(gaps[np.triu_indices(6, 1)].min())

    assert np.mean([least_gap(8, s) for s in range(20)]) > 1.5 * np.mean(
        [least_gap(1, s) for s in range(20)]
    )


def naive_log_density(parzen: Parzen, space: SearchSpace, x: FloatArray) -> float:
    """The sum over kernels, dimension by dimension."""
    terms = []
    for i, centre in enumerate(parzen.centres):
        term = math.log(parzen.weights[i])
        for j, parameter in enumerate(space):
            if np.isnan(centre[j]) or np.isnan(x[j]):
                continue
            if isinstance(parameter, Categorical):
                n = parameter.n_levels
                smooth = 1 / (1 + np.count_nonzero(~np.isnan(parzen.centres[:, j])))
                hit = int(centre[j] * n) == int(x[j] * n)
                term += math.log(n * (smooth + hit) / (n * smooth + 1))
            else:
                h = parzen.bandwidths[space.layout.ranges.tolist().index(j), i]
                term += truncnorm.logpdf(x[j], -centre[j] / h, (1 - centre[j]) / h, centre[j], h)
        terms.append(term)
    return float(logsumexp(terms) - math.log(parzen.weights.sum()))


@settings(max_examples=30)
@given(space=spaces(max_size=5), seed=st.integers(0, 2**16), one=st.booleans())
def test_density_is_the_sum_over_kernels(space: SearchSpace, seed: int, one: bool) -> None:
    rng, layout = np.random.default_rng(seed), space.layout
    centres, weights = with_prior(space.codes.sample(rng, 6), rng.random(6) + 0.1, 0.7)
    bandwidths = scott(layout, centres, weights, 1.0) if one else neighbours(layout, centres)
    parzen = Parzen(layout, centres, weights, bandwidths)
    x = space.codes.sample(rng, 4)

    expected = [naive_log_density(parzen, space, row) for row in x]

    np.testing.assert_allclose(
        parzen.log_density(features(layout, x)), expected, rtol=1e-6, atol=1e-6
    )


def test_draws_follow_the_density() -> None:
    space = SearchSpace(
        (Float("x", 0.0, 1.0), Categorical("c", ("a", "b", "c")), Integer("n", 1, 9))
    )
    rng = np.random.default_rng(0)
    layout = space.layout
    centres, mass = with_prior(space.codes.sample(rng, 3), np.ones(3), 1.0)
    parzen = Parzen(layout, centres, mass, neighbours(layout, centres))
    draws = parzen.sample(rng, 20_000)
    uniform = rng.random((20_000, 3))
    weights = np.exp(parzen.log_density(features(layout, uniform)))

    # The density is relative to the uniform prior: importance weights have mean 1 and give the
    # draws' means. Five standard errors, so each fails by chance once in 10^6.
    assert abs(weights.mean() - 1) < 5 * weights.std() / math.sqrt(20_000)
    error = math.sqrt(
        (draws.var(axis=0).max() + (weights[:, None] * uniform).var(axis=0).max()) / 20_000
    )
    cells = np.floor(uniform * [1e9, 3, 1e9]) / [1e9, 3, 1e9] + np.array([0, 1 / 6, 0])
    np.testing.assert_allclose(
        draws.mean(axis=0), (weights[:, None] * cells).mean(axis=0), atol=5 * error
    )


def test_scott_bandwidths_shrink_with_the_centres() -> None:
    few, many = np.full((1, 2), 0.5), np.full((50, 2), 0.5)

    assert scott(BRANIN.layout, few, np.ones(1), 0.5)[0, 0] == pytest.approx(
        math.sqrt(0.5 / 12 / 1.5)
    )
    assert scott(BRANIN.layout, many, np.ones(50), 0.5)[0, 0] < 0.03
    branch = BRANCHES.codes.deactivate(np.full((3, 6), 0.75))
    np.testing.assert_allclose(  # a dimension that no centre has keeps the prior's spread
        scott(BRANCHES.layout, branch, np.ones(3), 0.5)[0],
        math.sqrt(1 / 12),
    )


def test_neighbour_bandwidths() -> None:
    layout = SearchSpace((Float("x", 0.0, 1.0),)).layout
    x = np.array([[0.9], [0.2], [0.5]])

    np.testing.assert_allclose(neighbours(layout, x)[0], [0.4, 0.3, 0.4])
    np.testing.assert_allclose(neighbours(layout, np.array([[0.9]]))[0], [0.9])
    # equal ones keep their order; what is inactive counts for nothing, even beside the end of the
    # range
    ties = np.array([[1.0], [0.25], [np.nan], [0.25], [0.25]])
    np.testing.assert_allclose(
        neighbours(layout, ties)[0, [0, 1, 3, 4]], [0.75, 1 / 6, 1 / 6, 0.75]
    )


def test_with_many_choices_only_those_of_the_candidates_are_evaluated() -> None:
    layout = SearchSpace(
        (Categorical("c", tuple(range(300))), Float("x", 0.0, 1.0), Categorical("d", (0, 1)))
    ).layout
    rng = np.random.default_rng(0)
    x, weights = with_prior(rng.random((50, 3)), np.ones(50), 1.0)
    mixture = Parzen(layout, x, weights, neighbours(layout, x))
    phi = features(layout, rng.random((8, 3)))

    terms = phi @ mixture._psi()
    expected = np.log(np.exp(terms) @ weights / weights.sum())
    assert mixture.log_density(phi) == pytest.approx(expected)


def timed(n: int, seconds: object, seed: int = 0) -> History:
    """Random configurations of a mixed space with equal losses."""
    space = SearchSpace(
        (
            Float("rate", 0.0, 1.0),
            Categorical("kind", ("a", "b")),
            Categorical("many", tuple(map(str, range(30)))),
        )
    )
    history, rng = History(space), np.random.default_rng(seed)
    for _ in range(n):
        params = space.sample(rng)
        history.observe(params, 1.0, seconds=seconds(params))  # type: ignore[operator]
    return history


def points(history: History) -> tuple[FloatArray, list[float]]:
    """Some configurations, and the slopes that `slow` gives them."""
    places = [(r, k) for r in (0.1, 0.5, 0.9) for k in ("a", "b")]
    codes = [history.space.encode({"rate": r, "kind": k, "many": "3"}) for r, k in places]
    return np.array(codes), [4 * r + (k == "b") for r, k in places]


def slow(params: Params) -> float:
    return math.exp(4 * float(params["rate"]) + (params["kind"] == "b"))


@pytest.mark.parametrize("n", [12, 60])  # fewer and more than there are columns
def test_expected_seconds_follow_ranges_and_choices(n: int) -> None:
    history = timed(n, slow)
    codes, expected = points(history)
    found = Durations().log_seconds(history, codes)
    assert np.corrcoef(found, expected)[0, 1] > 0.95
    assert 0.3 < (found[-2] - found[0]) / 3.2 < 1.1, "slopes are shrunk"


def test_past_studies_know_the_seconds_before_the_first_trial() -> None:
    past = [
        timed(30, lambda params, f=factor: f * slow(params), seed)
        for factor, seed in ((1, 1), (50, 2))
    ]
    space = past[0].space
    known = Durations.of(space, [(each.x, each.seconds) for each in past])
    nothing = History(space)
    codes, expected = points(nothing)
    assert np.corrcoef(known.log_seconds(nothing, codes), expected)[0, 1] > 0.95
    assert not Durations().log_seconds(nothing, codes).any()
    assert Durations.of(space, [(past[0].x[:1], past[0].seconds[:1])]).slopes is None
    opposite = timed(100, lambda params: 1 / slow(params), seed=3)  # its own trials decide
    assert np.corrcoef(known.log_seconds(opposite, codes), expected)[0, 1] < -0.9


def test_of_equal_configurations_the_quick_ones_are_tried() -> None:
    history = timed(40, lambda params: math.exp(6 * float(params["rate"])))

    def mean_rate(sampler: TPESampler) -> float:
        draws = [sampler.suggest(history, np.random.default_rng(seed)) for seed in range(30)]
        return float(np.mean([float(params["rate"]) for params in draws]))

    assert mean_rate(TPESampler()) < mean_rate(TPESampler(cost=0.0)) - 0.1


def test_without_seconds_the_cost_changes_nothing() -> None:
    history = study(TPESampler(), BRANIN, branin, 20, seed=0)
    for seed in range(5):
        ours, plain = (
            sampler.suggest(history, np.random.default_rng(seed))
            for sampler in (TPESampler(), TPESampler(cost=0.0))
        )
        assert ours == plain


def families(losses: dict[str, float], seconds: dict[str, float], n: int = 12) -> History:
    """`n` trainings of each branch, all with much the same loss and seconds."""
    history, rng = History(BRANCHES), np.random.default_rng(0)
    for number in range(n * len(losses)):
        kind = list(losses)[number % len(losses)]
        names = ("y",) if kind == "flat" else tuple(f"x{i}" for i in range(4))
        params: Params = {"kind": kind, **{name: float(rng.random()) for name in names}}
        history.observe(params, losses[kind] + 0.1 * rng.random(), seconds=seconds[kind])
    return history


def share_of_flat(sampler: TPESampler, history: History, n: int = 200) -> float:
    draws = [sampler.suggest(history, np.random.default_rng(seed)) for seed in range(n)]
    return float(np.mean([params["kind"] == "flat" for params in draws]))


def test_an_option_that_is_behind_gets_few_trials_and_some() -> None:
    history = families({"deep": 0.0, "flat": 1.0}, {"deep": 1.0, "flat": 1.0})
    raced = share_of_flat(TPESampler(raced="kind"), history)
    assert 0.0 < raced < 0.08, "half of 1 / 25 is expected"
    assert share_of_flat(TPESampler(), history) > 2 * raced


def test_of_equal_options_the_quick_one_gets_more_trials() -> None:
    history = families({"deep": 0.0, "flat": 0.0}, {"deep": 1.0, "flat": 16.0})
    assert share_of_flat(TPESampler(raced="kind"), history) < 0.35
    assert share_of_flat(TPESampler(raced="kind", cost=0.0), history) > 0.35


def test_a_race_begins_with_the_best_option() -> None:
    history = families({"deep": 0.0, "flat": 1.0}, {"deep": 1.0, "flat": 1.0}, n=1)
    assert share_of_flat(TPESampler(raced="kind"), history) < 0.35, "half of 1 / 3 is expected"


def test_without_a_result_options_are_spread_out() -> None:
    history = families({"deep": math.inf, "flat": math.inf}, {"deep": 1.0, "flat": 1.0})
    assert 0.3 < share_of_flat(TPESampler(raced="kind"), history) < 0.7
