from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import check_grad
from scipy.stats import norm

from hpo import algorithms
from hpo.arrays import FloatArray
from hpo.errors import ParameterError
from hpo.history import History
from hpo.kernels import KernelFit, Prior
from hpo.samplers.gp import GPSampler, best_and_spread
from hpo.samplers.gp.acquisition import log_expected_improvement, log_probability_of_improvement
from hpo.samplers.gp.losses import bent
from hpo.samplers.gp.process import Process
from hpo.samplers.gp.search import maximise
from hpo.schedulers.full import Full
from hpo.space import Categorical, Float, Integer, Params, SearchSpace
from hpo.storage import MemoryStorage
from hpo.study import Study
from hpo.trial import Failure, Report
from tests.strategies import spaces

SPACE = SearchSpace(
    (
        Float("x", 0.0, 1.0),
        Categorical("kind", ("a", "b")),
        Float("deep", 0.0, 1.0, when={"kind": ("b",)}),
        Integer("n", 1, 6),
    )
)


def loss_of(params: Params) -> float:
    """Smallest, 0, at x = 0.3, kind b, deep = 0.7, n = 4."""
    deep = (float(params["deep"]) - 0.7) ** 2 if params["kind"] == "b" else 0.2
    return (float(params["x"]) - 0.3) ** 2 + deep + 0.01 * (int(params["n"]) - 4) ** 2


def history_of(n: int, seed: int = 0, space: SearchSpace = SPACE) -> History:
    rng = np.random.default_rng(seed)
    history = History(space)
    for _ in range(n):
        params = space.sample(rng)
        history.observe(params, loss_of(params))
    history.n_sampled = n
    return history


def process_of(history: History, pending: int = 0) -> Process:
    rows = best_and_spread(history.losses, 200)
    near = SPACE.codes.sample(np.random.default_rng(99), pending)
    return Process.fitted(SPACE, history.x[rows], bent(history.losses[rows]), near)


def search(
    sampler: GPSampler, trials: int, seed: int = 0, space: SearchSpace = SPACE, batch: int = 1
) -> list[Params]:
    study = Study(space, sampler, Full(1), MemoryStorage(), seed=seed, max_trials=trials)
    while asked := [trial for _ in range(batch) if (trial := study.ask())]:
        for trial in asked:
            study.tell(trial.number, Report(1, loss_of(trial.params)))
    return [trial.params for trial in study.trials]


@settings(max_examples=25)
@given(z=st.floats(-6, 6), sd=st.floats(0.01, 100), best=st.floats(-5, 5))
def test_expected_improvement_is_the_integral_that_defines_it(
    z: float, sd: float, best: float
) -> None:
    mean = best - z * sd
    direct, _ = quad(lambda t: (z - t) * norm.pdf(t), -12, z, epsabs=0, epsrel=1e-10)

    found = log_expected_improvement(np.array([mean]), np.array([sd]), best)

    assert found[0] == pytest.approx(np.log(sd * direct), rel=1e-5, abs=1e-5)


def test_acquisitions_still_rank_configurations_without_hope() -> None:
    mean, sd = np.array([1e2, 1e3, 1e5, 1e7, 1e9]), np.ones(5)
    for of in (log_expected_improvement, log_probability_of_improvement):
        found = of(mean, sd, 0.0)
        assert np.isfinite(found).all()
        assert (np.diff(found) < 0).all()


losses = st.lists(st.floats(-1e6, 1e6) | st.just(np.inf), min_size=2, max_size=30).map(np.array)


@given(losses=losses, scale=st.floats(1e-3, 1e3), shift=st.floats(-1e3, 1e3))
def test_bent_losses_keep_their_order_and_have_no_unit(
    losses: FloatArray, scale: float, shift: float
) -> None:
    values = bent(losses)

    assert np.isfinite(values).all()
    order = np.argsort(losses, kind="stable")
    assert (np.diff(values[order]) >= 0).all()
    finite = losses[np.isfinite(losses)]
    assume(len(finite) == 0 or np.ptp(finite) > 1e-3 or np.ptp(finite) == 0)
    np.testing.assert_allclose(bent(scale * losses + shift), values, atol=1e-3)


def test_a_diverged_training_does_not_hide_differences_among_good_ones() -> None:
    good = np.array([1.0, 1.1, 1.2, 1.3, 1.4, 1.5])
    values = bent(np.append(good, 1e12))
    assert values[5] - values[0] > 0.1
    assert values[6] == bent(np.append(good, [1e12, np.inf]))[6:].max() or values[6] > values[5]


