"""Configurations with the same effective values are the same training, and others are not."""

from dataclasses import asdict

import numpy as np
import pytest

from hpo.samplers.grid import GridSampler
from hpo.space import Categorical, Float, Integer, Params, SearchSpace
from pipelines.models import FAMILIES, FamilyOptions, family, identity, search_model, single_family
from pipelines.models.network.settings import Hyperparameters
from pipelines.objectives.planning import projected
from pipelines.table.scores.metrics import default_metric
from tests.folds import make_fold

SAME: list[tuple[str, Params, Params]] = [
    ("lightgbm", {}, {"num_leaves": 31, "eta": 0.1}),
    ("lightgbm", {"max_depth": -1}, {"max_depth": 0}),
    ("lightgbm", {"max_depth": 2, "num_leaves": 60}, {"max_depth": 2, "num_leaves": 4}),
    ("lightgbm", {"bagging_fraction": 0.5, "bagging_freq": 0}, {"bagging_freq": 5}),
    ("lightgbm", {"linear_lambda": 3.0, "top_rate": 0.4}, {"num_grad_quant_bins": 8}),
    ("xgboost", {}, {"eta": 0.3, "max_depth": 6, "grow_policy": "depthwise"}),
    ("mlp", {"numeric_embedding": "none", "sigma": 1.0}, {"numeric_embedding": "none"}),
    ("mlp", {"optimizer": "sgd", "beta2": 0.9, "learning_rate": 1.0}, {"optimizer": "sgd"}),
]
DIFFERENT: list[tuple[str, Params, Params]] = [
    ("lightgbm", {"max_depth": 2, "num_leaves": 3}, {"max_depth": 2, "num_leaves": 4}),
    ("lightgbm", {"bagging_fraction": 0.5}, {}),
    ("xgboost", {"max_leaves": 3}, {}),
    ("mlp", {"sigma": 1.0}, {}),
]


def predictions(name: str, params: Params) -> list[float]:
    fold = make_fold("binary")
    model = family(name)(fold, FamilyOptions(default_metric("binary"), 1, horizon=8)).start(
        params, 3
    )
    model.train(8)
    return [float(value) for value in np.ravel(model.predict(fold.valid))]


@pytest.mark.parametrize(("name", "one", "other"), SAME)
def test_the_same_effective_values_give_the_same_model(
    name: str, one: Params, other: Params
) -> None:
    assert identity(name)(one) == identity(name)(other)
    assert predictions(name, one) == predictions(name, other)


@pytest.mark.parametrize(("name", "one", "other"), DIFFERENT)
def test_what_changes_a_model_is_another_configuration(
    name: str, one: Params, other: Params
) -> None:
    assert identity(name)(one) != identity(name)(other)
    assert predictions(name, one) != predictions(name, other)


@pytest.mark.parametrize("name", ["lightgbm", "xgboost"])
def test_what_is_left_out_is_what_the_file_says(name: str) -> None:
    unset = single_family(name).unset
    assert predictions(name, {}) == predictions(name, unset)
    default = single_family(name).default["classification"]
    assert {*single_family(name).names.parameters} == {*unset, *default}


def test_what_is_left_out_of_a_network_is_what_the_file_says() -> None:
    assert dict(single_family("mlp").unset) == asdict(Hyperparameters())


def test_a_switch_of_a_space_is_no_difference() -> None:
    known = identity("lightgbm")
    assert known({"branch": "none"}) == known({"branch": "tuned", "max_depth": -1})


def test_families_of_a_joint_search_are_different() -> None:
    known = identity("all")
    assert known({"model": "lightgbm"}) != known({"model": "xgboost"})
    assert known({"model": "lightgbm"}) == known({"model": "lightgbm", "lightgbm.num_leaves": 31})


OWN = SearchSpace(
    (
        Categorical("branch", ("small", "large")),
        Float("eta", 0.01, 0.05),
        Integer("num_leaves", 8, 20, step=4),
        Categorical("max_bin", (63, 127)),
        Integer("max_depth", 2, 12, when={"branch": ("small",)}),
        Float("lambda_l1", 1e-3, 1.0, log=True),
    )
)


def test_a_default_is_projected_onto_a_space_of_ones_own() -> None:
    model = search_model("lightgbm")
    default, tuned = (projected(model, p, OWN) for p in model.defaults("binary"))

    assert default == {
        "branch": "small",
        "eta": 0.05,  # 0.1
        "num_leaves": 20,  # 31
        "max_bin": 127,  # 255
        "max_depth": 12,  # no limit
        "lambda_l1": 1e-3,  # 0
    }
    assert tuned == default | {"eta": 0.044, "num_leaves": 16}
    OWN.validate(default)
    on_grid = projected(model, model.defaults("binary")[1], OWN, GridSampler())
    assert on_grid == tuned | {"eta": pytest.approx(0.044, rel=0.1)}


@pytest.mark.parametrize("kind", ["binary", "regression"])
@pytest.mark.parametrize("name", [*FAMILIES, "all"])
def test_projected_defaults_hold_all_active_parameters(name: str, kind: str) -> None:
    model = search_model(name)
    space = model.settings(kind=kind).space
    for point in model.defaults(kind):
        space.validate(projected(model, point, space))
        space.validate(projected(model, point, space, GridSampler()))
