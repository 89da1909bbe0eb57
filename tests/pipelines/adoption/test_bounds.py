"""The table of bounds, held against what the libraries do."""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.ensemble import (
    ExtraTreesRegressor,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)

from hpo.space.parameters import Categorical, Float, Integer
from pipelines.adoption.bounds import BOUNDS, Bounds, is_possible_range, why_impossible
from pipelines.models import FAMILIES, settings, single_family

_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(60, 3))
Y = (X[:, 0] > 0).astype(int)
HARMLESS = {"lightgbm": {"verbosity": -1, "num_threads": 1}, "xgboost": {"nthread": 1}}
ESTIMATORS = {
    "hist_gradient_boosting": partial(HistGradientBoostingRegressor, max_iter=1),
    "random_forest": partial(RandomForestRegressor, n_estimators=1),
    "extra_trees": partial(ExtraTreesRegressor, n_estimators=1, bootstrap=True),
}


def trains(model: str, name: str, value: float) -> bool:
    """Whether the library takes a value, for one round on 60 rows."""
    if model in ESTIMATORS:
        return _fits(ESTIMATORS[model], name, value)
    params = {
        "objective": "binary" if model == "lightgbm" else "binary:logistic",
        name: value,
    } | HARMLESS[model]
    try:
        if model == "lightgbm":
            lightgbm.train({"num_iterations": 1} | params, lightgbm.Dataset(X, Y))
        else:
            bins = int(params.get("max_bin", 256))
            xgboost.train(params, xgboost.QuantileDMatrix(X, Y, max_bin=bins), 1)
    except (ValueError, lightgbm.basic.LightGBMError, xgboost.core.XGBoostError):
        return False
    return True


def _fits(estimator: Any, name: str, value: float) -> bool:
    """Whether an estimator of scikit-learn accepts a value."""
    typed = float(value) if name in {"max_features", "max_samples"} else value
    try:
        estimator(**{name: typed}).fit(X, Y)
    except ValueError:
        return False
    return True


def ends() -> Iterator[tuple[str, str, float, bool]]:
    """Values at the ends of the table's bounds and just beyond, and whether they are within."""
    for model in (*HARMLESS, *ESTIMATORS):
        for name, bounds in BOUNDS[model].items():
            if (model, name) == ("xgboost", "n_estimators"):  # an argument of its training
                continue
            step = 1 if bounds.high > 1 and math.isfinite(bounds.high) else 0.25
            if abs(bounds.low) < 100:
                yield model, name, bounds.low, not bounds.open_low
                yield model, name, bounds.low - step, False
            if bounds.high <= 131_072:
                yield model, name, bounds.high, True
                yield model, name, bounds.high + step, False


@pytest.mark.parametrize(("model", "name", "value", "within"), list(ends()))
def test_the_libraries_accept_exactly_the_bounds(
    model: str, name: str, value: float, within: bool
) -> None:
    assert trains(model, name, value) == within
    assert (why_impossible(model, name, value) is None) == within


def test_names_are_main_names() -> None:
    for model, table in BOUNDS.items():
        for name in table:
            names = single_family(model).names
            assert name in {*names.parameters, *names.reserved}, name


@pytest.mark.parametrize("model", FAMILIES)
def test_the_models_own_spaces_are_possible(model: str) -> None:
    own = settings(model)
    for parameter in own.space:
        assert is_possible_range(model, parameter)
        if not isinstance(parameter, Categorical):
            assert parameter.name in BOUNDS[model]
    for point in own.first_points:
        for name, value in point.items():
            assert isinstance(value, str) or why_impossible(model, name, value) is None


def test_the_message_gives_the_rule() -> None:
    assert why_impossible("lightgbm", "bagging_fraction", 5) == (
        "is not accepted by lightgbm: bagging_fraction must lie in (0, 1]"
    )
    assert str(why_impossible("lightgbm", "learning_rate", -1)).endswith(
        "learning_rate must be above 0"
    )
    assert str(why_impossible("xgboost", "reg_lambda", -1)).endswith(
        "reg_lambda must be at least 0"
    )
    assert "float32" in str(why_impossible("lightgbm", "max_delta_step", 1e300))
    assert "float32" in str(why_impossible("lightgbm", "lambda_l1", 1e-300))
    assert why_impossible("lightgbm", "learning_rate", 1e9) is None


@pytest.mark.parametrize(
    ("parameter", "possible"),
    [
        (Float("bagging_fraction", 0.0, 1.0), True),  # the end itself need not have been tried
        (Float("bagging_fraction", -0.1, 1.0), False),
        (Float("bagging_fraction", 0.1, 1.5), False),
        (Integer("num_leaves", 2, 10**30), False),
        (Float("max_delta_step", -1.0, 1e300), False),
        (Categorical("data_sample_strategy", ("goss", "bagging")), True),
    ],
)
def test_ranges(parameter: Float | Integer | Categorical, possible: bool) -> None:
    assert is_possible_range("lightgbm", parameter) == possible


def test_open_bounds_contain_the_neighbours_of_their_lower_end() -> None:
    assert not Bounds(0, 1, open_low=True).contain(0)
    assert Bounds(0, 1, open_low=True).contain(1e-9)
