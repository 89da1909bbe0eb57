"""Searches as estimators of scikit-learn. All but one take a single training for the search."""

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import pipelines.sklearn as face
from hpo.errors import UserError
from pipelines.models import FamilyOptions, family
from pipelines.sklearn import Found, TunedClassifier, TunedRegressor
from pipelines.study.options import TuneOptions
from pipelines.study.sources import source_of
from pipelines.table.scores.metrics import default_metric
from serving.predictor import Predictor

# What scikit-learn expects and a search does not keep.
NOT_KEPT = {
    "check_sample_weight_equivalence_on_dense_data": (
        "which rows validate is drawn among rows, so that repeated rows give another division"
    ),
}


@pytest.fixture
def one_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """A single training of LightGBM in place of the search; the options of each call."""
    calls: list[dict[str, Any]] = []

    def search(frame: pd.DataFrame, target: str, options: dict[str, Any]) -> Found:
        calls.append(options)
        prepared = source_of(TuneOptions(data=frame, target=target, **options), "").prepare()
        fold = prepared.folds[0].whole()
        model = family("lightgbm")(
            fold, FamilyOptions(default_metric(prepared.task.kind), 1, horizon=40)
        )
        trained = model.start({"min_child_samples": 1}, 0)
        trained.train(40)
        place = tmp_path / str(len(calls))
        trained.export(place / "member")
        whole = place / "predictor"
        Predictor(prepared.features, prepared.target, ()).save(whole, [place / "member"])
        archive = shutil.make_archive(str(place / "files"), "zip", whole)
        return Found(f"study-{len(calls)}", {"num_leaves": 31}, Path(archive).read_bytes())

    monkeypatch.setattr(face, "search", search)
    return calls


def table(n: int = 120) -> tuple[pd.DataFrame, pd.Series]:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {"a": rng.normal(size=n), "kind": rng.choice(np.array(["x", "y", None], object), n)}
    )  # noqa: N806
    return X, pd.Series(np.where(X["a"] + (X["kind"] == "x") > 0.3, "good", "bad"))


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [TunedClassifier(random_state=0), TunedRegressor()])
@pytest.mark.usefixtures("one_training")
def test_checks_of_scikit_learn(estimator: Any) -> None:
    check_estimator(estimator, expected_failed_checks=NOT_KEPT, on_skip=None)


def test_columns_of_a_table_are_taken_as_they_are(one_training: list[dict[str, Any]]) -> None:
    X, y = table()  # noqa: N806
    model = TunedClassifier(random_state=3, trials=5).fit(X, y)
    assert [*model.classes_] == ["bad", "good"]
    assert [*model.feature_names_in_] == ["a", "kind"]
    assert model.n_features_in_ == 2
    assert model.study_ == "study-1"
    assert model.best_params_ == {"num_leaves": 31}
    assert model.score(X, y) > 0.9
    assert model.predict_proba(X).shape == (len(X), 2)
    assert one_training[0]["trials"] == 5
    assert one_training[0]["seed"] == 3
    assert one_training[0]["positive"] == "good"
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))
    assert clone(model).get_params() == model.get_params()


@pytest.mark.usefixtures("one_training")
def test_it_is_a_part_of_pipelines_and_cross_validation() -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(90, 2))  # noqa: N806
    y = X[:, 0] + 0.1 * rng.normal(size=90)
    assert cross_val_score(TunedRegressor(), X, y, cv=2).mean() > 0.5
    labels = np.array([7, 3, 5])[np.digitize(y, [-0.4, 0.4])]
    model = make_pipeline(StandardScaler(), TunedClassifier()).fit(X, labels)
    assert {*model.predict(X)} <= {3, 5, 7}
    assert model.score(X, labels) > 0.8


@pytest.mark.usefixtures("one_training")
def test_weights_are_given_to_the_search() -> None:
    X, y = table()  # noqa: N806
    weight = np.where(y == "bad", 1.0, 0.0)
    model = TunedClassifier(random_state=0).fit(X, y, sample_weight=weight + 1e-9)
    assert {*model.predict(X)} == {"bad"}
    with pytest.raises(ValueError, match="sample_weight has the shape"):
        model.fit(X, y, sample_weight=weight[:5])


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (["a"] * 120, "at least 2 classes"),
        (np.linspace(0, 1, 120), "Unknown label type"),
        (["a", "b", None] * 40, "y contains NaN: 40 values of 120 missing; drop these rows"),
        ([1.0, 2.0, np.nan] * 40, "y contains NaN: 40 values of 120 missing"),
    ],
)
def test_labels_that_are_no_classes(y: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TunedClassifier().fit(table()[0], y)


def test_a_mistake_in_a_parameter_is_a_value_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="did you mean 'lightgbm'"):
        TunedClassifier(model="lightgmb").fit(*table())

    def search(*given: Any) -> Found:
        raise UserError("no winner")

    monkeypatch.setattr(face, "search", search)
    with pytest.raises(ValueError, match="no winner"):
        TunedRegressor().fit(table()[0], np.arange(120.0))
