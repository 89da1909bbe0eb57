"""Runs that other tools have really logged, adopted, found, and given back."""

import sqlite3

import mlflow
import pytest
from mlflow import MlflowClient

from hpo.errors import ParameterError
from pipelines.adopt import adopt
from pipelines.adoption.result import Adoption, Undone
from pipelines.store.knowledge import past_studies
from tests.pipelines.adopting.runs import ASKED, LIGHTGBM, SAID, TABLES, Place, logged


@pytest.mark.parametrize("tool", ASKED)
def test_runs_of_a_tool_are_adopted_and_the_adoption_is_undone(place: Place, tool: str) -> None:
    before = place.rows()
    found = place.adopted(tool)
    assert found.study is not None
    after = place.rows()
    assert all(before[table] <= after[table] for table in TABLES), (
        "a row of another run was changed"
    )
    new = {run[0] for run in after["runs"] - before["runs"]}
    assert new == {found.study}
    (past,) = (
        [past for past in past_studies().studies if past.run_id == found.study]
        if found.metric.ours
        else [None]
    )
    if past is not None:
        assert len(past) == len(found.trials)
        assert (past.model, past.task, past.metric) == (found.model, "binary", found.metric.name)
        assert past.losses[0] == pytest.approx(min(trial.loss for trial in found.trials), rel=1e-5)
        assert past.space == found.translation.space
        assert past.features is not None
    undone = adopt(tool, undo=True)
    assert isinstance(undone, Undone)
    assert undone.studies == (found.study,)
    left = place.rows()
    assert {row for row in left["runs"] if row[0] != found.study} == before["runs"]
    assert found.study not in {past.run_id for past in past_studies().studies}
    assert (
        MlflowClient(mlflow.get_tracking_uri()).get_run(found.study).info.lifecycle_stage
        == "deleted"
    )


def test_hyperopt(place: Place) -> None:
    found = place.adopted("hyperopt", dry_run=True)
    assert len(found.trials) == 11
    assert sorted(found.found.others.values()) == [1, 1]  # one failed, one groups the others
    assert found.translation.space.names == ("learning_rate", "num_leaves", "lambda_l2")
    assert all(isinstance(trial.params["num_leaves"], int) for trial in found.trials)
    best = max(trial.reports[0].loss for trial in found.trials)
    assert found.best.metrics["auc"] >= -best
    losses = place.adopted("hyperopt", dry_run=True, metric="loss")  # 1 - auc, less is better
    assert (losses.metric.name, losses.metric.goal.greater_is_better) == ("loss", False)
    assert losses.best.run_id == found.best.run_id


def test_a_search_of_scikit_learn(place: Place) -> None:
    found = place.adopted("sklearn", dry_run=True)
    assert len(found.trials) == 7
    assert all(trial.loss > 0 for trial in found.trials)  # log losses, which scikit-learn negates
    assert {run.tags["estimator_class"] for run in found.found.trials} == {
        "lightgbm.sklearn.LGBMClassifier"
    }
    assert found.best.metrics["rank_test_neg_log_loss"] == 1
    assert "metric mean_test_neg_log_loss (negated), read as log_loss, lies between" in str(found)
    assert set(found.translation.space.names) == {"learning_rate", "num_leaves"}
    assert "bagging_fraction had no effect in 7 runs" in str(found)


def test_autologged_boosting(place: Place) -> None:
    found = place.adopted("lightgbm", dry_run=True)
    assert found.translation.names["learning_rate"] == ("eta",)
    assert "num_iterations differs between the runs, from 8 to 12" in str(found)
    found = place.adopted("xgboost", dry_run=True)
    assert {run.tags["mlflow.autologging"] for run in found.found.trials} == {"xgboost"}
    assert [trial.params["reg_lambda"] for trial in found.trials].count(1.0) == 3
    assert "reg_lambda is not logged in 3 of 6 runs: assumed the library's default 1.0" in str(
        found
    )


