import math
from typing import Any

from pipelines.adoption import trials
from pipelines.adoption.mapping import read_mapping
from pipelines.adoption.metrics import logged_metric
from pipelines.adoption.runs import ForeignRun, optuna_direction
from pipelines.adoption.trials import Found, trials_among

AUC = logged_metric("auc", "binary")
RATE = {"learning_rate": "0.1"}


def run(
    name: str, auc: float | None = 0.5, parent: str | None = None, **changes: Any
) -> ForeignRun:
    tags = {"mlflow.parentRunId": parent} if parent else {}
    return ForeignRun(
        name,
        changes.pop("status", "FINISHED"),
        tags | changes.pop("tags", {}),
        changes.pop("params", RATE),
        {} if auc is None else {"auc": auc},
    )


def found(*given: ForeignRun) -> tuple[list[str], dict[str, int]]:
    result: Found = trials_among(given, AUC, "lightgbm", {})
    return [trial.run_id for trial in result.trials], dict(result.others)


def test_other_runs_are_counted_by_reason() -> None:
    names, others = found(
        run("good"),
        run("failed", status="FAILED"),
        run("killed", status="KILLED"),
        run("running", status="RUNNING"),
        run("pruned", tags={"state": "PRUNED"}),
        run("no metric", None),
        run("nan", math.nan),
        run("infinite", 1.7976931348623157e308),  # as MLflow stores it
        run("another model", params={"C": "1.0", "max_iter": "100"}),
        run("ours", tags={"hpo.role": "trial"}),
    )
    assert names == ["good"]
    assert others == {
        trials.FAILED: 1,
        trials.UNFINISHED: 2,
        trials.PRUNED: 1,
        trials.NO_METRIC: 1,
        trials.NOT_FINITE: 2,
        trials.OTHER_FAMILY.format("linear"): 1,
        trials.OURS: 1,
    }


def test_a_parent_that_repeats_its_best_child_only_groups() -> None:
    names, others = found(
        run("parent"),
        run("a", parent="parent"),
        run("b", parent="parent", params={"learning_rate": "0.2"}),
    )
    assert names == ["a", "b"]
    assert others == {trials.GROUPS: 1}


def test_a_parent_without_the_metric_only_groups() -> None:
    names, others = found(
        run("parent", None, params={}), run("a", parent="parent", status="FAILED")
    )
    assert names == []
    assert others == {trials.GROUPS: 1, trials.FAILED: 1}


def test_folds_are_parts_of_their_run() -> None:
    folds = [run(f"fold {i}", parent="mean") for i in range(3)]
    bare = run("fold of another", parent="other", params={})
    names, others = found(run("mean"), *folds, run("other"), bare)
    assert names == ["mean", "other"]
    assert others == {trials.PARTS: 3, trials.NO_PARAMETERS: 1}


def test_a_mapping_makes_custom_names_readable() -> None:
    foreign = run("a", params={"lr": "0.1"})
    given = read_mapping({"lr": "learning_rate"}, "lightgbm")
    assert not trials_among([foreign], AUC, "lightgbm", {}).trials
    assert trials_among([foreign], AUC, "lightgbm", given).trials == (foreign,)


def test_the_direction_of_optuna_counts_if_it_logged_all_runs() -> None:
    optuna = [run(str(i), tags={"direction": "MAXIMIZE"}) for i in range(2)]
    assert optuna_direction(optuna, "auc") == "maximize"
    assert optuna_direction([*optuna, run("by hand")], "auc") is None
    assert optuna_direction([*optuna, run("without", None)], "auc") == "maximize"
    assert optuna_direction([run("odd", tags={"direction": "north"})], "auc") is None


BOTH = {"eta": "0.1", "max_depth": "5", "subsample": "0.5"}
# CatBoost has `num_leaves`, too.
XGBOOST, LIGHTGBM = BOTH | {"gamma": "1"}, BOTH | {"num_leaves": "9", "cat_smooth": "9"}


def counted_as(model: str, *given: ForeignRun, mapping: dict[str, None] | None = None) -> list[str]:
    read = read_mapping(mapping or {}, model)
    return [trial.run_id for trial in trials_among(given, AUC, model, read).trials]


def test_runs_of_another_family_do_not_count() -> None:
    mixed = (
        run("xgboost", params=XGBOOST),
        run("lightgbm", params=LIGHTGBM),
        run("either", params=BOTH),
    )
    assert counted_as("lightgbm", *mixed) == ["lightgbm", "either"]
    assert counted_as("xgboost", *mixed) == ["xgboost", "either"]
    assert counted_as("mlp", *mixed) == []
    assert found(*mixed)[1] == {trials.OTHER_FAMILY.format("xgboost"): 1}
    assert "adopt them with model=xgboost" in trials.OTHER_FAMILY.format("xgboost")


def test_reserved_names_distinguish_the_families_too() -> None:
    assert counted_as("lightgbm", run("a", params=BOTH | {"tree_method": "hist"})) == []
    assert counted_as("xgboost", run("a", params=BOTH | {"boosting_type": "gbdt"})) == []
    assert counted_as("lightgbm", run("a", params=BOTH | {"XGBClassifier__gamma": "1"})) == []


def test_ambiguous_runs_follow_the_others() -> None:
    both = run("either", params=BOTH)
    assert counted_as("lightgbm", both) == counted_as("xgboost", both) == ["either"]
    assert counted_as("lightgbm", both, run("xgboost", params=XGBOOST)) == []
    logistic = run(
        "another model", params={"C": "1.0", "max_iter": "100"}
    )  # an alias of LightGBM's rounds
    assert counted_as("xgboost", both, logistic) == ["either"]


def test_the_tags_of_autologging_name_the_family() -> None:
    for tags in (
        {"mlflow.autologging": "xgboost"},
        {"mlflow.autologging": "sklearn", "estimator_class": "xgboost.sklearn.XGBClassifier"},
    ):
        tagged = run("a", params=BOTH, tags=tags)
        assert counted_as("lightgbm", tagged) == []
        assert counted_as("xgboost", tagged) == ["a"]
    other = run(
        "a",
        params=BOTH,
        tags={"mlflow.autologging": "sklearn", "estimator_class": "sklearn.svm.SVC"},
    )
    assert counted_as("lightgbm", other) == ["a"]


def test_a_mapping_overrides_the_family() -> None:
    assert counted_as("lightgbm", run("a", params=XGBOOST), mapping={"gamma": None}) == ["a"]
