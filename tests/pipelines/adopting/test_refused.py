"""What is not adopted, and why."""

from collections.abc import Mapping, Sequence
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient

from hpo.errors import ParameterError, StudyError, UserError
from pipelines.adopt import adopt
from pipelines.adoption.result import Adoption
from pipelines.report import report
from pipelines.store.knowledge import past_studies
from pipelines.store.studies import read_header
from pipelines.tune import tune
from tests.pipelines.adopting.runs import LIGHTGBM, SAID, Place, logged


def test_runs_of_another_model_are_not_misread(place: Place) -> None:
    names = ("eta", "max_depth", "subsample", "colsample_bytree", "gamma", "reg_lambda")
    logged(
        "of xgboost",
        *({name: 0.5 + i / 20 if "s" in name else 4 + i for name in names} for i in range(8)),
    )
    with pytest.raises(
        ParameterError, match="8 .trainings of xgboost, .*model=xgboost, or say with mapping"
    ):
        adopt("of xgboost", place.table, **SAID)
    assert isinstance(
        adopt("of xgboost", place.table, **SAID, model="xgboost", dry_run=True), Adoption
    )


def test_a_wrong_model_does_not_replace_an_adoption(place: Place) -> None:
    logged("of lightgbm", *LIGHTGBM)
    good = adopt("of lightgbm", place.table, **SAID)
    assert isinstance(good, Adoption)
    for model in ("xgboost", "mlp"):
        with pytest.raises(ParameterError, match="6 .trainings of lightgbm"):
            adopt("of lightgbm", place.table, **SAID, model=model)
    assert [past.run_id for past in past_studies().studies] == [good.study]


def test_runs_with_impossible_values_do_not_widen_the_space(place: Place) -> None:
    wrong: Sequence[dict[str, Any]] = [
        {"learning_rate": -1},
        {"bagging_fraction": 5},
        {"num_leaves": -3},
        {"n_estimators": "9" * 5000},
    ]
    logged("with mistakes", *LIGHTGBM, *({**LIGHTGBM[0], **row} for row in wrong))
    found = adopt("with mistakes", place.table, **SAID, dry_run=True)
    assert isinstance(found, Adoption)
    assert len(found.trials) == 6
    assert (
        "1 not counted: num_leaves=-3 is not accepted by lightgbm: num_leaves must lie in"
        in str(found)
    )
    assert found.translation.space.names == ("num_leaves", "lambda_l2")


def test_percentages_are_refused(place: Place) -> None:
    logged("in percent", *LIGHTGBM)
    asked: Mapping[str, Any] = {**SAID, "metric": "pct_auc"}
    with pytest.raises(
        ParameterError, match="must lie in .0, 1., but 6 of 6 runs .* such as 7.; give another"
    ):
        adopt("in percent", place.table, **asked)
    assert not past_studies().studies


@pytest.mark.parametrize(
    "text",
    [
        "FloatDistribution(high=9.0, log=True, low=0.5, step=None)",
        f"IntDistribution(high={10**400}, log=True, low=1, step=1)",
    ],
)
def test_unusable_ranges_of_optuna_do_not_stop_an_adoption(place: Place, text: str) -> None:
    rows = [{"min_data_in_leaf": 1 + i} for i in range(6)]
    experiment = f"odd range {len(text)}"
    logged(experiment, *rows, tags={"min_data_in_leaf_distribution": text})
    found = adopt(experiment, place.table, **SAID)
    assert isinstance(found, Adoption)
    assert [past.run_id for past in past_studies().studies] == [found.study]


def test_an_adopted_study_cannot_be_resumed_or_reported(place: Place) -> None:
    study = place.adopted("hyperopt").study
    assert study is not None
    for look in (lambda: report(study), lambda: tune(study=study)):
        with pytest.raises(
            StudyError, match=r"was adopted: its trials are the runs of experiment 'hyperopt'"
        ):
            look()
    header = read_header(MlflowClient(mlflow.get_tracking_uri()), study)
    assert len(header["adopted"]["trials"]) == 11
    run = MlflowClient(mlflow.get_tracking_uri()).get_run(study)
    assert run.info.status == "FINISHED"
    assert "best_roc_auc" in run.data.metrics
    assert (
        "**Adopted**: 11 runs of the experiment `hyperopt`" in run.data.tags["mlflow.note.content"]
    )