def test_custom_names(place: Place) -> None:
    found = place.adopted("by_hand", dry_run=True)
    assert len(found.trials) == 10
    assert found.trials[found.found.trials.index(found.best)].params == {
        "learning_rate": 0.1,
        "num_leaves": 1024,
        "data_sample_strategy": "goss",
    }
    text = str(found)
    assert "3 not counted: parts of a run that counts" in text
    assert "studies cannot learn from it; if it stands" in text
    assert text.endswith("nothing was written; run it again without dry_run")


def test_optuna(place: Place) -> None:
    found = place.adopted("optuna", dry_run=True, means=None)
    assert not found.metric.goal.greater_is_better  # its callback says so
    assert len(found.trials) == 6
    assert found.translation.space["learning_rate"].to_unit(0.001) == 0
    assert found.translation.space["learning_rate"].to_unit(0.3) == 1


def test_adopting_again_replaces(place: Place) -> None:
    first = place.adopted("hyperopt")
    second = place.adopted("hyperopt", metric="loss", means="log_loss")
    assert second.replaced == (first.study,)
    assert f"it replaces {first.study}" in str(second)
    assert [past.run_id for past in past_studies().studies] == [second.study]


def test_undo_uses_the_current_name_of_an_experiment(place: Place) -> None:
    client = MlflowClient(mlflow.get_tracking_uri())
    first = logged("same name", *LIGHTGBM)
    of_first = adopt("same name", place.table, **SAID)
    client.rename_experiment(first, "renamed")
    with pytest.raises(
        ParameterError, match="from experiment 'same name', did .*; adopted are: 'renamed'"
    ):
        adopt("same name", undo=True)
    logged("same name", *LIGHTGBM)
    of_second = adopt("same name", place.table, **SAID)
    assert isinstance(of_first, Adoption)
    assert isinstance(of_second, Adoption)
    undone = adopt("same name", undo=True)
    assert isinstance(undone, Undone)
    assert undone.studies == (of_second.study,)
    undone = adopt("renamed", undo=True)
    assert isinstance(undone, Undone)
    assert undone.studies == (of_first.study,)


def test_undo_uses_the_former_name_of_a_deleted_experiment(
    place: Place,
) -> None:
    gone = logged("soon gone", *LIGHTGBM)
    found = adopt("soon gone", place.table, **SAID)
    assert isinstance(found, Adoption)
    with sqlite3.connect(
        place.database
    ) as connection:  # as `mlflow gc` does, which needs a process of its own
        for table in ("runs", "experiments"):
            connection.execute(f"DELETE FROM {table} WHERE experiment_id = ?", (gone,))
    undone = adopt("soon gone", undo=True)
    assert isinstance(undone, Undone)
    assert undone.studies == (found.study,)


def test_warm_start_finds_adoptions_by_experiment(place: Place) -> None:
    found = place.adopted("hyperopt")
    place.adopted("sklearn")
    assert [past.run_id for past in past_studies(sources=["hyperopt"]).studies] == [found.study]


def test_runs_of_different_filters_become_separate_studies(place: Place) -> None:
    odd, even = (place.adopted("by_hand", filter=f"params.sampling = '{i}'") for i in range(2))
    assert (odd.replaced, even.replaced) == ((), ())
    assert len(odd.trials) == len(even.trials) == 5
    assert "data_sample_strategy=bagging" in str(odd)  # the same in every run, now
    again = place.adopted("by_hand")
    assert set(again.replaced) == {odd.study, even.study}


def test_all_pages_are_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.store.tracking.PAGE", 4)
    assert len(place.adopted("hyperopt", dry_run=True).trials) == 11


def test_a_dry_run_writes_nothing(place: Place) -> None:
    before = place.rows()
    place.adopted("hyperopt", dry_run=True)
    assert place.rows() == before
    place.adopted("hyperopt")
    before = place.rows()
    assert "would go to MLflow's trash; nothing was changed" in str(
        adopt("hyperopt", undo=True, dry_run=True)
    )
    assert place.rows() == before


def test_the_run_of_mlflow_run_becomes_the_study(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient(mlflow.get_tracking_uri())
    run_id = client.create_run("0").info.run_id
    client.log_param(run_id, "model", "lightgbm")
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    assert place.adopted("hyperopt").study == run_id
