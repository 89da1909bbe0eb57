"""Replayed curves are functions of the configuration, with the stated optimum and scale."""

import numpy as np
import pytest

from benchmarks.tabulated.curves import load_curves, synthetic_curves, tabulated_curves
from hpo.errors import UserError

NAMES = (*synthetic_curves(), *tabulated_curves())


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_has_one_curve_and_costs_more_the_longer_it_trains(name: str) -> None:
    curves = load_curves(name)
    curves.space.validate(curves.default)
    for number in range(20):
        params = curves.space.sample(np.random.default_rng(number))
        losses, seconds = curves.losses(params), curves.seconds(params)
        assert losses.shape == seconds.shape == (len(curves.budgets),)
        assert np.array_equal(losses, curves.losses(dict(params)))
        assert np.isfinite(losses).all()
        assert (np.diff(seconds, prepend=0.0) >= 0).all()
        assert seconds[0] > 0


@pytest.mark.parametrize("name", NAMES)
def test_nothing_beats_the_optimum_and_random_draws_have_the_scale_in_their_middle(
    name: str,
) -> None:
    curves = load_curves(name)
    drawn = [curves.space.sample(np.random.default_rng(number)) for number in range(300)]
    last = np.array([curves.losses(params)[-1] for params in drawn])
    assert last.min() >= curves.optimum
    regrets = (last - curves.optimum) / (curves.scale - curves.optimum)
    assert np.median(regrets) == pytest.approx(1.0, abs=0.25)


def test_counting_ones_gets_closer_to_the_sum_of_its_parameters_as_the_budget_grows() -> None:
    curves = load_curves("ones16+16")
    errors = []
    for number in range(100):
        params = curves.space.sample(np.random.default_rng(number))
        errors.append(
            np.abs(curves.losses(params) + sum(float(value) for value in params.values()))
        )
    # 16 means of b draws of variance p (1 - p), 1/6 on average: a mean absolute error near 0.8
    # sqrt(16 / 6 / b), and the mean of 100 such errors lies within 0.3 of it in all but one of
    # 10,000 cases
    expected = 0.8 * np.sqrt(16 / 6 / np.array(curves.budgets))
    assert np.mean(errors, axis=0) == pytest.approx(expected, rel=0.3)
    best = {name: 1 if name.startswith("c") else 1.0 for name in curves.space.names}
    assert (curves.losses(best) == curves.optimum).all()
    assert tuple(curves.seconds(best)) == curves.budgets


def test_an_unknown_name_is_answered_with_the_closest_one() -> None:
    with pytest.raises(UserError, match=r"did you mean 'ones4\+4'"):
        load_curves("ones4-4")