@settings(max_examples=15)
@given(space=spaces(), seed=st.integers(0, 99), shift=st.floats(-0.5, 0.5))
def test_the_gradient_of_the_fit(space: SearchSpace, seed: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    x = space.codes.sample(rng, 2 * 8).reshape(2, 8, -1)
    priors = Prior(0.0, 1.5, -2, 2), Prior(0.5, 1.0, -2, 2), Prior(-2.0, np.inf, -3, 1)
    fit = KernelFit.of(space, x, rng.normal(size=(2, 8)), *priors)
    theta = np.full(len(space) + 2, shift)

    off = check_grad(lambda t: fit.loss(t)[0], lambda t: fit.loss(t)[1], theta)

    assert off < 1e-4


def test_the_process_knows_its_results_and_is_unsure_elsewhere() -> None:
    history = history_of(30)
    process = process_of(history)
    rows = best_and_spread(history.losses, 200)

    known = process.at(history.x[rows])
    fresh = process.at(SPACE.codes.sample(np.random.default_rng(7), 200))

    np.testing.assert_allclose(known.mean, bent(history.losses[rows]), atol=0.1)
    assert (known.nearest < 1e-9).all()
    assert np.median(fresh.sd) > 3 * np.median(known.sd)


def test_pending_configurations_reduce_the_variance_alone() -> None:
    history = history_of(15)
    near = SPACE.codes.sample(np.random.default_rng(99), 3)

    without, given = process_of(history).at(near), process_of(history, pending=3).at(near)

    np.testing.assert_allclose(given.mean, without.mean)
    assert (given.sd < without.sd).all()
    assert (given.nearest < 1e-9).all()


@pytest.mark.parametrize("sampler", [GPSampler(), GPSampler("ucb", 1.0), GPSampler("pi", xi=0.01)])
def test_finds_the_minimum_over_a_conditional_space(sampler: GPSampler) -> None:
    found = [min(map(loss_of, search(sampler, 30, seed))) for seed in range(2)]
    assert max(found) < 0.02


def test_a_batch_has_configurations_apart_from_each_other() -> None:
    tried = search(GPSampler(), 24, batch=8)
    codes = np.array([np.nan_to_num(SPACE.encode(params), nan=-1) for params in tried[8:16]])
    gaps = np.abs(codes[:, None] - codes).max(axis=2)[np.triu_indices(8, 1)]
    assert gaps.min() > 0.01
    assert min(map(loss_of, tried)) < 0.02


def test_a_finite_space_is_searched_once() -> None:
    space = SearchSpace(
        (Integer("n", 1, 4), Categorical("kind", ("a", "b")), Categorical("x", (0.3, 0.9)))
    ).to_dict()
    space["deep"] = {"type": "categorical", "choices": [0.1, 0.7], "when": {"kind": ["b"]}}
    tried = search(GPSampler(), 99, space=SearchSpace.from_dict(space))
    assert len(tried) == len({frozenset(params.items()) for params in tried}) == 24


def test_suggestions_do_not_depend_on_the_unit_of_the_loss() -> None:
    one, other = history_of(12), History(SPACE)
    for row, loss in zip(one.x, one.losses, strict=True):
        other.observe(SPACE.decode(row), 1024 * loss)
    rng = np.random.default_rng
    assert GPSampler().suggest(one, rng(1)) == GPSampler().suggest(other, rng(1))


def test_failures_are_avoided() -> None:
    study = Study(SPACE, GPSampler(), Full(1), MemoryStorage(), seed=1, max_trials=30)
    while trial := study.ask():
        fails = trial.params["kind"] == "a"
        outcome = Failure("no") if fails else Report(1, loss_of(trial.params))
        study.tell(trial.number, outcome)
    assert sum(trial.params["kind"] == "a" for trial in study.trials[10:]) <= 5


def test_only_so_many_results_are_used() -> None:
    history = history_of(700)
    rows = best_and_spread(history.losses, 200)
    assert len(set(rows)) == 200
    assert set(np.argsort(history.losses)[:100]) <= set(rows)
    assert np.argmax(history.losses) in rows
    assert loss_of(GPSampler().suggest(history, np.random.default_rng(0))) < 0.01


def test_the_search_finds_the_maximum_of_a_function_with_steps_and_conditions() -> None:
    best = SPACE.encode({"x": 0.3, "kind": "b", "deep": 0.7, "n": 4})

    def value(x: FloatArray) -> FloatArray:
        return -np.array([loss_of(SPACE.decode(row)) for row in x])

    for seed in range(3):
        found = maximise(SPACE, value, np.empty((0, 4)), 4, np.random.default_rng(seed))
        np.testing.assert_allclose(SPACE.codes.snap(found[None])[0], best, atol=0.03)


def test_settings_without_effect_are_mistakes() -> None:
    for name, message in (
        ("gp:kappa=3", "kappa=3.0 is for acquisition=ucb; leave it out"),
        ("gp:acquisition=ucb,xi=0.1", "xi=0.1 is for acquisition=ei and pi; leave it out"),
        ("gp:acquisition=uc", "acquisition='uc' must be one of ei, ucb, pi, did you mean 'ucb'?"),
    ):
        with pytest.raises(ParameterError, match=message):
            algorithms.canonical(name)
    assert algorithms.sampler_of("gp:kappa=2.5,acquisition=ucb") == GPSampler("ucb", 2.5)


def test_kappa_is_the_weight_of_the_uncertainty() -> None:
    history = history_of(20)
    process = process_of(history)
    sd = [
        process.at(
            SPACE.encode(GPSampler("ucb", kappa).suggest(history, np.random.default_rng(3)))[None]
        ).sd[0]
        for kappa in (0.0, 2.0, 100.0)
    ]
    assert sd[0] < sd[1] < sd[2]


def test_works_as_an_algorithm_of_hyperopt() -> None:
    from hyperopt import fmin, hp

    from hpo.samplers.hyperopt import suggest

    best = fmin(
        lambda x: (x - 0.3) ** 2,
        hp.uniform("x", 0, 1),
        algo=partial(suggest, sampler=GPSampler()),
        max_evals=15,
        rstate=np.random.default_rng(0),
        show_progressbar=False,
        verbose=False,
    )
    assert best["x"] == pytest.approx(0.3, abs=0.01)
