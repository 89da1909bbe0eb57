"""What a worker does with its jobs, in this process."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hpo.loop import Job
from pipelines.data import Prepared, prepare
from pipelines.objective import Baseline, Objective, Rebuild, Work, folds_folder, members_folder, trial_label
from serving.predictor import Predictor

CHEAP = Job(0, {"learning_rate": 0.3, "num_leaves": 4}, 0, 8)
POOR = Job(1, {"learning_rate": 1e-6, "num_leaves": 2}, 0, 1)


def regression(rows: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=rows)
    return pd.DataFrame({"x": x, "y": 10 + 3 * x + rng.normal(size=rows)})


@pytest.fixture
def objective(tmp_path: Path) -> Callable[[Prepared, str], Objective]:
    def make(prepared: Prepared, metric: str) -> Objective:
        prepared.save(folds_folder(tmp_path))
        Work("lightgbm", metric, seed=1, threads=1, budget=20).write(tmp_path)
        return Objective(str(tmp_path))

    return make


def test_a_metric_that_one_fold_does_not_define_costs_that_metric_only(
    objective: Callable[[Prepared, str], Objective],
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
    objective: Callable[[Prepared, str], Objective],
) -> None:
    prepared = prepare(regression(), "y")
    (fold,) = prepared.folds
    constant = replace(fold, y_valid=np.zeros_like(fold.y_valid))

    with pytest.raises(ValueError, match="r2 is not defined here: all of the targets are equal"):
        objective(replace(prepared, folds=(constant,)), "r2")(CHEAP)


@pytest.mark.parametrize("metric", ["rmse", "r2"])
def test_only_the_best_so_far_is_exported_and_it_is_what_was_scored(
    objective: Callable[[Prepared, str], Objective], tmp_path: Path, metric: str
) -> None:
    prepared = prepare(regression(), "y")
    worker = objective(prepared, metric)

    report, worse = worker(CHEAP), worker(POOR)

    assert worse.loss > report.loss
    assert not members_folder(tmp_path, trial_label(1)).exists()
    members = sorted(members_folder(tmp_path, trial_label(0)).iterdir())
    Predictor(prepared.features, prepared.target, ()).save(tmp_path / "predictor", members)
    train, valid = prepared.rows.folds[0]
    served = Predictor.load(tmp_path / "predictor").predict_raw(prepared.frame.iloc[valid])
    y = prepared.frame["y"].to_numpy()[valid]
    assert np.sqrt(np.mean((y - served) ** 2)) == pytest.approx(report.metrics["rmse"], rel=1e-12)
    assert worker(Rebuild(POOR)).loss == worse.loss
    assert members_folder(tmp_path, trial_label(1)).is_dir()


def test_baselines_are_jobs_as_well(objective: Callable[[Prepared, str], Objective], tmp_path: Path) -> None:
    worker = objective(prepare(regression(), "y"), "rmse")

    trivial, linear = worker(Baseline("trivial")), worker(Baseline("linear"))

    assert linear.loss < trivial.loss
    assert members_folder(tmp_path, "trivial").is_dir()
