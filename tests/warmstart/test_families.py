import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.space.parameters import Params
from warmstart.families import related, short_name, translate

FOREST: Params = {
    "learning_rate": 0.05,
    "num_leaves": 60,
    "min_data_in_leaf": 20,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "lambda_l1": 0.1,
    "lambda_l2": 0.2,
    "extra_trees": True,
}


def test_trees_of_lightgbm_in_terms_of_xgboost() -> None:
    found = translate(FOREST, "lightgbm", "xgboost", "binary")
    assert found == {
        "learning_rate": 0.05,
        "subsample": 0.8,
        "reg_alpha": 0.1,
        "reg_lambda": 0.2,
        "grow_policy": "lossguide",
        "max_depth": 10,
        "max_leaves": 60,
        "colsample_bylevel": 0.5,
        "min_child_weight": pytest.approx(2.0),
    }


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"max_depth": 4}, {"num_leaves": 16}),
        ({"max_depth": 4, "grow_policy": "lossguide", "max_leaves": 9}, {"num_leaves": 9}),
        ({"max_depth": 4, "grow_policy": "lossguide", "max_leaves": 99}, {"num_leaves": 16}),
        ({"max_depth": 4, "grow_policy": "depthwise", "max_leaves": 9}, {"num_leaves": 16}),
        ({"max_depth": 0, "grow_policy": "lossguide", "max_leaves": 0}, {}),
        ({"colsample_bylevel": 0.5, "colsample_bynode": 0.5}, {"feature_fraction": 0.25}),
        ({"min_child_weight": 3.0}, {"min_data_in_leaf": 3}),
        ({"eta": 0.1, "booster": "dart"}, {}),
    ],
)
def test_trees_of_xgboost_in_terms_of_lightgbm(theirs: Params, ours: Params) -> None:
    assert translate(theirs, "xgboost", "lightgbm", "regression") == ours


@given(
    leaves=st.integers(2, 1000),
    rows=st.integers(1, 500),
    share=st.floats(0.1, 1.0),
    task=st.sampled_from(["binary", "multiclass", "regression"]),
)
def test_what_both_have_comes_back(leaves: int, rows: int, share: float, task: str) -> None:
    forest: Params = {"num_leaves": leaves, "min_data_in_leaf": rows, "feature_fraction": share}
    there = translate(forest, "lightgbm", "xgboost", task)
    assert there is not None
    back = translate(there, "xgboost", "lightgbm", task)
    assert back == {**forest, "feature_fraction": pytest.approx(share)}


def test_trees_of_lightgbm_in_terms_of_scikit_learn() -> None:
    found = translate(FOREST, "lightgbm", "hist_gradient_boosting", "binary")
    expected = {
        "learning_rate": 0.05,
        "max_leaf_nodes": 60,
        "min_samples_leaf": 20,
        "l2_regularization": 0.2,
    }
    assert found == expected
    back = translate(expected, "hist_gradient_boosting", "lightgbm", "binary")
    assert back == {name: FOREST[name] for name in FOREST if back and name in back}
    assert len(back) == 4


def test_the_trees_within_a_study_of_all_families_speak_to_both() -> None:
    joint = {"model": "lightgbm"} | {f"lightgbm.{name}": value for name, value in FOREST.items()}
    assert translate(joint, "all", "lightgbm", "binary") == FOREST
    assert translate(joint, "all", "xgboost", "binary") == translate(
        FOREST, "lightgbm", "xgboost", "binary"
    )
    assert translate(joint, "all", "mlp", "binary") is None
    assert translate(FOREST, "lightgbm", "all", "binary") == joint
    assert translate(FOREST, "lightgbm", "catboost,lightgbm", "binary") == joint
    assert translate(FOREST, "lightgbm", "catboost,linear", "binary") is None
    assert translate(joint, "lightgbm,linear", "lightgbm", "binary") == FOREST
    assert translate(joint, "all", "mlp,lightgbm", "binary") == joint
    assert translate(joint, "all", "mlp,linear", "binary") is None


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("lightgbm", "lightgbm", True),
        ("lightgbm", "xgboost", True),
        ("xgboost", "lightgbm", True),
        ("all", "mlp", True),
        ("catboost,linear", "linear", True),
        ("linear", "catboost,linear", True),
        ("script:train", "other:train", True),
        ("script:train", "all", False),
        ("mlp", "all", True),
        ("mlp", "xgboost", False),
        ("lightgbm", "hist_gradient_boosting", True),
        ("hist_gradient_boosting", "xgboost", False),
    ],
)
def test_families_that_have_something_to_say_to_each_other(
    one: str, other: str, expected: bool
) -> None:
    assert related(one, other) is expected
    assert (translate({"model": other}, one, other, "binary") is None) is not expected


SVC = "sklearn.svm.SVC(kernel='poly', class_weight={0: 1.0})"
PIPELINE = (
    "sklearn.pipeline.Pipeline(steps=[('a', sklearn.preprocessing.StandardScaler()), "
    "('b', sklearn.svm.SVC(C=2)), ('c', 'passthrough')])"
)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (SVC, "SVC"),
        (PIPELINE, "StandardScaler+SVC+passthrough"),
        ("lightgbm", "lightgbm"),
        ("module:function", "module:function"),
        ("cut.Off(", "cut.Off("),
        ("broken.Text(a b)", "Text"),
    ],
)
def test_an_estimator_has_a_short_name(model: str, name: str) -> None:
    assert short_name(model) == name


@pytest.mark.parametrize(
    ("other", "is_related"),
    [
        (SVC, True),
        ("sklearn.svm.SVC()", True),
        (PIPELINE, False),
        ("svm", False),
        ("module:function", False),
        ("cmd:./train.sh (x)", False),
    ],
)
def test_estimators_of_the_same_classes_are_related(other: str, is_related: bool) -> None:
    assert related(SVC, other) is related(other, SVC) is is_related
    params = {"C": 1.0}
    assert (translate(params, SVC, other, "binary") == params) is is_related
