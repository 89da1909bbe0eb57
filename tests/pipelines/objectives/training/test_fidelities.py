"""Budgets that are not rounds."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from hpo.loop import Job
from hpo.space import Params
from pipelines.models import settings
from pipelines.objectives import course as module
from pipelines.table.data import Prepared
from pipelines.table.shares import subset
from tests.pipelines.objectives.training.workers import SAMPLED, Place, legs, outcome


def test_for_all_models_budgets_are_percent(place: Callable[..., Place]) -> None:
    params: Params = {"model": "lightgbm", "lightgbm.num_leaves": 4, "lightgbm.learning_rate": 0.01}
    shop = place("all", rungs=(1.0, 3.0, 9.0))
    straight = place("all", rungs=(1.0, 3.0, 9.0)).worker()(Job(7, params, 0, 9))
    reports = [shop.worker()(job) for job in legs(params, 1.0, 3.0, 9.0)]
    assert [report.budget for report in reports] == [1.0, 3.0, 9.0]
    assert [report.metrics["reached"] for report in reports] == [10.0, 30.0, 90.0]
    assert outcome(reports[-1]) == outcome(straight)
    budgets = [budget for report in reports for budget, _ in report.curve]
    assert budgets == sorted(set(budgets))
    assert all(budget == round(budget) <= 9 for budget in budgets), "the curve is in percent, too"


def test_a_scaled_leg_is_a_training_of_its_own(place: Callable[..., Place]) -> None:
    shop = place("lightgbm", fidelity="scaled", rungs=(5.0, 20.0))
    params = {**SAMPLED["lightgbm"], "learning_rate": 0.1}
    short, full = (shop.worker()(job) for job in legs(params, 5.0, 20.0))
    plain = place("lightgbm", rungs=(20.0,))
    twice = place("lightgbm", rungs=(5.0,)).worker()(Job(7, {**params, "learning_rate": 0.2}, 0, 5))
    assert outcome(short) == outcome(twice)
    assert outcome(full) == outcome(plain.worker()(Job(7, params, 0, 20)))
    assert shop.exported() == plain.exported()
    assert not (shop.folder / "checkpoints").exists()


def test_the_schedule_of_a_network_ends_with_its_scaled_leg(place: Callable[..., Place]) -> None:
    worker = place("mlp", fidelity="scaled", rungs=(5.0, 10.0, 20.0)).worker()
    for to in (5.0, 10.0, 20.0):
        report = worker(Job(7, SAMPLED["mlp"], 0, to))
        alone = place("mlp", rungs=(to,)).worker()(Job(7, SAMPLED["mlp"], 0, to))
        assert outcome(report) == outcome(alone)
    assert len(worker._families._kept["mlp"]) == 2


def test_a_share_of_the_rows_trains_in_full_and_is_validated_on_all(
    place: Callable[..., Place], prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(settings("xgboost"), budget=replace(settings("xgboost").budget, max=12))
    monkeypatch.setattr(module, "settings", lambda _: short)
    shop = place("xgboost", fidelity="rows", rungs=(10.0, 30.0, 100.0))
    worker = shop.worker()
    params = SAMPLED["xgboost"]
    parts = [worker(job) for job in legs(params, 10.0, 30.0, 100.0)]

    assert [report.metrics["reached"] for report in parts] == [12.0] * 3
    assert [report.budget for report in parts] == [10.0, 30.0, 100.0]
    assert len({report.loss for report in parts}) == 3
    assert list(worker._families._kept["xgboost"]) == [(0.3, 12), (1.0, 12)]
    whole = place("xgboost", rungs=(12.0,))
    assert outcome(whole.worker()(Job(7, params, 0, 12))) == outcome(parts[-1])
    for share, report in zip((0.1, 0.3), parts, strict=False):
        folds = tuple(subset(fold, share, 3) for fold in prepared.folds)
        cut = Place(whole.folder, replace(prepared, folds=folds), whole.work)
        assert outcome(cut.worker()(Job(8, params, 0, 12))) == outcome(report)
    assert not (shop.folder / "checkpoints").exists()


def test_an_unknown_fidelity_is_refused(place: Callable[..., Place]) -> None:
    with pytest.raises(ValueError, match="unknown fidelity 'row'"):
        place("lightgbm", fidelity="row").worker()(Job(7, {}, 0, 4))
