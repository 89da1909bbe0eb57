"""Runs that other tools have really logged, adopted, found, and given back."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from hpo.errors import ParameterError, StudyError
from pipelines.adopt import adopt
from pipelines.adoption.result import Adoption, Undone
from pipelines.report import report
from pipelines.store.knowledge import past_studies
from pipelines.store.studies import read_header
from pipelines.tune import tune
from tests import foreign, stores

ROOT = Path(__file__).parents[3]
TABLES = (
    "experiments",
    "experiment_tags",
    "runs",
    "params",
    "tags",
    "metrics",
    "latest_metrics",
    "inputs",
)
BY_HAND: Mapping[str, Any] = {
    "metric": "profit",
    "direction": "maximize",
    "mapping": {
        "lr": "learning_rate",
        "leaves": "num_leaves",
        "num_leaves": None,
        "sampling": {"name": "data_sample_strategy", "values": {0: "bagging", 1: "goss"}},
    },
}
ASKED: Mapping[str, Mapping[str, Any]] = {
    "hyperopt": {"metric": "auc"},
    "sklearn": {"metric": "mean_test_neg_log_loss"},
    "lightgbm": {"metric": "valid-auc"},
    "xgboost": {"metric": "validation_0-logloss", "model": "xgboost"},
    "by_hand": BY_HAND,
    "optuna": {"metric": "value", "means": "log_loss"},
}


@dataclass(frozen=True)
class Place:
    """A store with an experiment for each tool, and the table."""

    database: Path
    table: str

    def rows(self) -> dict[str, set[tuple[object, ...]]]:
        """All that MLflow holds, by table of its database."""
        with sqlite3.connect(self.database) as connection:
            return {name: set(connection.execute(f"SELECT * FROM {name}")) for name in TABLES}

    def adopted(self, experiment: str, **changes: Any) -> Adoption:
        found = adopt(experiment, self.table, "bought", **{**ASKED[experiment], **changes})
        assert isinstance(found, Adoption)
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("adopt")
    stores.empty_database(folder / "mlflow.db")
    uri = f"sqlite:///{folder}/mlflow.db"
    foreign.table().to_csv(folder / "table.csv", index=False)
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.foreign", *foreign.TOOLS]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.setattr(mlflow, "get_tracking_uri", lambda: uri)
        yield Place(folder / "mlflow.db", str(folder / "table.csv"))


@pytest.fixture(autouse=True)
def nothing_is_left(place: Place) -> Iterator[None]:
    yield
    for run in MlflowClient(mlflow.get_tracking_uri()).search_runs(["0"]):
        MlflowClient(mlflow.get_tracking_uri()).delete_run(run.info.run_id)


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
    assert "studies cannot learn from it until means= names" in text
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


def logged(experiment: str, *rows: Mapping[str, Any], tags: Mapping[str, str] | None = None) -> str:
    """The id of a new experiment with runs of these parameters and a metric `auc`."""
    client = MlflowClient(mlflow.get_tracking_uri())
    experiment_id = str(client.create_experiment(experiment))
    for i, row in enumerate(rows):
        run_id = client.create_run(experiment_id, tags=dict(tags or {})).info.run_id
        params = [Param(name, str(value)) for name, value in row.items()]
        client.log_batch(
            run_id, [Metric("auc", 0.7 + i / 100, 0, 0), Metric("pct_auc", 70 + i, 0, 0)], params
        )
        client.set_terminated(run_id)
    return experiment_id


LIGHTGBM: Sequence[dict[str, Any]] = [
    {"learning_rate": 0.1, "num_leaves": 8 + i, "reg_lambda": i, "max_depth": 5} for i in range(6)
]
SAID: Mapping[str, Any] = {"target": "bought", "metric": "auc"}


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
    with pytest.raises(ParameterError, match=message):
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


def test_the_run_of_mlflow_run_becomes_the_study(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient(mlflow.get_tracking_uri())
    run_id = client.create_run("0").info.run_id
    client.log_param(run_id, "model", "lightgbm")
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    assert place.adopted("hyperopt").study == run_id


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
