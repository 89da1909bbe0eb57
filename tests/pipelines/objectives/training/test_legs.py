"""Trials that are trained in legs, and refits."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from hpo.loop import Job
from pipelines.models import FamilyOptions, family
from pipelines.objectives.jobs import BEST, FOLDS, Rebuild, Refit
from pipelines.table.data import load_folds
from pipelines.table.scores.metrics import METRICS
from serving.members import load_member
from tests.pipelines.objectives.training.workers import (
    RUNGS,
    SAMPLED,
    Place,
    legs,
    members,
    outcome,
)


@pytest.mark.parametrize("model", SAMPLED)
def test_a_refit_takes_all_rows_and_as_long_as_was_best(
    place: Callable[..., Place], model: str
) -> None:
    shop, job = place(model), Job(7, SAMPLED[model], 0, 20)
    worker = shop.worker()
    best = worker(job).metrics[BEST]
    assert 1 <= best <= 20
    report = worker(Refit(job, best))
    assert report.metrics == {BEST: round(best)}
    assert np.isnan(report.loss), "no row is left to validate on"
    (member,) = members(shop.folder, Refit(job, 0.0).label).iterdir()

    folds = load_folds(shop.folder / FOLDS)
    whole = folds[1].whole()
    assert len(whole.train) == len(folds[0].train) + len(folds[0].valid) == 128
    alone = family(model)(
        replace(whole, valid=folds[0].valid), FamilyOptions(METRICS["log_loss"], 1, horizon=20)
    ).start(SAMPLED[model], 3)
    for stop in (*(int(rung) for rung in RUNGS if rung < round(best)), round(best)):
        alone.train(stop)
    assert alone.best == round(best), "validation rows decide nothing"
    served = load_member(member).predict(folds[0].valid)
    np.testing.assert_allclose(served, alone.predict(folds[0].valid), rtol=1e-6)


def test_a_refit_never_stops_early(place: Callable[..., Place]) -> None:
    job = Job(7, {"learning_rate": 0.5, "num_leaves": 31, "min_data_in_leaf": 1}, 0, 600)
    shop = place("lightgbm", rungs=(600.0,))
    worker = shop.worker()
    best = worker(job).metrics[BEST]
    assert best < 200
    worker(Refit(job, 400.0))
    (member,) = members(shop.folder, Refit(job, 0.0).label).iterdir()
    assert json.loads((member / "member.json").read_text())["best_iteration"] == 400


def test_networks_on_few_rows_are_refitted_for_as_many_epochs(place: Callable[..., Place]) -> None:
    params = {
        **SAMPLED["mlp"],
        "batch_size": 16,
        "max_epochs": 2,
    }  # 64 rows make 8 steps, 128 rows make 16
    shop = place("mlp", rungs=(50.0,))
    assert shop.worker()(Refit(Job(7, params, 0, 50), 6.0)).metrics == {BEST: 12.0}


@pytest.mark.parametrize(
    ("model", "fidelity"),
    [
        ("lightgbm", "rounds"),
        ("lightgbm", "scheduled"),
        ("xgboost", "rounds"),
        ("xgboost", "scheduled"),
        ("mlp", "rounds"),
    ],
)
def test_a_trial_is_the_same_however_its_legs_are_run(
    place: Callable[..., Place], model: str, fidelity: str
) -> None:
    params = SAMPLED[model]
    straight = place(model, fidelity=fidelity)
    at_once = straight.worker()(Job(7, params, 0, 20))
    assert at_once.note == ""
    assert straight.checkpoints.stored() == []  # nobody goes on from the largest budget
    expected = straight.exported()
    assert len(expected) >= 4

    together, apart = (
        place(model, fidelity=fidelity),
        place(model, fidelity=fidelity, checkpoints="memory://legs"),
    )
    worker = together.worker()
    first = [worker(job) for job in legs(params, *RUNGS)]
    later = [apart.worker()(job) for job in legs(params, *RUNGS)]
    for shop, reports in ((together, first), (apart, later)):
        assert [report.note for report in reports] == ["", "", ""]
        assert outcome(reports[-1]) == outcome(at_once)
        assert shop.exported() == expected
        assert [(kept.number, kept.budget) for kept in shop.checkpoints.stored()] == [
            (7, 4.0),
            (7, 9.0),
        ]
        assert sum((report.curve for report in reports), ()) == at_once.curve
        assert all(budget > 9 for budget, _ in reports[-1].curve)
    apart.checkpoints.clear()

    rebuilt = place(model, fidelity=fidelity)
    assert outcome(rebuilt.worker()(Rebuild(Job(7, params, 0, 20)))) == outcome(at_once)
    assert rebuilt.exported() == expected
    assert not (rebuilt.folder / "checkpoints").exists()


def test_a_training_that_ends_before_its_budget_says_so(place: Callable[..., Place]) -> None:
    params = {**SAMPLED["mlp"], "batch_size": 16, "max_epochs": 2}  # 64 rows make 8 steps
    worker = place("mlp").worker()
    assert [worker(job).over for job in legs(params, *RUNGS)] == [False, True, True]
    assert not place("lightgbm").worker()(Job(7, SAMPLED["lightgbm"], 0, 20)).over


def test_the_models_of_each_leg_are_filed_by_its_budget(
    place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = place("lightgbm")
    params = SAMPLED["lightgbm"]
    worker = shop.worker()
    worker(Job(7, params, 0, 4))
    first = shop.exported(budget=4)
    report = worker(Job(7, params, 4, 9))
    assert shop.exported(budget=9)
    assert shop.exported(budget=4) == first, (
        "a leg that may never be told changes nothing of an earlier one"
    )
    monkeypatch.setattr(worker._exports, "_losses", {3: (report.loss - 1.0, "lightgbm")})
    worker(Job(7, params, 9, 20))
    assert shop.exported() == {}
