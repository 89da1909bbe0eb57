import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from hpo.errors import ParameterError, SpaceError
from hpo.space import Categorical, SearchSpace, Value
from pipelines.models import (
    ALL,
    BASELINES,
    FAMILIES,
    catalog,
    check_device,
    family,
    is_model,
    search_model,
    settings,
    single_family,
    worker_modules,
)
from pipelines.models.catalog import JOINT
from pipelines.models.families import LARGE
from tests.folds import KINDS

CATEGORICAL_ONLY = {
    "lightgbm": {"min_data_per_group", "cat_l2", "cat_smooth", "max_cat_to_onehot"},
    "xgboost": {"max_cat_to_onehot"},
    "mlp": set(),
    "catboost": {"one_hot_max_size"},
    "hist_gradient_boosting": set(),
    "random_forest": {"encoding"},
    "extra_trees": {"encoding"},
    "linear": set(),
    "svm": set(),
    "knn": set(),
}


def space(**parameters: object) -> SearchSpace:
    return SearchSpace.from_dict(parameters)


def test_no_model_library_is_imported_for_the_settings() -> None:
    code = (
        "import sys, pipelines.models as m; [m.settings(n) for n in (*m.FAMILIES, m.ALL)];"
        "assert not {'lightgbm', 'xgboost', 'torch', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("has_categorical", [True, False])
@pytest.mark.parametrize("rows", [0, LARGE])
@pytest.mark.parametrize("model", [*FAMILIES, ALL])
def test_first_points_hold_exactly_their_active_parameters(
    model: str, rows: int, kind: str, has_categorical: bool
) -> None:
    found = settings(model, kind=kind, has_categorical=has_categorical, rows=rows)
    for point in found.first_points:
        assert tuple(point) == found.space.active(point)
        assert np.nanmax(found.space.encode(point)) <= 1.0
    assert found.first_points[0] != found.first_points[1]
    assert 0 < found.budget.min <= found.budget.max
    assert found.budget.eta >= 2


@pytest.mark.parametrize("model", ["lightgbm", ALL])
@pytest.mark.parametrize("kind", KINDS)
def test_large_tables_have_a_tuned_default_of_their_own(model: str, kind: str) -> None:
    small, below, large = (
        settings(model, kind=kind, rows=rows).first_points for rows in (0, LARGE - 1, LARGE)
    )
    assert small == below
    assert small[0] == large[0], "the library's default is the same"
    assert small[1] != large[1]
    leaves = "lightgbm.num_leaves" if model == ALL else "num_leaves"
    assert int(large[1][leaves]) > int(small[1][leaves])


@pytest.mark.parametrize("name", FAMILIES)
def test_parameters_of_categorical_columns_are_searched_only_where_there_are_some(
    name: str,
) -> None:
    with_them, without = (settings(name, has_categorical=has) for has in (True, False))
    assert set(with_them.space.names) - set(without.space.names) == CATEGORICAL_ONLY[name]
    assert not CATEGORICAL_ONLY[name] & set().union(*without.first_points)


def test_all_is_one_conditional_space_with_prefixed_names() -> None:
    joined = settings(ALL)
    model = joined.space["model"]
    assert isinstance(model, Categorical)
    assert model.choices == JOINT
    assert joined.space["lightgbm.learning_rate"].when == {"model": ("lightgbm",)}
    assert joined.space["xgboost.max_leaves"].when == {
        "model": ("xgboost",),
        "xgboost.grow_policy": ("lossguide",),
    }
    assert {point["model"] for point in joined.first_points} == set(JOINT)
    rng = np.random.default_rng(0)
    for _ in range(20):
        params = joined.space.sample(rng)
        chosen, own = search_model(ALL).resolve(params)
        assert chosen == params["model"]
        settings(chosen).space.validate(own)


def test_budgets_of_all_are_percent_of_a_full_training_of_each_family() -> None:
    assert search_model("lightgbm").rounds("lightgbm", 81.0) == 81
    joint = search_model(ALL)
    for name in JOINT:
        full = settings(name).budget
        assert joint.rounds(name, 100.0) == full.max
        assert joint.rounds(name, settings(ALL).budget.min) >= full.min * 0.9


@pytest.mark.parametrize("model", [*FAMILIES, ALL])
def test_a_budget_is_the_sum_over_its_rounds(model: str) -> None:
    searched, last = search_model(model), settings(model).budget.max
    for name in searched.families:
        rounds = searched.rounds(name, last)
        expected = rounds if model != ALL else 100.0
        assert rounds * searched.budget_per_round(last, rounds) == pytest.approx(expected)


def test_unknown_models_name_the_closest() -> None:
    with pytest.raises(ParameterError, match="unknown model 'lightgmb', did you mean 'lightgbm'"):
        settings("lightgmb")
    with pytest.raises(ParameterError, match="unknown model 'xgbost', did you mean 'xgboost'"):
        family("xgbost")


def test_every_listed_class_is_there() -> None:
    for name in (*FAMILIES, *BASELINES):
        assert family(name).budget_unit in ("rounds", "steps", "trees", "fits")


@pytest.mark.parametrize(
    ("model", "definition", "message"),
    [
        (
            "lightgbm",
            {"num_leafs": [3]},
            "lightgbm has no parameter 'num_leafs', did you mean 'num_leaves'",
        ),
        ("lightgbm", {"num_iterations": [3]}, "num_iterations is set by the study"),
        ("lightgbm", {"n_estimators": [3]}, "n_estimators is set by the study"),
        ("lightgbm", {"eta": [0.1], "learning_rate": [0.1]}, "are the same parameter"),
        ("xgboost", {"max_deph": [3]}, "did you mean 'max_depth'"),
        ("xgboost", {"nthread": [3]}, "nthread is set by the study"),
        ("mlp", {"widht": [64]}, "did you mean 'width'"),
        ("all", {"learning_rate": [0.1]}, "needs `model`"),
        ("all", {"model": ["lightgbm"], "learning_rate": [0.1]}, "lightgbm.learning_rate"),
        ("all", {"model": ["lightgbn"]}, "did you mean 'lightgbm'"),
        (
            "all",
            {
                "model": ["xgboost"],
                "xgboost.max_deph": {"low": 1, "high": 3, "when": {"model": "xgboost"}},
            },
            "did you mean 'max_depth'",
        ),
    ],
)
def test_a_space_with_wrong_names_is_refused(
    model: str, definition: Mapping[str, object], message: str
) -> None:
    with pytest.raises(SpaceError, match=message):
        search_model(model).check_space(SearchSpace.from_dict(definition))


def test_families_with_commas_are_searched_together() -> None:
    both = search_model("linear,lightgbm")
    assert both.families == ("linear", "lightgbm")
    found = settings("linear,lightgbm")
    assert [point["model"] for point in found.first_points] == ["linear", "linear", "lightgbm"]
    assert found.budget.min < found.budget.max, "what has a single budget does not set the rungs"
    assert is_model("linear,lightgbm")
    for wrong, message in (
        ("linear,lightgbn", "did you mean 'lightgbm'"),
        ("linear,linear", "names linear more than once"),
        ("linear,", "unknown model ''"),
        ("linear, lightgbm", "unknown model ' lightgbm'"),
    ):
        assert not is_model(wrong)
        with pytest.raises(ParameterError, match=message):
            search_model(wrong)


@pytest.mark.parametrize("model", [*FAMILIES, ALL])
def test_the_spaces_shipped_are_accepted(model: str) -> None:
    search_model(model).check_space(settings(model).space)


def test_aliases_become_the_main_name_and_fixed_values_are_one_choice() -> None:
    lightgbm, xgboost = single_family("lightgbm"), single_family("xgboost")
    lightgbm.check_space(space(eta={"low": 0.01, "high": 0.3}, max_bins=[63]))
    assert lightgbm.canonical({"eta": 0.1, "max_bins": 63}) == {"learning_rate": 0.1, "max_bin": 63}
    assert xgboost.canonical({"gamma": 0.1, "lambda": 2.0}) == {
        "min_split_loss": 0.1,
        "reg_lambda": 2.0,
    }


def test_a_switch_between_branches_never_reaches_the_model() -> None:
    params: dict[str, Value] = {"size": "small", "num_leaves": 7}
    assert not search_model("lightgbm").knows("size")
    assert search_model("lightgbm").resolve(params) == ("lightgbm", {"num_leaves": 7})
    joint: dict[str, Value] = {"model": "lightgbm", "size": "small", "lightgbm.num_leaves": 7}
    assert not search_model(ALL).knows("size")
    assert search_model(ALL).resolve(joint) == ("lightgbm", {"num_leaves": 7})


@pytest.mark.parametrize("name", JOINT)
def test_a_joint_search_answers_for_a_prefixed_name_as_the_family_does(name: str) -> None:
    single, joint = single_family(name), search_model(ALL)
    for own in (*single.names.parameters, *single.names.reserved, "eta", "subsample", "nonsense"):
        nested = f"{name}.{own}"
        assert joint.knows(nested) == single.knows(own)
        assert joint.limits(nested) == single.limits(own)
        assert joint.canonical_name(nested) == f"{name}.{single.canonical_name(own)}"


@pytest.mark.parametrize("name", ["learning_rate", "lightgbn.learning_rate", "size"])
def test_a_joint_search_does_not_know_names_without_a_family(name: str) -> None:
    joint = search_model(ALL)
    assert not joint.knows(name)
    assert joint.limits(name) is None
    assert joint.canonical_name(name) == name
    assert joint.knows("model")


def test_workers_import_the_families_of_a_search_and_the_baselines() -> None:
    assert worker_modules("mlp") == ["pipelines.models.mlp", "pipelines.models.baselines"]
    assert worker_modules(ALL) == [
        "pipelines.models.lightgbm",
        "pipelines.models.xgboost",
        "pipelines.models.mlp",
        "pipelines.models.baselines",
    ]


def test_a_gpu_is_asked_for_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "cuda_devices", lambda: 0)
    check_device("auto", "linear")
    with pytest.raises(ParameterError, match="no GPU that CUDA finds; take device=auto or device="):
        check_device("cuda", "all")
    monkeypatch.setattr(catalog, "cuda_devices", lambda: 1)
    check_device("cuda", "all")
    with pytest.raises(ParameterError, match="linear cannot be trained on a GPU"):
        check_device("cuda", "linear")
