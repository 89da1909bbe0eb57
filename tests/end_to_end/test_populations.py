"""Population-based training of table models, whose copies are trained again as they were."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from hpo.trial import schedule
from pipelines.store.studies import leaderboard
from pipelines.study.result import StudyResult
from pipelines.study.summary import summary
from pipelines.train import train
from pipelines.tune import tune
from tests.stores import sqlite_uri

OPTIONS: dict[str, Any] = {
    "algorithm": "pbt:population=4",
    "min_budget": 5,
    "max_budget": 20,
    "workers": 1,
    "warm_start": "off",
    "ensemble": "off",
}


@dataclass(frozen=True)
class Population:
    table: Path
    study: StudyResult


@pytest.fixture(scope="module")
def population(
    tmp_path_factory: pytest.TempPathFactory, make_table: Callable[[int], pd.DataFrame]
) -> Iterator[Population]:
    folder = tmp_path_factory.mktemp("populations")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", sqlite_uri())
        patch.setenv("HPO_CACHE_DIR", str(folder / "cache"))
        patch.setattr(mlflow, "get_tracking_uri", sqlite_uri)
        table = folder / "people.csv"
        make_table(300).to_csv(table, index=False)
        yield Population(table, tune(table, "income", trials=7, confirm=2, **OPTIONS))


def test_copies_start_from_their_parents_models(population: Population) -> None:
    trials = population.study.trials
    copies = [trial for trial in trials if trial.parent is not None]
    assert [copy.reports[0].budget for copy in copies] == [10, 15, 20]
    for copy in copies:
        assert all(report.note == "" for report in copy.reports)
        assert all(report.metrics["reached"] == report.budget for report in copy.reports)
        assert all(report.metrics["best_iteration"] == report.budget for report in copy.reports)
    confirmation = population.study.confirmation
    assert confirmation is not None
    assert not confirmation.failures


def test_a_copy_is_trained_once_more_with_its_values_over_time(population: Population) -> None:
    study = population.study
    copy = max((t for t in study.trials if t.parent is not None), key=lambda trial: trial.number)
    run = next(row for row in leaderboard(study.run_id) if row["number"] == copy.number)["run_id"]
    again = train(population.table, "income", trial=run)
    assert again.winner is not None
    phases = schedule(study.trials, copy.number)
    assert again.plan.before == phases[:-1]
    assert len(phases) > 1
    # scored at its best round so far, which is the last one or a better one
    assert again.winner.loss <= copy.reports[-1].loss
    curve = dict(again.winner.reports[-1].curve)
    last = copy.reports[-1]
    assert curve[last.budget] == pytest.approx(last.metrics[study.plan.metric])


def test_the_values_over_time_are_shown(population: Population) -> None:
    study = population.study
    winner = study.winner
    assert winner is not None
    assert ("was trained with values that changed" in summary(study)) == (winner.parent is not None)
    copy = next(t for t in study.trials if t.parent is not None)
    text = summary(replace(study, winner=copy))
    assert f"before, from 0 to 5, as trial {copy.parent}" in text


def test_a_population_is_resumed(population: Population) -> None:
    began = tune(population.table, "income", trials=5, **OPTIONS)
    again = tune(study=began.run_id, trials=7)
    whole = population.study.trials
    assert [(t.params, t.parent) for t in again.trials] == [(t.params, t.parent) for t in whole]
    assert np.allclose([t.loss for t in again.trials], [t.loss for t in whole])
