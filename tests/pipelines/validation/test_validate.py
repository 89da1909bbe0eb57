"""Nested cross-validation: what it says, and that it goes on where it was stopped."""

import math
import os
from dataclasses import replace
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from hpo.errors import DataError, ParameterError, StudyError
from pipelines.report import report
from pipelines.store.knowledge import past_studies
from pipelines.store.lease import Driver, birth
from pipelines.table.scores.estimates import mean_of
from pipelines.validate import validate
from pipelines.validation.result import ValidationResult, spread
from pipelines.validation.runs import FoldResult, read_plan, unfinished
from tests.tables import regression


def fold(number: int, inner: float, outer: float, **params: Any) -> FoldResult:
    return FoldResult(number, f"study{number}", 7, inner, outer, outer - 0.1, outer + 0.1, params)


def test_a_fold_reads_back_exactly() -> None:
    result = fold(2, 0.1 + 0.2, math.pi, rate=1e-17, kind="a", flag=True)
    assert FoldResult.from_tag(result.to_tag()) == result
    assert FoldResult.from_tag(fold(1, 1.0, 2.0, text="x" * 9_000).to_tag()) == fold(1, 1.0, 2.0)
    assert FoldResult.from_tag("") is None
    assert FoldResult.from_tag('{"number": 1}') is None


def test_what_was_chosen_is_shown_as_ranges_and_counts() -> None:
    chosen = [
        {"rate": 0.01, "kind": "a", "flag": True},
        {"rate": 0.2, "kind": "b", "flag": True, "top": 3},
    ]
    assert spread(chosen) == "rate 0.01 to 0.2; kind a 1×, b 1×; flag True 2×; top 3 (in 1)"
    assert spread([]) == ""


