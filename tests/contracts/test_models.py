"""The contract of model families, for each kind of task.

All families of the registry are tested, so a new one is tested by being listed there.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hpo.space import Params, Value
from pipelines.models import (
    BASELINES,
    FAMILIES,
    CheckpointError,
    Family,
    FamilyOptions,
    Trainable,
    family,
    settings,
    single_family,
)
from pipelines.table.data import Fold, Task
from pipelines.table.scores.losses import Loss
from pipelines.table.scores.metrics import METRICS, default_metric
from pipelines.table.scores.named import metric_named
from serving.features import TargetEncoder
from serving.members import load_member
from tests.folds import KINDS, make_fold

RUNGS = (8, 16, 40)
SEED = 11

_families: dict[tuple[str, str], Family] = {}
_folds: dict[str, Fold] = {}


def fold_of(kind: str) -> Fold:
    """The fold of all warm families."""
    if kind not in _folds:
        _folds[kind] = make_fold(kind)
    return _folds[kind]


def warm(name: str, kind: str) -> Family:
    """One instance for all tests, as in a worker, so that each test runs after others."""
    if (name, kind) not in _families:
        _families[name, kind] = family(name)(
            fold_of(kind), FamilyOptions(default_metric(kind), 1, horizon=RUNGS[-1])
        )
    return _families[name, kind]


def sampling_params(name: str, kind: str) -> dict[str, Value]:
    """A configuration that draws random numbers wherever the family can."""
    found = settings(name, kind=kind)
    more: dict[str, dict[str, Value]] = {
        "lightgbm": {"bagging_fraction": 0.7, "feature_fraction": 0.6, "extra_trees": True},
        "xgboost": {"subsample": 0.7, "colsample_bylevel": 0.7, "colsample_bynode": 0.7},
        "catboost": {"subsample": 0.7, "depth": 3, "leaf_estimation_iterations": 1},
        "hist_gradient_boosting": {"max_features": 0.5},
    }
    return found.first_points[1] | more.get(name, {})


def is_one_fit(name: str) -> bool:
    """Whether the first leg is all there is to train, so that others have no curve."""
    return settings(name).budget.max == 1


@pytest.mark.parametrize(
    ("any_name", "kind_of_loss"),
    [(name, loss) for name in FAMILIES for loss in single_family(name).losses],
)
def test_a_loss_is_trained_for(any_name: str, kind_of_loss: str, tmp_path: Path) -> None:
    loss = Loss.parse({"quantile": "quantile:0.9"}.get(kind_of_loss, kind_of_loss))
    plain = make_fold("regression", n=600)
    y_train, y_valid = np.exp(plain.y_train), np.exp(plain.y_valid)
    target = TargetEncoder("regression", (), 0.0, 3.0)
    fold = replace(
        plain,
        task=Task("regression", 0, str(loss)),
        target=target,
        y_train=y_train,
        y_valid=y_valid,
    )
    metric = metric_named(loss.metric)

    def model_of(name: str, on: Fold, *rungs: int) -> Trainable:
        found: Trainable = family(name)(on, FamilyOptions(metric, 1, horizon=60)).start({}, SEED)
        for rung in rungs:
            found.train(rung)
        return found

    def score(found: Trainable) -> float:
        return fold.score(metric, found.predict(fold.valid))

    model = model_of(any_name, fold, 20, 60)
    squared = replace(fold, task=Task("regression", 0))
    assert score(model) < score(model_of("trivial", fold, 1))
    if loss.kind == "quantile":
        assert score(model) < score(model_of(any_name, squared, 60))
    model.export(tmp_path / "member")
    served = load_member(tmp_path / "member").predict(fold.valid)
    np.testing.assert_allclose(served, model.predict(fold.valid), rtol=1e-5)
    assert not loss.is_logarithmic or (served > 0).all()


@pytest.mark.parametrize("any_name", ["lightgbm", "xgboost", "catboost", "linear", "mlp"])
def test_a_rare_class_counts_as_much_when_classes_are_balanced(any_name: str) -> None:
    fold = make_fold("binary")
    rare = np.flatnonzero((fold.y_train == 0) | (np.arange(len(fold.y_train)) % 8 == 0))
    fold = replace(fold, train=fold.train.take(rare), y_train=fold.y_train[rare])
    found = []
    for balance in (False, True):
        on = replace(fold, task=replace(fold.task, balance=balance), fixed=True)
        quick = {"learning_rate": 0.1} if any_name == "mlp" else {}  # a few steps are enough
        model = family(any_name)(on, FamilyOptions(default_metric("binary"), 1, horizon=30)).start(
            quick, SEED
        )
        model.train(min(30, model.horizon))
        found.append(model.predict(fold.valid)[:, 1].mean())
    assert found[1] > found[0] + 0.1


@pytest.mark.parametrize("any_name", [n for n in FAMILIES if single_family(n).monotone])
@pytest.mark.parametrize("any_kind", ["binary", "regression"])
def test_predictions_fall_with_a_monotone_column(any_name: str, any_kind: str) -> None:
    fold = make_fold(any_kind)  # the target rises with the first column, and with some levels
    signs = (-1, *[0] * (fold.train.numeric.shape[1] - 1 + len(fold.cardinalities)))
    model = family(any_name)(
        replace(fold, monotone=signs), FamilyOptions(default_metric(any_kind), 1)
    ).start({}, SEED)
    model.train(20)
    model.train(60)
    rows = fold.valid.take(np.repeat(np.arange(20), 30))
    rows.numeric[:, 0] = np.tile(np.linspace(-3, 3, 30), 20)
    found = model.predict(rows)
    values = (found if any_kind == "regression" else found[:, 1]).reshape(20, 30)
    assert (np.diff(values, axis=1) <= 1e-9).all()
    assert np.ptp(values) > 0


def misled(fold: Fold) -> Fold:
    """The fold with a copy of each training row that has another target and hardly any weight."""
    y, n = fold.y_train, len(fold.train)
    wrong = -3 * y if fold.task.kind == "regression" else (y + 1) % fold.task.n_classes
    return replace(
        fold,
        train=fold.train.take(np.tile(np.arange(n), 2)),
        y_train=np.concatenate([y, wrong]),
        weight_train=np.repeat([2.0, 1e-3], n),
    )


WEIGHED = [name for name in FAMILIES if single_family(name).weights]


@pytest.mark.parametrize("any_name", [*WEIGHED, "ridge"])
def test_rows_count_by_their_weights(any_name: str, kind: str) -> None:
    fold = misled(make_fold(kind))
    metric = METRICS["rmse" if kind == "regression" else "accuracy"]

    def loss(on: Fold) -> float:
        model = family(any_name)(on, FamilyOptions(default_metric(kind), 1)).start({}, SEED)
        model.train(60)
        return metric.goal.to_loss(fold.score(metric, model.predict(fold.valid)))

    assert fold.weight_train is not None
    assert loss(fold) < loss(replace(fold, weight_train=np.flip(fold.weight_train).copy())) - 0.05


def trained(name: str, kind: str, rungs: tuple[int, ...], seed: int = SEED) -> Trainable:
    model = warm(name, kind).start(sampling_params(name, kind), seed)
    for rung in rungs:
        model.train(rung)
    return model


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[*FAMILIES])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("any_name", [*FAMILIES, *BASELINES])
def test_predictions_have_the_shape_of_the_task_and_are_worth_something(
    any_name: str, kind: str
) -> None:
    fold, metric = make_fold(kind), default_metric(kind)
    model = family(any_name)(fold, FamilyOptions(metric, 1)).start({}, SEED)
    curve = model.train(120)
    prediction = model.predict(fold.valid)
    assert prediction.dtype == np.float64
    assert np.isfinite(prediction).all()
    if kind == "regression":
        assert prediction.shape == (len(fold.valid),)
    else:
        assert prediction.shape == (len(fold.valid), fold.task.n_classes)
        np.testing.assert_allclose(prediction.sum(axis=1), 1.0, atol=1e-6)
    trivial = family("trivial")(fold, FamilyOptions(metric, 1)).start({}, SEED)
    trivial.train(1)
    loss, known = (
        metric.goal.to_loss(fold.score(metric, m.predict(fold.valid))) for m in (model, trivial)
    )
    assert loss < known or any_name == "trivial"
    assert curve
    assert all(np.isfinite(value) for _, value in curve)


def test_legs_in_memory_and_through_files_are_the_same(
    name: str, kind: str, tmp_path: Path
) -> None:
    params = sampling_params(name, kind)
    straight = trained(name, kind, RUNGS)
    model = warm(name, kind).start(params, SEED)
    for rung in RUNGS:
        model.train(rung)
        model.save(tmp_path / str(rung))
        trained(name, kind, (8,), seed=99)  # another trial runs in between
        model = warm(name, kind).resume(params, SEED, tmp_path / str(rung))
        assert model.reached == rung
    for rows in (fold_of(kind).valid, make_fold(kind).valid, make_fold(kind).train):
        assert np.array_equal(model.predict(rows), straight.predict(rows))


_OTHER_PROCESS = """
import json, sys
from pathlib import Path
import numpy as np
from tests.contracts.test_models import RUNGS, SEED, sampling_params, warm
from tests.folds import KINDS, make_fold
folder, start, names = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
for name in names:
    for kind in KINDS:
        place = folder / name / kind
        model = warm(name, kind).resume(sampling_params(name, kind), SEED, place / start)
        for rung in RUNGS:
            model.train(rung)
        np.save(place / "prediction.npy", model.predict(make_fold(kind).train))