def test_all_mistakes_are_reported_at_once(place: Place) -> None:
    with pytest.raises(ParameterError) as error:
        adopt(
            "hyperopt",
            place.table,
            "bougt",
            metric="aucc",
            mapping={"learning_rat": "learning_rate", "num_leaves": "num_leavess"},
            direction="up",
        )
    text = str(error.value)
    assert text.startswith("5 mistakes:")
    assert "unknown direction 'up'" in text
    assert "lightgbm has no parameter 'num_leavess', did you mean 'num_leaves'" in text
    assert (
        "no run has a metric 'aucc', did you mean 'auc'?; metrics of 'hyperopt': "
        "auc (11 runs), loss (11 runs)" in text
    )
    assert "no run has a parameter 'learning_rat', did you mean 'learning_rate'" in text
    assert "bougt" in text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"experiment": "hyperop"}, "there is no experiment 'hyperop' .*, did you mean 'hyperopt'"),
        ({"metric": None}, "metric is needed; metrics of 'hyperopt': auc"),
        ({"data": None}, "data and target are needed"),
        ({"model": "all"}, "unknown model 'all'; models: lightgbm, xgboost, mlp"),
        ({"filter": "no filter"}, "MLflow rejects filter='no filter'"),
        ({"filter": "params.x = '1'"}, "has no runs, or none that match the filter"),
        ({"metric": "rmse", "experiment": "optuna"}, "no run has a metric 'rmse'"),
        ({"mapping": "nowhere.yaml"}, "mapping='nowhere.yaml' is not a file"),
        (
            {"model": "mlp", "mapping": {"num_leaves": "width"}, "filter": "metrics.auc > 0.99"},
            "none that match",
        ),
        (
            {"filter": "params.extra_trees = 'True'", "experiment": "optuna", "metric": "value"},
            "1 of 2 runs of .* count as trials of lightgbm, and 5 are needed; "
            "not counted: 1 .pruned by Optuna",
        ),
        (
            {"model": "mlp", "experiment": "lightgbm", "metric": "valid-auc"},
            "6 .trainings of lightgbm, .*: adopt them with model=lightgbm",
        ),
        (
            {"experiment": "xgboost", "metric": "validation_0-logloss"},
            "0 of 6 runs .* count as trials of lightgbm, .*: adopt them with model=xgboost",
        ),
        (
            {"direction": "minimize"},
            "metric 'auc' .negated, .* is read as roc_auc, which must lie in .0, 1., .*; "
            "give direction=maximize",
        ),
        (
            {"metric": "loss", "direction": "minimize", "means": "roc_auc"},
            "such as .*; give direction=maximize",
        ),
    ],
)
def test_what_cannot_be_adopted(place: Place, given: Mapping[str, Any], message: str) -> None:
    asked = {
        "experiment": "hyperopt",
        "data": place.table,
        "target": "bought",
        "metric": "auc",
        **given,
    }
    before = place.rows()
    with pytest.raises(UserError, match=message):
        adopt(**asked)
    assert place.rows() == before


def test_undo_without_an_adoption_is_an_error(place: Place) -> None:
    with pytest.raises(
        ParameterError, match="no study was adopted from experiment 'x'; nothing is adopted here"
    ):
        adopt("x", undo=True)
    place.adopted("hyperopt")
    with pytest.raises(
        ParameterError,
        match="from experiment 'hyperop', did you mean 'hyperopt'.; adopted are: 'hyper",
    ):
        adopt("hyperop", undo=True)


def test_a_failed_write_leaves_a_failed_run_and_no_study(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **options: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("pipelines.adoption.store.write_study", full)
    with pytest.raises(StudyError, match="the adopted study cannot be written: no space left"):
        place.adopted("hyperopt")
    (run,) = MlflowClient(mlflow.get_tracking_uri()).search_runs(["0"])
    assert run.info.status == "FAILED"
    assert past_studies().studies == ()
