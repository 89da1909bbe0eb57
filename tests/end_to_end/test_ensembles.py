"""An ensemble from the search to the registry: one model, of several trials."""

import json
from dataclasses import replace
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from pipelines.promote import promote
from pipelines.study.result import StudyResult
from pipelines.study.runs import study_header
from pipelines.tune import tune

SPACE = {  # trees of one split each, on a half of the columns: they err differently
    "learning_rate": {"type": "float", "low": 0.3, "high": 0.6},
    "feature_fraction": {"type": "float", "low": 0.3, "high": 0.6},
    "num_leaves": {"type": "integer", "low": 8, "high": 31},
    "min_data_in_leaf": {"type": "integer", "low": 1, "high": 3},
}
OPTIONS: dict[str, Any] = {
    "space": SPACE,
    "algorithm": "random",
    "max_budget": 60,
    "workers": 1,
    "warm_start": "off",
}


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 4))
    frame = pd.DataFrame(x, columns=list("abcd")).assign(e=rng.choice(["k", "l"], 600))
    return frame.assign(y=np.sin(x).sum(axis=1) + (frame["e"] == "k") + rng.normal(size=600))


def check_prediction(result: StudyResult, table: pd.DataFrame, folds: int) -> None:
    """The logged model predicts the weighted mean of its members."""
    assert result.ensemble is not None, str(result)
    weights = result.ensemble.weights
    served = mlflow.pyfunc.load_model(str(result.model_uri))
    predictor = served._model_impl.predictor
    assert [share.trial for share in predictor.shares] == [n for n in weights for _ in range(folds)]
    features = table.drop(columns="y")
    each = [m.predict(predictor.features.transform(features)) for m in predictor.members]
    shares = [weights[share.trial] / folds for share in predictor.shares]
    expected = predictor.target.original(np.average(each, axis=0, weights=shares))
    np.testing.assert_allclose(served.predict(features)["prediction"], expected)


def test_an_ensemble_is_one_model_also_when_its_study_was_interrupted(
    store: str, table: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    result = tune(table, "y", trials=5, ensemble=3, register="joined", **OPTIONS)
    check_prediction(result, table, 1)
    assert result.ensemble is not None
    weights = dict(result.ensemble.weights)
    assert 1 < len(weights) <= 3
    assert result.winner is not None
    assert result.winner.number == next(iter(weights))
    assert f"Ensemble of {len(weights)} trials" in str(result)
    client = MlflowClient(store)
    model = client.get_logged_model(str(result.model_uri).rpartition("/")[2])
    version = client.get_model_version("joined", str(result.version))
    for tags in (model.tags, version.tags):
        assert {int(n): w for n, w in json.loads(tags["hpo.ensemble"])} == weights
    assert "an ensemble of lightgbm" in str(version.description)
    assert promote("joined", version=result.version, data=table).champion.version == result.version

    capsys.readouterr()
    again = tune(table, study=result.run_id)
    assert (again.ensemble, again.model_uri) == (result.ensemble, result.model_uri)
    assert "logged already" in capsys.readouterr().err

    half = tune(table, "y", trials=3, ensemble="off", **OPTIONS)
    assert half.ensemble is None
    resumed = tune(table, study=half.run_id, trials=5, ensemble=3)
    assert "training 3 of the best trials again for an ensemble" in capsys.readouterr().err
    assert (resumed.ensemble, resumed.test) == (result.ensemble, result.test)


def test_the_models_of_all_folds_are_members(store: str, table: pd.DataFrame) -> None:
    options = {**OPTIONS, "refit": "off"}
    check_prediction(tune(table, "y", trials=4, validation="cv:3", **options), table, 3)


def test_limited_time_is_used_for_several_families_and_folds(
    store: str, table: pd.DataFrame
) -> None:
    result = tune(table, "y", timeout=200, trials=5, workers=1, warm_start="off", quiet=True)
    assert study_header(result.run_id)["validation"] == "cv:5"
    assert result.plan.model == "lightgbm,linear,extra_trees,xgboost,catboost"
    families = [trial.params["model"] for trial in result.trials]
    assert families == ["lightgbm", "lightgbm", "linear", "extra_trees", "xgboost"]
    assert result.outcome.trained_on == 480  # all but the test rows
    resumed = tune(table, study=result.run_id, timeout=200, trials=6)
    assert resumed.trials[5].params["model"] == "catboost"


def test_a_calibrated_model_is_served_with_its_threshold(store: str, table: pd.DataFrame) -> None:
    rare = table.assign(y=np.where(table["y"] > table["y"].quantile(0.85), "yes", "no"))
    options = {**OPTIONS, "max_budget": 20, "metric": "f1"}
    result = tune(rare, "y", trials=2, calibrate="on", register="rare", **options)
    judged = result.outcome.decision
    assert judged is not None
    assert judged.decision.calibration is not None
    assert judged.held_out[0].metric == "log_loss"
    assert judged.held_out[0].after == pytest.approx(result.test["log_loss"])
    assert "Threshold" in str(result)
    predictor = mlflow.pyfunc.load_model("models:/rare@challenger")._model_impl.predictor
    assert predictor.decision == judged.decision
    answers = predictor.predict(rare.drop(columns="y"))
    above = answers["probability_yes"] > judged.decision.threshold
    assert (answers["prediction"] == np.where(above, "yes", "no")).all()
    assert tune(rare, study=result.run_id).outcome == result.outcome

    changed = tune(rare, study=result.run_id, threshold="0.2")
    assert changed.outcome.decision is not None
    assert changed.outcome.decision.decision == replace(judged.decision, threshold=0.2)
    assert changed.test["roc_auc"] == pytest.approx(result.test["roc_auc"])
    version = promote("rare", version=changed.version, data=rare).champion.version
    assert version == changed.version
