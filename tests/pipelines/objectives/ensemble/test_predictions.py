"""The predictions that a worker leaves for ensembles are those that it scored."""

from pathlib import Path

import numpy as np
import pytest

from hpo.loop import Job
from pipelines.files.exchange import Exchange
from pipelines.objectives.ensemble.library import Library, predictions_of, read
from pipelines.objectives.jobs import FOLDS, Rebuild, Work, models_of, trial_label
from pipelines.objectives.training import Training
from pipelines.table.data import Prepared
from pipelines.table.scores.metrics import METRICS
from tests.pipelines.objectives.ensemble.test_library import trial
from tests.tables import prepare, regression

JOBS = [
    Job(i, {"learning_rate": rate, "num_leaves": 4}, 0, 8) for i, rate in enumerate((1e-6, 0.3))
]


@pytest.fixture(scope="module", params=["holdout", "cv:3"])
def prepared(request: pytest.FixtureRequest) -> Prepared:
    return prepare(regression(), "y", validation=request.param)


def worker(folder: Path, prepared: Prepared, *, models: int, predictions: int) -> Training:
    exchange = Exchange(str(folder))
    exchange.put(FOLDS, prepared.save)
    Work("lightgbm", "rmse", 1, 1, (20.0,), models=models, predictions=predictions).write(exchange)
    return Training(Exchange(str(folder)))


def library(folder: Path, prepared: Prepared) -> Library:
    rows = np.concatenate([valid for _, valid in prepared.rows.folds])
    trials = [trial(job.number, *map(float, range(8, 0, -1))) for job in JOBS]
    return read(Exchange(str(folder)), trials, prepared.y[rows], METRICS["rmse"])


def test_a_trial_leaves_what_it_was_scored_by(tmp_path: Path, prepared: Prepared) -> None:
    report = worker(tmp_path, prepared, models=1, predictions=1)(JOBS[1])
    found = library(tmp_path, prepared)
    assert found.numbers == (1,)
    sizes = [len(valid) for _, valid in prepared.rows.folds]
    ends = np.cumsum(sizes)
    scores = [found.on(np.arange(end - size, end)) for size, end in zip(sizes, ends, strict=True)]
    mean = np.mean([fold.loss(fold.predictions[0]) for fold in scores])
    assert mean == pytest.approx(report.loss, rel=1e-6)


def test_trials_that_are_not_among_the_best_leave_nothing(
    tmp_path: Path, prepared: Prepared
) -> None:
    training = worker(tmp_path, prepared, models=1, predictions=1)
    training(JOBS[1])
    training(JOBS[0])
    exchange = Exchange(str(tmp_path))
    assert not exchange.has(predictions_of(trial_label(0, 8)))
    assert not exchange.has(models_of(trial_label(0, 8)))
    training(Rebuild(JOBS[0]))
    assert library(tmp_path, prepared).numbers == (0, 1)
    assert exchange.has(models_of(trial_label(0, 8)))


def test_several_of_the_best_leave_both(tmp_path: Path, prepared: Prepared) -> None:
    training = worker(tmp_path, prepared, models=2, predictions=2)
    training(JOBS[1])
    training(JOBS[0])
    assert library(tmp_path, prepared).numbers == (0, 1)
    assert Exchange(str(tmp_path)).has(models_of(trial_label(0, 8)))


def test_without_ensembles_no_predictions_are_left(tmp_path: Path, prepared: Prepared) -> None:
    training = worker(tmp_path, prepared, models=1, predictions=0)
    training(JOBS[1])
    training(Rebuild(JOBS[0]))
    assert not (tmp_path / "predictions").exists()