"""


def test_legs_in_another_process_are_the_same(tmp_path: Path) -> None:
    every = [(name, kind) for name in FAMILIES for kind in KINDS]
    for name, kind in every:
        trained(name, kind, RUNGS[:1]).save(tmp_path / name / kind / str(RUNGS[0]))
    command = [sys.executable, "-c", _OTHER_PROCESS, str(tmp_path), str(RUNGS[0]), *FAMILIES]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2], timeout=300)
    for name, kind in every:
        expected = trained(name, kind, RUNGS).predict(make_fold(kind).train)
        found = np.load(tmp_path / name / kind / "prediction.npy")
        assert np.array_equal(found, expected), (name, kind)


def test_the_same_seed_gives_the_same_model_on_warm_and_on_fresh_data(name: str, kind: str) -> None:
    params = sampling_params(name, kind)
    trained(name, kind, RUNGS, seed=5)
    on_warm = trained(name, kind, RUNGS)
    fresh = family(name)(
        make_fold(kind), FamilyOptions(default_metric(kind), 1, horizon=RUNGS[-1])
    ).start(params, SEED)
    curves = [fresh.train(rung) for rung in RUNGS]
    rows = make_fold(kind).train
    assert np.array_equal(fresh.predict(rows), on_warm.predict(rows))
    if is_one_fit(name):
        assert [len(curve) for curve in curves] == [1, 0, 0]
        return
    assert not np.array_equal(
        trained(name, kind, RUNGS, seed=12).predict(rows), on_warm.predict(rows)
    )
    for curve, start, to in zip(curves, (0, *RUNGS[:-1]), RUNGS, strict=True):
        assert 0 < len(curve) <= 50
        assert all(start < budget <= to for budget, _ in curve)


@pytest.mark.parametrize("any_name", [*FAMILIES, *BASELINES])
def test_what_is_exported_predicts_what_was_scored(
    any_name: str, kind: str, tmp_path: Path
) -> None:
    model = family(any_name)(make_fold(kind), FamilyOptions(default_metric(kind), 1)).start(
        {}, SEED
    )
    model.train(24)
    model.export(tmp_path / "member")
    rows = make_fold(kind).valid
    served = load_member(tmp_path / "member").predict(rows)
    np.testing.assert_allclose(
        served, model.predict(rows), rtol=0, atol=1e-6 if any_name == "mlp" else 1e-12
    )
    assert json.loads((tmp_path / "member" / "member.json").read_text())["family"] == any_name


def damages(folder: Path) -> Iterator[None]:
    """Truncate each file, change one byte of it, and remove it, one after the other."""
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 0x10
        for damaged in (whole[: len(whole) // 2], bytes(flipped), None):
            path.unlink() if damaged is None else path.write_bytes(damaged)
            yield
        path.write_bytes(whole)


def test_damaged_checkpoints_are_refused_before_a_native_parser_sees_them(
    name: str, tmp_path: Path
) -> None:
    params = sampling_params(name, "binary")
    trained(name, "binary", (8,)).save(tmp_path / "checkpoint")
    count = 0
    for _ in damages(tmp_path / "checkpoint"):
        with pytest.raises(CheckpointError, match="checkpoint"):
            warm(name, "binary").resume(params, SEED, tmp_path / "checkpoint")
        count += 1
    assert count >= 6
    assert warm(name, "binary").resume(params, SEED, tmp_path / "checkpoint").reached == 8


@pytest.mark.parametrize("change", ["params", "seed"])
def test_a_checkpoint_of_another_trial_is_refused(name: str, change: str, tmp_path: Path) -> None:
    params: Params = sampling_params(name, "binary")
    trained(name, "binary", (8,)).save(tmp_path / "checkpoint")
    seed = SEED + 1 if change == "seed" else SEED
    other = {**params, "learning_rate": 0.0123} if change == "params" else params
    with pytest.raises(CheckpointError, match=change):
        warm(name, "binary").resume(other, seed, tmp_path / "checkpoint")


def test_a_checkpoint_is_replaced_whole(name: str, tmp_path: Path) -> None:
    model = trained(name, "binary", (8,))
    model.save(tmp_path / "checkpoint")
    model.train(16)
    model.save(tmp_path / "checkpoint")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    found = warm(name, "binary").resume(
        sampling_params(name, "binary"), SEED, tmp_path / "checkpoint"
    )
    assert found.reached == 16


def test_a_budget_already_reached_is_no_work(name: str) -> None:
    model = trained(name, "binary", (8,))
    before = model.predict(make_fold("binary").train)
    assert model.train(8) == ()
    assert model.train(4) == ()
    assert model.reached == 8
    assert np.array_equal(model.predict(make_fold("binary").train), before)


@pytest.mark.parametrize("categorical", [True, False])
def test_every_point_of_the_space_trains(name: str, kind: str, categorical: bool) -> None:
    found = settings(name, kind=kind, has_categorical=categorical)
    fold = make_fold(kind, 150, categorical=categorical)
    data = family(name)(fold, FamilyOptions(default_metric(kind), 1, horizon=4))
    drawn = [found.space.sample(np.random.default_rng([SEED, i])) for i in range(3)]
    for point in (*found.first_points, *drawn):
        model = data.start(point, SEED)
        model.train(4)
        assert np.isfinite(model.predict(fold.valid)).all()
