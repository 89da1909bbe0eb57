"""What a user believes of a space: densities, draws, the written form, and searches."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.algorithms import algorithm
from hpo.errors import SpaceError
from hpo.space import Categorical, Float, Prior, SearchSpace
from hpo.space.center import center
from hpo.space.narrowing import restricted
from hpo.space.tree import tree
from hpo.space.yaml import from_yaml, to_yaml
from hpo.storage import MemoryStorage
from hpo.study import FirstPoint, Study, StudySettings
from hpo.trial import Report
from tests.strategies import spaces

WRITTEN = """
rate: {low: 1e-3, high: 1.0, log: true, prior: 0.01}
leaves: {low: 2, high: 200, log: true, prior: {value: 31, spread: 0.1}}
kind: {choices: [a, b, c], prior: {value: b, spread: 0.2}}
share: {low: 0.0, high: 1.0}
"""


@st.composite
def believed(draw: st.DrawFn) -> SearchSpace:
    """A space in which some parameters have a prior."""
    space = draw(spaces())
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    changed = []
    for each in space.parameters:
        value = each.from_unit(rng.random())
        prior = Prior(value, draw(st.floats(0.01, 1.0)))
        changed.append(replace(each, prior=prior) if draw(st.booleans()) else each)
    return SearchSpace(tuple(changed))


@given(believed(), st.integers(0, 1000))
def test_a_density_is_relative_to_the_uniform_one(space: SearchSpace, seed: int) -> None:
    if space.belief is None:
        assert all(each.prior is None for each in space)
        return
    rng = np.random.default_rng(seed)
    codes = rng.random((50, len(space)))
    logs = space.belief.log_density(codes)
    assert np.isfinite(logs).all()
    inactive = np.full((1, len(space)), np.nan)
    assert space.belief.log_density(inactive).tolist() == [0.0]
    draws = space.belief.sample(rng, 50)
    assert ((draws >= 0) & (draws <= 1)).all()
    for row in space.codes.deactivate(space.codes.snap(draws)):
        params = space.decode(row)
        assert set(params) == set(space.active(params))


@pytest.mark.parametrize(
    "parameter",
    [
        Float("x", 0.0, 1.0, prior=Prior(0.9, 0.1)),
        Float("x", 1e-3, 1.0, log=True, prior=Prior(0.01, 0.5)),
        Categorical("x", ("a", "b", "c"), prior=Prior("b", 0.3)),
    ],
)
def test_the_density_has_the_mean_1_and_draws_follow_it(
    parameter: Float | Categorical,
) -> None:
    belief = SearchSpace((parameter,)).belief
    assert belief is not None
    grid = (np.arange(3000) + 0.5)[:, None] / 3000
    density = np.exp(belief.log_density(grid))
    assert density.mean() == pytest.approx(1.0, abs=1e-3)
    assert parameter.prior is not None
    mode = parameter.to_unit(parameter.prior.value)
    assert grid[np.argmax(density), 0] == pytest.approx(mode, abs=0.2)
    n = 20_000
    draws = belief.sample(np.random.default_rng(0), n)[:, 0]
    counts = np.histogram(draws, bins=3, range=(0, 1))[0] / n
    expected = density.reshape(3, -1).mean(axis=1) / 3
    # about 6 standard deviations of a share of n draws
    np.testing.assert_allclose(counts, expected, atol=6 * 0.5 / np.sqrt(n))


def test_a_prior_in_a_file_is_read_and_written() -> None:
    space = from_yaml(WRITTEN)
    assert space["rate"].prior == Prior(0.01, 0.25)
    assert space["leaves"].prior == Prior(31, 0.1)
    assert space["kind"].prior == Prior("b", 0.2)
    assert space["share"].prior is None
    assert from_yaml(to_yaml(space)) == space
    assert center(space) == {"rate": 0.01, "leaves": 31, "kind": "b", "share": 0.5}
    assert "prior 31 ± 0.1" in "\n".join(tree(space))
    assert restricted(space, leaves={"low": 50, "high": 100})["leaves"].prior is None
    assert restricted(space, leaves={"low": 8, "high": 64})["leaves"].prior == Prior(31, 0.1)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{low: 0, high: 9, prior: 10}", r"x: prior: x=10 must lie in \[0, 9\]"),
        ("{choices: [a, b], prior: c}", "x: prior: x='c' must be one of 'a', 'b'"),
        ("{low: 0, high: 9, prior: {value: 1, spread: 2}}", "spread=2 must be a number from 0.001"),
        ("{low: 0, high: 9, prior: {spread: 0.1}}", "x: prior: value is missing"),
        ("{low: 0, high: 9, prior: {value: 1, sprad: 1}}", "x: prior: unknown key 'sprad'"),
        ("{low: 0, high: 9, prior: [1]}", "x: prior: expected a value, or value and spread"),
        ("{low: 0, high: 9, prio: 1}", "unknown key 'prio', did you mean 'prior'"),
    ],
)
def test_a_wrong_prior_is_one_error(entry: str, said: str) -> None:
    with pytest.raises(SpaceError, match=said):
        from_yaml(f"x: {entry}")


def searched(name: str, space: SearchSpace, seed: int) -> Study:
    study = Study(
        space,
        *algorithm(name, (1.0,)),
        MemoryStorage(),
        seed=seed,
        max_trials=30,
        settings=StudySettings(first_points=[FirstPoint(center(space), "center")]),
    )
    while (trial := study.ask()) is not None:
        at = [float(trial.params[each]) for each in ("a", "b", "c", "d")]
        study.tell(trial.number, Report(1.0, sum((x - 0.83) ** 2 for x in at)))
    return study


def space_of(value: float | None) -> SearchSpace:
    prior = None if value is None else Prior(value, 0.1)
    return SearchSpace(tuple(Float(name, 0.0, 1.0, prior=prior) for name in ("a", "b", "c", "d")))


@pytest.mark.parametrize("name", ["tpe", "gp", "random", "evolution", "kde+full"])
def test_a_good_prior_helps_and_a_bad_one_does_not_decide(name: str) -> None:
    def loss(value: float | None, trials: int) -> float:
        found = [searched(name, space_of(value), seed).trials[:trials] for seed in range(5)]
        return float(np.median([min(trial.loss for trial in each) for each in found]))

    assert loss(0.8, 6) < loss(None, 6) / 2
    if name in ("tpe", "gp"):
        assert loss(0.1, 30) < loss(0.1, 3) / 4, "the results decide in the end"
