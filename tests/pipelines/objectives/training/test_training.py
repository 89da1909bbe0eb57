"""What a worker does with its jobs, in this process."""

import errno
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hpo.loop import Job
from hpo.space import Params
from hpo.trial import Report
from pipelines.files.checkpoints import Checkpoints
from pipelines.files.errors import NotWrittenError
from pipelines.files.exchange import Exchange
from pipelines.models import TrainingError, family, settings
from pipelines.models.boosting import Boosting
from pipelines.objectives import course as module
from pipelines.objectives import training
from pipelines.objectives.jobs import (
    BEST,
    FOLDS,
    Baseline,
    Rebuild,
    Refit,
    Work,
    models_of,
    trial_label,
)
from pipelines.objectives.training import Training, device_of
from pipelines.table.data import Prepared, load_folds
from pipelines.table.scores.metrics import METRICS
from pipelines.table.shares import subset
from serving.members import load_member
from serving.predictor import Predictor
from tests.tables import prepare

CHEAP = Job(0, {"learning_rate": 0.3, "num_leaves": 4}, 0, 8)
POOR = Job(1, {"learning_rate": 1e-6, "num_leaves": 2}, 0, 1)


def members(folder: Path, label: str) -> Path:
    """The models with a label in an exchange at a folder."""
    return folder / models_of(label)


def regression(rows: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=rows)
    return pd.DataFrame({"x": x, "y": 10 + 3 * x + rng.normal(size=rows)})


@pytest.fixture
def objective(tmp_path: Path) -> Callable[[Prepared, str], Training]:
    def make(prepared: Prepared, metric: str) -> Training:
        Exchange(str(tmp_path)).put(FOLDS, prepared.save)
        Work("lightgbm", metric, seed=1, threads=1, rungs=(20.0,)).write(Exchange(str(tmp_path)))
        return Training(str(tmp_path))

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


# --- legs -----------------------------------------------------------------------------------------

RUNGS = (4.0, 9.0, 20.0)
SAMPLED: Mapping[str, Params] = {
    "lightgbm": {
        "bagging_fraction": 0.6,
        "feature_fraction": 0.6,
        "num_leaves": 7,
        "min_data_in_leaf": 3,
    },
    "xgboost": {"subsample": 0.6, "colsample_bynode": 0.6, "max_depth": 4},
    "mlp": {"width": 16, "layers": 2, "dropout": 0.3, "batch_size": 32},
}


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    rng = np.random.default_rng(1)
    x, colour = rng.normal(size=(160, 3)), rng.choice(["red", "green", "blue"], 160)
    y = np.where(x[:, 0] + (colour == "red") + 0.5 * rng.normal(size=160) > 0.3, "yes", "no")
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "colour": colour, "y": y})
    return prepare(frame, "y", validation="cv:2")


class Place:
    """The folder of a session, in which any number of workers are born."""

    def __init__(self, folder: Path, prepared: Prepared, work: Work) -> None:
        self.folder, self.work = folder, work
        folder.mkdir(parents=True, exist_ok=True)
        Exchange(str(folder)).put(FOLDS, prepared.save)
        work.write(Exchange(str(folder)))

    def worker(self) -> Training:
        return Training(str(self.folder))

    @property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints(str(self.work.checkpoints))

    def exported(self, number: int = 7, budget: float = 20) -> dict[str, bytes]:
        models = members(self.folder, trial_label(number, budget))
        return {
            str(p.relative_to(models)): p.read_bytes() for p in models.rglob("*") if p.is_file()
        }


@pytest.fixture
def place(tmp_path: Path, prepared: Prepared) -> Callable[..., Place]:
    def make(model: str, **changes: Any) -> Place:
        folder = tmp_path / f"session-{len(list(tmp_path.iterdir()))}"
        values = {"rungs": RUNGS, "checkpoints": str(folder / "checkpoints"), **changes}
        return Place(folder, prepared, Work(model, "log_loss", seed=3, threads=1, **values))

    return make


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
        replace(whole, valid=folds[0].valid), METRICS["log_loss"], 1, horizon=20
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


def legs(params: Params, *stops: float) -> list[Job]:
    return [Job(7, params, start, to) for start, to in zip((0.0, *stops), stops, strict=False)]


def outcome(report: Report) -> tuple[float, Mapping[str, float]]:
    return report.loss, report.metrics


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


def lose(shop: Place) -> None:
    shop.checkpoints.delete(7, 9.0)


def cut(shop: Place) -> None:
    file = next((shop.folder / "checkpoints").glob("trial-7-at-9.0*"))
    file.write_bytes(file.read_bytes()[:-100])


