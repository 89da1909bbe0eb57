import math
from typing import Any

from pipelines.adoption import runs
from pipelines.adoption.mapping import read_mapping
from pipelines.adoption.metrics import logged_metric
from pipelines.adoption.runs import ForeignRun, Found, said_direction, trials_among

AUC = logged_metric("auc", "binary")
RATE = {"learning_rate": "0.1"}


def run(name: str, auc: float | None = 0.5, parent: str | None = None, **changes: Any) -> ForeignRun:
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


def test_what_is_no_trial_is_counted_by_its_reason() -> None:
    names, others = found(
        run("good"),
        run("failed", status="FAILED"),
        run("killed", status="KILLED"),
        run("running", status="RUNNING"),
        run("pruned", tags={"state": "PRUNED"}),
        run("no metric", None),
        run("nan", math.nan),
        run("infinite", 1.7976931348623157e308),  # as MLflow keeps it
        run("another model", params={"C": "1.0", "max_iter": "100"}),
        run("ours", tags={"hpo.role": "trial"}),
    )
    assert names == ["good"]
    assert others == {
        runs.FAILED: 1,
        runs.UNFINISHED: 2,
        runs.PRUNED: 1,
        runs.NO_METRIC: 1,
        runs.NOT_FINITE: 2,
        runs.NO_PARAMETERS: 1,
        runs.OURS: 1,
    }


def test_a_parent_that_repeats_its_best_child_only_groups() -> None:
    names, others = found(
        run("parent"), run("a", parent="parent"), run("b", parent="parent", params={"learning_rate": "0.2"})
    )
    assert names == ["a", "b"]
    assert others == {runs.GROUPS: 1}


def test_a_parent_without_the_metric_groups_even_children_that_do_not_count() -> None:
    names, others = found(run("parent", None, params={}), run("a", parent="parent", status="FAILED"))
    assert names == []
    assert others == {runs.GROUPS: 1, runs.FAILED: 1}


def test_folds_are_parts_of_their_run() -> None:
    folds = [run(f"fold {i}", parent="mean") for i in range(3)]
    bare = run("fold of another", parent="other", params={})
    names, others = found(run("mean"), *folds, run("other"), bare)
    assert names == ["mean", "other"]
    assert others == {runs.PARTS: 3, runs.NO_PARAMETERS: 1}


def test_a_mapping_makes_trials_of_runs_with_names_of_their_own() -> None:
    foreign = run("a", params={"lr": "0.1"})
    given = read_mapping({"lr": "learning_rate"}, "lightgbm")
    assert not trials_among([foreign], AUC, "lightgbm", {}).trials
    assert trials_among([foreign], AUC, "lightgbm", given).trials == (foreign,)


def test_optuna_says_its_direction_where_it_has_logged_all() -> None:
    optuna = [run(str(i), tags={"direction": "MAXIMIZE"}) for i in range(2)]
    assert said_direction(optuna, "auc") == "maximize"
    assert said_direction([*optuna, run("by hand")], "auc") is None
    assert said_direction([*optuna, run("without", None)], "auc") == "maximize"
    assert said_direction([run("odd", tags={"direction": "north"})], "auc") is None
