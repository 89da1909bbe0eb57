"""What a worker does with its jobs, in this process."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hpo.loop import Job
from pipelines.files.exchange import Exchange
from pipelines.models import TrainingError, family
from pipelines.objectives import training
from pipelines.objectives.jobs import FOLDS, Baseline, Rebuild, Work, trial_label
from pipelines.objectives.training import Training, device_of
from pipelines.table.data import Prepared
from serving.predictor import Predictor
from tests.pipelines.objectives.training.workers import members
from tests.tables import prepare, regression

CHEAP = Job(0, {"learning_rate": 0.3, "num_leaves": 4}, 0, 8)
POOR = Job(1, {"learning_rate": 1e-6, "num_leaves": 2}, 0, 1)


@pytest.fixture
def objective(tmp_path: Path) -> Callable[[Prepared, str], Training]:
    def make(prepared: Prepared, metric: str) -> Training:
        Exchange(str(tmp_path)).put(FOLDS, prepared.save)
        Work("lightgbm", metric, seed=1, threads=1, rungs=(20.0,)).write(Exchange(str(tmp_path)))
        return Training(Exchange(str(tmp_path)))

    return make


def test_a_metric_that_one_fold_does_not_define_costs_that_metric_only(
    objective: Callable[[Prepared, str], Training],
) -> None:
    frame = regression()
    frame.loc[7, "y"] = 0.0  # mape is not defined on the fold that holds this row
    prepared = prepare(frame, "y", validation="cv:3")
    assert 7 in prepared.rows.rest

    report = objective(prepared, "rmse")(CHEAP)

    assert report.loss == report.metrics["rmse"] > 0
    assert report.metrics["rmse_std"] > 0
    assert "mape" not in report.metrics
    assert "mae" in report.metrics


def test_an_undefined_metric_of_the_study_is_said_in_words(
    objective: Callable[[Prepared, str], Training],
) -> None:
    prepared = prepare(regression(), "y")
    (fold,) = prepared.folds
    constant = replace(fold, y_valid=np.zeros_like(fold.y_valid))

    with pytest.raises(ValueError, match="r2 is not defined here: all of the targets are equal"):
        objective(replace(prepared, folds=(constant,)), "r2")(CHEAP)


@pytest.mark.parametrize("metric", ["rmse", "r2"])
def test_only_the_best_so_far_is_exported_and_it_is_what_was_scored(
    objective: Callable[[Prepared, str], Training], tmp_path: Path, metric: str
) -> None:
    prepared = prepare(regression(), "y")
    worker = objective(prepared, metric)

    report, worse = worker(CHEAP), worker(POOR)

    assert worse.loss > report.loss
    assert not members(tmp_path, trial_label(1, POOR.to)).exists()
    found = sorted(members(tmp_path, trial_label(0, CHEAP.to)).iterdir())
    Predictor(prepared.features, prepared.target, ()).save(tmp_path / "predictor", found)
    train, valid = prepared.rows.folds[0]
    served = Predictor.load(tmp_path / "predictor").predict_raw(prepared.frame.iloc[valid])
    y = prepared.frame["y"].to_numpy()[valid]
    assert np.sqrt(np.mean((y - served) ** 2)) == pytest.approx(report.metrics["rmse"], rel=1e-12)
    assert worker(Rebuild(POOR)).loss == worse.loss
    assert members(tmp_path, trial_label(1, POOR.to)).is_dir()


def test_baselines_are_jobs_as_well(
    objective: Callable[[Prepared, str], Training], tmp_path: Path
) -> None:
    worker = objective(prepare(regression(), "y"), "rmse")

    trivial, linear = worker(Baseline("trivial")), worker(Baseline("ridge"))

    assert linear.loss < trivial.loss
    assert members(tmp_path, "trivial").is_dir()


def test_what_is_to_be_done_is_read_as_it_was_written(tmp_path: Path) -> None:
    for work in (
        Work("all", "rmse", 1, 2, (1.0, 33.3, 100.0), "rounds", "s3://bucket/study"),
        Work("mlp", "rmse", 1, 2, (2000.0,)),
    ):
        work.write(Exchange(str(tmp_path)))
        assert Work.read(Exchange(str(tmp_path))) == work


@pytest.mark.parametrize(
    ("device", "name", "gpus", "built", "used"),
    [
        ("auto", "xgboost", 1, True, "cuda"),
        ("auto", "xgboost", 1, False, "cpu"),
        ("auto", "xgboost", 0, True, "cpu"),
        ("cpu", "xgboost", 1, True, "cpu"),
        ("cuda", "xgboost", 1, True, "cuda"),
        ("auto", "catboost", 1, True, "cpu"),
        ("auto", "ridge", 1, True, "cpu"),
    ],
)
def test_a_gpu_is_used_where_the_library_can(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    name: str,
    gpus: int,
    built: bool,
    used: str,
) -> None:
    monkeypatch.setattr(training, "cuda_devices", lambda: gpus)
    monkeypatch.setattr(family("xgboost"), "has_cuda", lambda: built)
    assert device_of(name, device) == used


def test_a_library_that_cannot_use_the_gpu_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "cuda_devices", lambda: 1)
    monkeypatch.setattr(family("xgboost"), "has_cuda", lambda: False)
    with pytest.raises(TrainingError, match="the library of xgboost .* cannot use the GPU"):
        device_of("xgboost", "cuda")