def flip(shop: Place) -> None:
    file = next((shop.folder / "checkpoints").glob("trial-7-at-9.0*"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def exchange(shop: Place) -> None:
    other = {**SAMPLED[shop.work.model], "learning_rate": 0.2}
    for job in legs(other, 4.0, 9.0):
        shop.worker()(job)


def confuse(shop: Place) -> None:
    """A study of other rungs put its files into the same place."""
    Work(
        shop.work.model, "log_loss", 3, 1, (5.0, 9.0, 20.0), checkpoints=shop.work.checkpoints
    ).write(Exchange(str(shop.folder)))
    for job in legs(SAMPLED[shop.work.model], 5.0, 9.0):
        shop.worker()(job)
    shop.work.write(Exchange(str(shop.folder)))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lose, "is missing"),
        (cut, "is damaged"),
        (flip, "is damaged"),
        (exchange, "is of another trial"),
        (confuse, "is of another study"),
    ],
)
@pytest.mark.parametrize("model", [*SAMPLED])
def test_a_leg_without_its_checkpoint_is_trained_again_from_the_start(
    place: Callable[..., Place], model: str, harm: Callable[[Place], None], words: str
) -> None:
    params, shop, straight = SAMPLED[model], place(model), place(model)
    expected = straight.worker()(Job(7, params, 0, 20))
    for job in legs(params, 4.0, 9.0):
        shop.worker()(job)
    harm(shop)

    report = shop.worker()(Job(7, params, 9, 20))

    assert report.note.startswith(f"the checkpoint of trial 7 at 9 {words}")
    assert report.note.endswith(": trained again from the start")
    assert outcome(report) == outcome(expected)
    assert report.curve == tuple((b, value) for b, value in expected.curve if b > 9)
    assert shop.exported() == straight.exported()


def test_a_place_that_cannot_be_written_costs_the_trial_nothing(
    place: Callable[..., Place],
) -> None:
    shop = place("lightgbm")
    (shop.folder / "checkpoints").write_text("a file where a folder must be")

    report = shop.worker()(Job(7, SAMPLED["lightgbm"], 0, 9))

    assert report.note.startswith("the checkpoint of trial 7 at 9 cannot be written (")
    assert report.loss == place("lightgbm").worker()(Job(7, SAMPLED["lightgbm"], 0, 9)).loss
    assert shop.exported(budget=9)
    again = shop.worker()(Job(7, SAMPLED["lightgbm"], 9, 20))
    assert "trained again from the start" in again.note


def test_a_full_exchange_costs_the_trial_nothing(
    place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = place("lightgbm")
    worker = shop.worker()
    job = Job(7, SAMPLED["lightgbm"], 0, 9)
    with monkeypatch.context() as full:
        full.setattr(Boosting, "export", _no_space)
        report = worker(job)
        with pytest.raises(NotWrittenError, match="No space left"):
            worker(Rebuild(job))

    assert report.note.startswith("its model was not stored: cannot write ")
    assert "(No space left on device); free space there" in report.note
    assert not shop.exported(budget=9)
    assert worker(Rebuild(job)).loss == report.loss
    assert shop.exported(budget=9)


def _no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_without_a_place_legs_start_anew_and_nothing_is_said(place: Callable[..., Place]) -> None:
    shop = place("lightgbm", checkpoints=None)
    reports = [shop.worker()(job) for job in legs(SAMPLED["lightgbm"], 9.0, 20.0)]
    assert [report.note for report in reports] == ["", ""]
    assert reports[-1].loss == place("lightgbm").worker()(Job(7, SAMPLED["lightgbm"], 0, 20)).loss


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
    monkeypatch.setattr(worker, "_losses", {3: report.loss - 1.0})
    worker(Job(7, params, 9, 20))
    assert shop.exported() == {}


# --- other fidelities -----------------------------------------------------------------------------


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


def test_what_is_to_be_done_is_read_as_it_was_written(tmp_path: Path) -> None:
    for work in (
        Work("all", "rmse", 1, 2, (1.0, 33.3, 100.0), "rounds", "s3://bucket/study"),
        Work("mlp", "rmse", 1, 2, (2000.0,)),
    ):
        work.write(Exchange(str(tmp_path)))
        assert Work.read(Exchange(str(tmp_path))) == work


def test_an_unknown_fidelity_is_refused(place: Callable[..., Place]) -> None:
    with pytest.raises(ValueError, match="unknown fidelity 'row'"):
        place("lightgbm", fidelity="row").worker()(Job(7, {}, 0, 4))


@pytest.mark.parametrize(
    ("device", "name", "gpus", "built", "used"),
    [
        ("auto", "xgboost", 1, True, {"device": "cuda"}),
        ("auto", "xgboost", 1, False, {"device": "cpu"}),
        ("auto", "xgboost", 0, True, {"device": "cpu"}),
        ("cpu", "xgboost", 1, True, {}),
        ("cuda", "xgboost", 1, True, {"device": "cuda"}),
        ("auto", "catboost", 1, True, {}),
        ("auto", "ridge", 1, True, {}),
    ],
)
def test_a_gpu_is_used_where_the_library_can(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    name: str,
    gpus: int,
    built: bool,
    used: dict[str, str],
) -> None:
    monkeypatch.setattr(training, "cuda_devices", lambda: gpus)
    monkeypatch.setattr(family("xgboost"), "has_cuda", lambda: built)
    assert device_of(name, device) == used


def test_a_library_that_cannot_use_the_gpu_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "cuda_devices", lambda: 1)
    monkeypatch.setattr(family("xgboost"), "has_cuda", lambda: False)
    with pytest.raises(TrainingError, match="the library of xgboost .* cannot use the GPU"):
        device_of("xgboost", "cuda")
