"""Estimators of users as model families."""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    AdaBoostClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    StackingClassifier,
)
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC
from sklearn.tree import DecisionTreeRegressor

from hpo.errors import ParameterError, SpaceError
from hpo.space import SearchSpace
from pipelines.models import FamilyOptions, family, libraries, search_model, single_family
from pipelines.models.errors import TrainingError
from pipelines.models.scikit.calibration import FOLDS
from pipelines.models.scikit.estimator import check_estimator
from pipelines.models.scikit.single import Fit
from pipelines.models.scikit.written import written
from pipelines.table.data import Fold
from pipelines.table.scores.metrics import default_metric
from serving.members import load_member
from serving.trust import TRUSTED_MODULES
from tests.folds import make_fold
from tests.pipelines.models.scikit.own import Shares

MODULE = "tests.pipelines.models.scikit.own"
CLASSIFIERS = [
    SVC(),
    LinearSVC(),
    RidgeClassifier(),
    GaussianNB(),
    KNeighborsClassifier(),
    MLPClassifier((5,), max_iter=5),
    RandomForestClassifier(n_estimators=3),
    GradientBoostingClassifier(n_estimators=2),
    AdaBoostClassifier(n_estimators=2),
    GaussianProcessClassifier(1.0 * RBF(2.0)),
    StackingClassifier([("a", GaussianNB()), ("b", LogisticRegression())], cv=2),
    CalibratedClassifierCV(LinearSVC(), cv=2),
    make_pipeline(MinMaxScaler(), SGDClassifier(loss="log_loss", max_iter=5)),
]
REGRESSORS = [
    SVR(),
    Ridge(),
    KNeighborsRegressor(),
    DecisionTreeRegressor(),
    HistGradientBoostingRegressor(max_iter=2),
]


def started(estimator: Any, fold: Fold, seed: int = 3, **params: Any) -> Fit:
    model: Fit = family(written(estimator))(
        fold, FamilyOptions(default_metric(fold.task.kind), 1)
    ).start(params, seed)
    return model


def fitted(estimator: Any, fold: Fold, seed: int = 3, **params: Any) -> Fit:
    model = started(estimator, fold, seed, **params)
    model.train(1)
    return model