def test_the_last_lines_say_how_to_go_on() -> None:
    folds = (fold(1, 0.9, 0.8, rate=0.1), fold(2, 0.9, 0.7, rate=0.2))
    scores, gains = mean_of([0.8, 0.7], 0.5), mean_of([0.1, 0.2], 0.5)
    text = str(ValidationResult("abc", "roc_auc", 3, folds, scores, gains, stopped=True))
    assert "2 of 3 outer folds: roc_auc 0.75 [" in text
    assert "own scores were better: 0.15 [" in text
    assert "fold 2/3  searched 0.9       held out 0.7" in text
    assert "resume   mlflow-warmstart validate --resume=abc" in text
    one = str(
        ValidationResult("abc", "roc_auc", 3, folds[:1], mean_of([0.8], 0.5), mean_of([0.1], 0.5))
    )
    assert "1 of 3 outer folds: roc_auc 0.8 (one fold has no interval)" in one
    assert "no outer fold is finished yet" in str(
        ValidationResult("abc", "rmse", 3, (), None, None)
    )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"folds": 1}, ParameterError, "folds=1 must be 2 or greater"),
        ({"trials": 0, "model": "lgbm"}, ParameterError, "2 mistakes"),
        ({"target": None}, ParameterError, "data and target are needed"),
        ({"target": "z"}, DataError, "no target column 'z'"),
        ({"metric": "auc"}, ParameterError, "unknown metric 'auc'"),
        (
            {"split": "group:a", "folds": 4},
            DataError,
            "outer fold 4/4: it needs one to hold out and 2",
        ),
        ({"resume": "abc", "workers": -1}, ParameterError, "workers=-1 must be greater than 0"),
    ],
)
def test_mistakes_are_told_before_anything_is_made(
    store: str, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    table = regression().assign(a=np.arange(len(regression())) % 3)
    before = len(mlflow.search_runs(search_all_experiments=True, output_format="list"))
    with pytest.raises(error, match=message):
        validate(**{"data": table, "target": "y", "folds": 3, **change})
    assert len(mlflow.search_runs(search_all_experiments=True, output_format="list")) == before


def test_only_a_validation_is_gone_on_with(store: str) -> None:
    other = MlflowClient(store).create_run("0").info.run_id
    with pytest.raises(StudyError, match="there is no run 'abc'"):
        validate(resume="abc")
    with pytest.raises(StudyError, match=f"run {other} is not a validation"):
        validate(resume=other)


@pytest.fixture
def validation(store: str) -> ValidationResult:
    return validate(regression(), "y", folds=2, trials=1, max_budget=5)


def test_one_that_runs_is_left_alone_and_one_that_was_killed_is_named(
    store: str, validation: ValidationResult, capsys: pytest.CaptureFixture[str]
) -> None:
    client, run_id = MlflowClient(store), validation.run_id
    assert f"--resume={run_id}`." in client.get_run(run_id).data.tags["mlflow.note.content"]
    client.update_run(run_id, status="RUNNING")
    alive = replace(Driver.myself(), pid=os.getppid(), born=birth(os.getppid()))
    client.set_tag(run_id, "hpo.driver", alive.to_tag())
    with pytest.raises(StudyError, match=f"validation {run_id} is being run by another driver"):
        validate(regression(), resume=run_id)
    run = client.get_run(run_id)
    assert run.info.status == "RUNNING"
    assert "hpo.failure" not in run.data.tags
    with pytest.raises(StudyError, match=f"validation {run_id} began with folds=2, but got 3"):
        validate(regression(), "y", folds=3, resume=run_id)
    _, data = read_plan(run_id)
    assert run_id not in unfinished(data)

    client.set_tag(run_id, "hpo.driver", replace(alive, born="before").to_tag())
    assert run_id in unfinished(data)
    capsys.readouterr()
    validate(regression(), "y", folds=2, trials=1, max_budget=5)
    said = capsys.readouterr().err
    assert f"note: validation {run_id} of this table was not finished" in said
    assert f"--resume={run_id}" in said

    client.set_tag(run_id, "hpo.failure", "the disk was full")
    assert validate(regression(), resume=run_id).folds == validation.folds
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert "hpo.failure" not in run.data.tags
    assert run.data.tags["hpo.driver"] == ""


def test_studies_are_nested_and_a_lost_fold_is_searched_again(
    store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client, table = MlflowClient(store), regression()

    def below(run_id: str, role: str) -> list[Any]:
        rule = f"tags.`mlflow.parentRunId` = '{run_id}' AND tags.`hpo.role` = '{role}'"
        return list(client.search_runs(["0"], rule))

    whole = validate(table, "y", folds=2, trials=2, max_budget=5)

    assert whole.estimate is not None
    assert whole.optimism is not None
    assert [found.number for found in whole.folds] == [1, 2]
    assert whole.estimate.mean == pytest.approx(np.mean([found.outer for found in whole.folds]))
    gains = [found.outer - found.inner for found in whole.folds]  # rmse: less is better
    assert whole.optimism.mean == pytest.approx(np.mean(gains))
    run = client.get_run(whole.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["hpo.role"] == "validation"
    assert run.data.metrics["validation_rmse_mean"] == pytest.approx(whole.estimate.mean)
    studies = {study.info.run_id: study for study in below(whole.run_id, "study")}
    assert {studies[found.study].data.tags["hpo.outer"] for found in whole.folds} == {"1/2", "2/2"}
    for found in whole.folds:
        assert studies[found.study].data.metrics["test_rmse"] == pytest.approx(found.outer)
        assert studies[found.study].info.status == "FINISHED"
        assert len(below(found.study, "trial")) == 2
    assert "2 trials, 0 failed" in str(report(whole.folds[0].study))
    assert not {study.run_id for study in past_studies(store).studies} & set(studies)
    with pytest.raises(
        StudyError, match="is a validation; give the id of one of the studies nested in it"
    ):
        report(whole.run_id)

    first, second = whole.folds
    client.delete_tag(first.study, "hpo.outer.result")  # killed just before the mark of fold 1 …
    client.delete_run(second.study)  # … and before fold 2 began
    capsys.readouterr()
    again = validate(table, resume=whole.run_id)

    said = capsys.readouterr().err
    assert "outer fold 1/2" in said
    assert "2 trials done before" in said
    assert again.folds[0] == first
    assert again.folds[1].outer == pytest.approx(second.outer)  # the same plan on the same rows
    assert again.folds[1].study != second.study
    assert validate(table, resume=whole.run_id).folds == again.folds
    assert "outer fold" not in capsys.readouterr().err
