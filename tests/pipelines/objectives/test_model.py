"""The model of the options: by name, `auto`, or an estimator."""

from typing import Any

import pytest
from scipy.stats import loguniform, norm, randint, uniform
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC

from hpo.errors import ParameterError, SpaceError
from hpo.space import Categorical, Float, Integer, SearchSpace
from pipelines.models.libraries import Library
from pipelines.models.scikit.written import written
from pipelines.objectives.model import check_changeable, text_of, with_model
from pipelines.objectives.space import choose_space
from pipelines.study.options import TuneOptions
from serving.trust import TRUSTED_MODULES
from tests.pipelines.models.scikit.own import Forgetful

MODULE = "tests.pipelines.models.scikit.own"


@pytest.mark.parametrize(
    ("estimator", "text"),
    [
        (SVC(C=2.0), "sklearn.svm.SVC(C=2.0)"),
        ("sklearn.svm:SVC", "sklearn.svm.SVC()"),
        (" sklearn.svm.SVC( kernel = 'rbf', C=2 )", "sklearn.svm.SVC(C=2)"),
        (f"{MODULE}:made", "sklearn.svm.SVC(kernel='linear')"),
        (f"{MODULE}:fitted_once", "sklearn.svm.SVC(C=3.0)"),
    ],
)
def test_the_text_of_an_estimator_is_the_model(estimator: Any, text: str) -> None:
    options = with_model(TuneOptions(estimator=estimator))
    assert (options.model, options.estimator) == (text, None)
    assert with_model(options) == options


def test_without_an_estimator_the_options_stay() -> None:
    options = TuneOptions(model="xgboost")
    assert with_model(options) is options


CHEAP = "lightgbm,linear,extra_trees,xgboost"
TOGETHER = f"{CHEAP},catboost,mlp"


@pytest.mark.parametrize(
    ("given", "model"),
    [
        ({}, "lightgbm"),
        ({"trials": 5}, "lightgbm"),
        ({"timeout": 60}, CHEAP),
        ({"timeout": 60, "trials": 5}, CHEAP),
        ({"timeout": 120}, f"{CHEAP},catboost"),
        ({"timeout": 300.0}, TOGETHER),
        ({"budget": "4h"}, TOGETHER),
        ({"timeout": 60, "algorithm": "bohb"}, "lightgbm"),
        ({"timeout": 60, "max_budget": 50}, "lightgbm"),
        ({"timeout": 60, "space": {"num_leaves": [7, 31]}}, "lightgbm"),
        ({"timeout": 60, "loss": "gamma"}, "lightgbm,xgboost"),
        ({"timeout": 60, "loss": "nonsense"}, CHEAP),
        ({"timeout": 600, "monotone": "age:+1"}, "lightgbm,xgboost,catboost"),
        ({"timeout": 60, "model": "xgboost"}, "xgboost"),
        ({"timeout": "soon"}, TOGETHER),
        ({"timeout": 60, "study": "abc"}, "auto"),
        ({"timeout": 60, "objective": print}, "auto"),
    ],
)
def test_auto_is_several_families_where_time_is_limited(given: dict[str, Any], model: str) -> None:
    assert with_model(TuneOptions(**given)).model == model


def test_auto_leaves_out_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Library, "installed", lambda self: None if self.name == "catboost" else ("x", "1")
    )
    assert with_model(TuneOptions(timeout=900)).model == f"{CHEAP},mlp"
    monkeypatch.setattr(Library, "installed", lambda _: None)
    assert with_model(TuneOptions(timeout=60)).model == "lightgbm"  # the checks say what is missing


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"estimator": SVC}, r"estimator=SVC is a class; give an instance: SVC\(\)"),
        ({"estimator": SVC(), "model": "xgboost"}, "estimator and model are both what is tuned"),
        ({"estimator": SVC(), "objective": print}, "estimator and objective are both"),
        ({"estimator": 3}, "estimator=3 is no estimator of scikit-learn"),
        ({"estimator": "SVC"}, "estimator='SVC' must be an estimator such as SVC"),
        ({"estimator": "sklearn.svm:SVX"}, "sklearn.svm has no 'SVX', did you mean 'SV"),
        ({"estimator": "sklearn.svn:SVC"}, "importing sklearn.svn failed"),
        ({"estimator": "math:pi"}, "'math:pi' is 3.14.*, and no estimator"),
        ({"estimator": f"{MODULE}:needs_more"}, "cannot be made without arguments: TypeError"),
        ({"estimator": f"{MODULE}:Shares"}, f"{TRUSTED_MODULES}=tests"),
    ],
)
def test_what_is_no_estimator_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        with_model(TuneOptions(**given))


def test_an_estimator_that_is_not_made_again_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUSTED_MODULES, MODULE)
    with pytest.raises(ParameterError, match="Forgetful: made again .* it is another one"):
        text_of(Forgetful())


def test_a_space_takes_distributions_of_scipy() -> None:
    space = choose_space(
        {"C": loguniform(0.1, 10), "tol": uniform(0, 1), "degree": randint(2, 5)}, written(SVC())
    ).space
    assert space is not None
    assert space.parameters == (
        Float("C", 0.1, 10.0, log=True),
        Float("tol", 0.0, 1.0),
        Integer("degree", 2, 4),
    )
    with pytest.raises(SpaceError, match="C: a distribution of scipy.stats must be .* got norm"):
        choose_space({"C": norm()}, written(SVC()))


def test_choices_may_be_anything_that_can_be_written() -> None:
    model = written(make_pipeline(StandardScaler(), SVC()))
    space = choose_space(
        {
            "standardscaler": [StandardScaler(), MinMaxScaler((0, 2)), "passthrough"],
            "svc__class_weight": {
                "choices": [None, {0: 1.0, 1: 2.0}],
                "when": {"standardscaler": [MinMaxScaler((0, 2))]},
            },
        },
        model,
    ).space
    assert space is not None
    scaler, weights = space.parameters
    scaled = "sklearn.preprocessing.MinMaxScaler(feature_range=(0, 2))"
    assert isinstance(scaler, Categorical)
    assert isinstance(weights, Categorical)
    assert scaler.choices == (written(StandardScaler()), scaled, "passthrough")
    assert weights.choices == ("None", "{0: 1.0, 1: 2.0}")
    assert weights.when == {"standardscaler": (scaled,)}
    with pytest.raises(SpaceError):  # other models take plain choices only
        choose_space({"num_leaves": [None, 3]}, "lightgbm")


@pytest.mark.parametrize("space", ["default", "past"])
def test_an_estimator_needs_a_space(space: str) -> None:
    with pytest.raises(SpaceError, match="an estimator has no space of its own; give a YAML"):
        choose_space(space, written(Ridge()))


def test_a_population_needs_a_parameter_that_can_change() -> None:
    fixed, rate = Categorical("max_bin", (63, 255)), Float("eta", 0.01, 0.1)
    both = SearchSpace((fixed, rate))
    options = TuneOptions(model="xgboost", algorithm="pbt:population=4")
    check_changeable(options, both)
    alone = SearchSpace((fixed,))
    check_changeable(TuneOptions(model="xgboost", algorithm="bohb"), alone)
    with pytest.raises(ParameterError, match="algorithm=pbt changes values .* none of max_bin can"):
        check_changeable(options, alone)