@pytest.fixture(autouse=True)
def nothing_trusted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The descriptions of families depend on what is trusted, and are kept."""
    monkeypatch.delenv(TRUSTED_MODULES, raising=False)
    single_family.cache_clear()
    search_model.cache_clear()
    yield
    single_family.cache_clear()
    search_model.cache_clear()


@pytest.mark.parametrize("estimator", [*CLASSIFIERS, *REGRESSORS], ids=repr)
def test_what_is_served_is_what_was_scored(estimator: Any, tmp_path: Path) -> None:
    fold = make_fold("regression" if estimator in REGRESSORS else "multiclass", n=120)
    check_estimator(written(estimator), fold)
    model = fitted(estimator, fold)
    model.export(tmp_path / "model")
    served = load_member(tmp_path / "model").predict(fold.valid)
    np.testing.assert_allclose(served, model.predict(fold.valid), rtol=1e-6)
    if fold.task.n_classes:
        np.testing.assert_allclose(served.sum(axis=1), 1.0)
    model.save(tmp_path / "leg")
    again = family(written(estimator))(
        fold, FamilyOptions(default_metric(fold.task.kind), 1)
    ).resume({}, 3, tmp_path / "leg")
    np.testing.assert_array_equal(again.predict(fold.valid), model.predict(fold.valid))


def test_parameters_of_the_parts_of_a_pipeline_are_set() -> None:
    pipeline = make_pipeline(StandardScaler(), SVC(probability=False))
    model = fitted(
        pipeline,
        make_fold("binary"),
        svc__C=7.0,
        svc__class_weight="None",
        standardscaler="sklearn.preprocessing.MinMaxScaler(feature_range=(-1, 1))",
    ).estimator.estimator
    assert model["svc"].C == 7.0
    assert model["svc"].class_weight is None
    assert model["standardscaler"].feature_range == (-1, 1)


def test_seeds_and_threads_are_set_where_the_estimator_leaves_them_open() -> None:
    forest = RandomForestClassifier(n_estimators=2)
    fold = make_fold("binary")
    assert fitted(forest, fold, seed=5).estimator.random_state == 5
    assert fitted(forest.set_params(random_state=1), fold).estimator.random_state == 1
    nested = make_pipeline(StandardScaler(), RandomForestClassifier(n_estimators=2, n_jobs=-1))
    model = fitted(nested, fold, seed=6).estimator[-1]
    assert (model.random_state, model.n_jobs) == (6, 1)
    one, other = (fitted(SVC(), fold, seed=4).predict(fold.valid) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_weights_of_rows_reach_the_last_step() -> None:
    fold = make_fold("regression")
    heavy = np.where(fold.y_train > 0, 1.0, 1e-6)
    for estimator in (Ridge(), make_pipeline(StandardScaler(), Ridge())):
        equal = fitted(estimator, fold).predict(fold.valid).mean()
        weighted = fitted(estimator, replace(fold, weight_train=heavy)).predict(fold.valid).mean()
        assert weighted > equal + 0.1


def test_a_classifier_without_probabilities_is_calibrated_and_says_what_it_costs() -> None:
    fold = make_fold("binary")
    model = fitted(LinearSVC(), fold)
    assert isinstance(model.estimator, CalibratedClassifierCV)
    chosen = single_family(written(LinearSVC()))
    assert f"a trial is {FOLDS + 1} fits" in next(chosen.notes(100, "binary"))
    assert not [*chosen.notes(100, "regression")]
    assert not [*single_family(written(GaussianNB())).notes(100, "binary")]


def test_rare_classes_are_calibrated_on_fewer_folds_and_single_rows_fail_the_trial() -> None:
    fold = make_fold("multiclass")
    rare = fold.y_train.copy()
    rare[rare == 3] = 2
    rare[:2] = 3
    fitted(SVC(), replace(fold, y_train=rare))
    rare[0] = 2
    with pytest.raises(TrainingError, match="a class has a single training row"):
        fitted(SVC(), replace(fold, y_train=rare))


def test_a_class_without_training_rows_gets_no_probability() -> None:
    fold = make_fold("multiclass")
    y = np.where(fold.y_train == 1, 2, fold.y_train)
    prediction = fitted(GaussianNB(), replace(fold, y_train=y)).predict(fold.valid)
    assert (prediction[:, 1] == 0).all()


def test_a_space_holds_parameters_of_the_estimator_only() -> None:
    chosen = search_model(written(make_pipeline(StandardScaler(), SVC())))
    scalers = [written(StandardScaler()), written(MinMaxScaler()), "passthrough"]
    good = {
        "svc__C": {"low": 0.1, "high": 1.0},
        "standardscaler": scalers,
        "standardscaler__clip": {
            "choices": [True, False],
            "when": {"standardscaler": scalers[1:2]},
        },
    }
    chosen.check_space(SearchSpace.from_dict(good))
    assert chosen.resolve({"standardscaler__clip": True})[1]
    for name, message in (
        ("svc_C", "StandardScaler\\+SVC has no parameter 'svc_C', did you mean 'svc__C'"),
        ("svc__c", "did you mean 'svc__C'"),
        ("svc__random_state", "is set by the study and cannot be searched"),
        ("standardscaler__clipp", "has no parameter"),
    ):
        with pytest.raises(SpaceError, match=message):
            chosen.check_space(SearchSpace.from_dict({**good, name: [1, 2]}))


def test_defaults_are_those_of_the_estimator_and_make_the_identity() -> None:
    chosen = single_family("sklearn.svm.SVC(C=2.0)")
    assert chosen.defaults("binary")[0]["C"] == 2.0
    assert chosen.effective({"C": 2.0}) == chosen.effective({})
    assert chosen.effective({"C": 3.0}) != chosen.effective({})
    single_family("sklearn.ensemble.RandomForestClassifier()").effective({"max_depth": 3})


@pytest.mark.parametrize(
    ("estimator", "kind", "message"),
    [
        (SVR(), "binary", "estimator=SVR is no classifier, but the task is binary"),
        (SVC(), "regression", "estimator=SVC is no regressor, but the task is regression"),
        (MinMaxScaler(), "binary", "estimator=MinMaxScaler is no classifier"),
    ],
)
def test_an_estimator_of_another_task_is_refused(estimator: Any, kind: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        check_estimator(written(estimator), make_fold(kind))


def test_an_estimator_whose_fit_fails_is_left_to_the_trials() -> None:
    check_estimator(written(KNeighborsClassifier(n_neighbors=10_000)), make_fold("binary"))


def test_types_of_other_modules_are_trusted_by_name_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold = make_fold("binary")
    monkeypatch.setenv(TRUSTED_MODULES, MODULE)
    check_estimator(written(Shares()), fold)
    fitted(Shares(), fold).export(tmp_path / "model")
    assert load_member(tmp_path / "model").predict(fold.valid).shape == (80, 2)
    monkeypatch.delenv(TRUSTED_MODULES)
    with pytest.raises(ValueError, match=rf"holds {MODULE}.Helper.*{TRUSTED_MODULES}=tests"):
        load_member(tmp_path / "model")


def test_a_fitted_estimator_with_types_that_are_not_trusted_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipelines.models.scikit.estimator.untrusted", lambda _: ["other.Type"])
    with pytest.raises(ParameterError, match=rf"holds other.Type.*{TRUSTED_MODULES}=other"):
        check_estimator(written(GaussianNB()), make_fold("binary"))


def test_packages_of_trusted_modules_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("scikit-learn", "skops")
    assert tuple(each.name for each in libraries([written(SVC())])) == names
    single_family.cache_clear()
    monkeypatch.setenv(TRUSTED_MODULES, f"{MODULE},lightgbm")
    from lightgbm import LGBMClassifier

    found = libraries([written(LGBMClassifier(n_estimators=2))])
    assert tuple(each.name for each in found) == (*names, "lightgbm")


def test_no_warning_reaches_the_user() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(MLPClassifier((2,), max_iter=1), make_fold("binary"))
