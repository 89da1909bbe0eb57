"""What LightGBM and XGBoost do beyond the contract: binned data, early stopping, unusual tables."""

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
import xgboost as xgb

from hpo.space import Params
from pipelines.models import FamilyOptions
from pipelines.models.boosting import Boosting
from pipelines.models.catalog import single_family
from pipelines.models.errors import TrainingError
from pipelines.models.legs import leg_seed
from pipelines.models.lightgbm import LightGBM, quickest
from pipelines.models.xgboost import XGBoost
from pipelines.table.data import Fold
from pipelines.table.scores.metrics import METRICS, default_metric
from serving.features import Matrix
from serving.members import load_member
from tests.folds import KINDS, make_fold

BOTH = pytest.mark.parametrize("family", [LightGBM, XGBoost])


def data(family: Any, kind: str = "binary", fold: Fold | None = None, metric: str = "") -> Any:
    return family(
        fold or make_fold(kind),
        FamilyOptions(METRICS[metric] if metric else default_metric(kind), 1),
    )


def trained(family: Any, params: Params, rungs: tuple[int, ...] = (30,), seed: int = 3) -> Boosting:
    model: Boosting = family.start(params, seed)
    for rung in rungs:
        model.train(rung)
    return model


# --- memory ---------------------------------------------------------------------------------------


def test_lightgbm_keeps_few_histograms_of_a_wide_table() -> None:
    assert "histogram_pool_size" not in data(LightGBM).native({"num_leaves": 200}, 0)
    fold = make_fold("binary")
    rows = len(fold.train)
    wide = replace(fold, train=Matrix(np.broadcast_to(1.0, (rows, 50_000)), fold.train.categorical))
    library = data(LightGBM, fold=wide)
    assert library.native({"num_leaves": 31}, 0)["histogram_pool_size"] >= rows * 50_000 * 8 / 1e6
    assert "histogram_pool_size" not in library.native({"num_leaves": 2, "max_bin": 15}, 0)


# --- binned data ----------------------------------------------------------------------------------


def test_lightgbm_bins_once_for_all_trials_that_share_the_bins() -> None:
    library = data(LightGBM)
    for params in (
        {"num_leaves": 7},
        {"min_data_in_leaf": 1, "cat_l2": 0.1},
        {"learning_rate": 0.3},
    ):
        trained(library, params, (5, 10))
    assert len(library._pairs) == 2  # one for fresh legs, one for continued ones
    fresh = library.pair(library.native({}, 0), continuing=False)
    handles = [dataset._handle.value for dataset in fresh]
    trained(library, {"extra_trees": True, "min_data_in_leaf": 2}, (5, 10))
    assert [dataset._handle.value for dataset in fresh] == handles
    trained(library, {"max_bin": 15})
    assert len(library._pairs) == 3


@pytest.mark.parametrize(
    "params",
    [
        {"min_data_in_leaf": 1, "num_leaves": 60},
        {"bagging_fraction": 0.6, "feature_fraction": 0.5, "extra_trees": True},
        {"max_bin": 15, "min_data_in_bin": 10},
        {"use_missing": False},
        {"data_sample_strategy": "goss", "top_rate": 0.3},
        {"linear_tree": True, "linear_lambda": 0.1},
        {"use_quantized_grad": True},
        {"cat_smooth": 1.0, "min_data_per_group": 2, "max_cat_to_onehot": 100},
    ],
    ids=lambda params: next(iter(params)),
)
@pytest.mark.parametrize("kind", KINDS)
def test_shared_bins_give_the_model_of_fresh_data_after_any_other_trial(
    kind: str, params: Params
) -> None:
    library = data(LightGBM, kind)
    trained(library, {"num_leaves": 4, "min_data_in_leaf": 50, "feature_fraction": 0.3}, (5, 12))
    for rungs in ((12,), (4, 12)):
        expected = trained(data(LightGBM, kind), params, rungs)
        rows = make_fold(kind).train
        assert np.array_equal(trained(library, params, rungs).predict(rows), expected.predict(rows))


@pytest.mark.parametrize("kind", KINDS)
def test_xgboost_is_the_same_after_other_trials_drew_random_numbers(kind: str) -> None:
    params = {"subsample": 0.6, "colsample_bynode": 0.5, "colsample_bylevel": 0.7}
    rows = make_fold(kind).train
    expected = [
        trained(data(XGBoost, kind), params, rungs).predict(rows) for rungs in ((12,), (4, 12))
    ]
    library = data(XGBoost, kind)
    for i in range(3):
        trained(library, {**params, "max_bin": 16 + i}, (5,), seed=i)
    assert len(library._trains) == 2
    for rungs, prediction in zip(((12,), (4, 12)), expected, strict=True):
        assert np.array_equal(trained(library, params, rungs).predict(rows), prediction)


@pytest.mark.parametrize("kind", KINDS)
def test_lightgbm_agrees_with_a_plain_training(kind: str) -> None:
    fold = make_fold(kind)
    model = trained(data(LightGBM, kind), {"num_leaves": 7}, (10,))
    p = fold.train.numeric.shape[1]
    plain = lgb.train(
        {
            "objective": kind,
            "num_leaves": 7,
            "num_class": 4 if kind == "multiclass" else 1,
            "verbosity": -1,
        },
        lgb.Dataset(fold.train.dense(), fold.y_train, categorical_feature=[p, p + 1, p + 2]),
        10,
    )
    raw = np.asarray(plain.predict(fold.train.dense(), num_iteration=model.best))
    expected = np.column_stack([1 - raw, raw]) if kind == "binary" else raw
    np.testing.assert_allclose(model.predict(fold.train), expected, rtol=1e-12)


@pytest.mark.parametrize(
    "params",
    [{"num_leaves": 5}, {"bagging_fraction": 0.6, "feature_fraction": 0.5}, {"extra_trees": True}],
)
@pytest.mark.parametrize("kind", KINDS)
def test_continuing_from_stored_scores_gives_the_trees_of_init_model(
    kind: str, params: Params
) -> None:
    library, rows = data(LightGBM, kind), make_fold(kind).train
    first, both = trained(library, params, (12,)), trained(library, params, (12, 30))
    native = library.native(params, leg_seed(3, 12))
    binned = lgb.Dataset(
        rows.dense(),
        make_fold(kind).y_train,
        reference=library.pair(native, continuing=False)[0],
        categorical_feature=[5, 6, 7],
        params=library._binning(native),
        free_raw_data=False,
    )
    plain = lgb.train(native, binned, 18, init_model=first._model.whole)
    assert (
        plain.current_iteration()
        == both._model.size()
        == both._model.whole.current_iteration()
        == 30
    )
    for size in (1, 12, 13, 30):
        expected = plain.predict(rows.dense(), num_iteration=size)
        assert np.array_equal(both._model.whole.predict(rows.dense(), num_iteration=size), expected)
    valid = library.watch.fold.valid
    np.testing.assert_allclose(
        both.predict(replace(valid)), both.predict(valid), rtol=0, atol=1e-12
    )


# --- early stopping -------------------------------------------------------------------------------


@BOTH
def test_early_stopping_continues_over_legs_and_counts_as_reaching_the_budget(
    family: Any, tmp_path: Path
) -> None:
    params = {"learning_rate": 0.5, "num_leaves" if family is LightGBM else "max_depth": 20}
    library = data(family)
    model = library.start(params, 1)
    rung = 0
    while not model.stopped:
        rung += 60
        model.train(rung)
        model.save(tmp_path / "checkpoint")
        model = library.resume(params, 1, tmp_path / "checkpoint")
    assert model.reached == rung
    assert model.best < rung - 60
    best, scale = model.predict(make_fold("binary").valid), model.best
    assert model.train(rung + 500) == ()
    assert model.reached == rung + 500
    assert model.best == scale
    assert np.array_equal(model.predict(make_fold("binary").valid), best)
    model.export(tmp_path / "member")
    member: Any = load_member(tmp_path / "member")
    booster = member.booster
    count = booster.current_iteration() if family is LightGBM else booster.num_boosted_rounds()
    assert count == model.best
    np.testing.assert_allclose(member.predict(make_fold("binary").valid), best, atol=1e-12)


@BOTH
@pytest.mark.parametrize("kind", KINDS)
def test_the_best_round_is_the_best_of_those_scored(family: Any, kind: str) -> None:
    fold = make_fold(kind)
    metric = default_metric(kind)
    model = data(family, kind, fold).start({"learning_rate": 0.5}, 1)
    curve = dict(model.train(45))
    losses = {round_: metric.goal.to_loss(value) for round_, value in curve.items()}
    assert model.best == min(losses, key=losses.__getitem__)
    kept = fold.score(metric, model.predict(fold.valid))
    assert kept == pytest.approx(curve[float(model.best)], rel=1e-12)
    natively = model.predict(replace(fold.valid))
    np.testing.assert_allclose(natively, model.predict(fold.valid), rtol=0, atol=1e-7)


def test_a_round_that_finds_nothing_to_split_does_not_end_the_trial(tmp_path: Path) -> None:
    params = {
        "min_data_in_leaf": 50,
        "bagging_fraction": 0.7,
        "extra_trees": True,
        "feature_fraction": 0.4,
    }
    library = data(LightGBM)
    model = trained(library, params, (40, 80))
    assert model._model.size() < 80
    model.save(tmp_path / "checkpoint")
    again = library.resume(params, 3, tmp_path / "checkpoint")
    rows = make_fold("binary").train
    assert np.array_equal(again.predict(rows), model.predict(rows))


# --- unusual tables and parameters ----------------------------------------------------------------


@BOTH
def test_levels_never_seen_are_missing_and_many_levels_are_fine(
    family: Any, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    n, levels = 600, 400
    codes = rng.integers(0, levels, (n, 1)).astype(np.int32)
    y = (codes[:, 0] % 2 == rng.integers(0, 10, n) // 9).astype(np.int64)
    base = make_fold("binary", n)
    train, valid = (Matrix(np.empty((m, 0)), codes[:m]) for m in (400, 200))
    valid.categorical[:100] = -1
    fold = replace(
        base, train=train, y_train=y[:400], valid=valid, y_valid=y[:200], cardinalities=(levels,)
    )
    model = trained(data(family, fold=fold), {})
    model.export(tmp_path / "member")
    unseen = Matrix(np.empty((2, 0)), np.array([[-1], [levels - 1]], dtype=np.int32))
    assert np.isfinite(model.predict(unseen)).all()
    served = load_member(tmp_path / "member").predict(unseen)
    np.testing.assert_allclose(served, model.predict(unseen), atol=1e-12)


@BOTH
def test_a_model_that_diverges_is_an_error_with_a_reason(family: Any) -> None:
    with pytest.raises((TrainingError, ValueError), match="not finite|diverged|is inf|is nan"):
        trained(
            data(family, "regression"),
            {"learning_rate": 1e200 if family is LightGBM else 1e30},
            (40,),
        )


@BOTH
def test_a_model_without_rounds_says_so(family: Any) -> None:
    with pytest.raises(ValueError, match="call train first"):
        data(family).start({}, 0).predict(make_fold("binary").valid)


@BOTH
def test_threads_are_those_given(family: Any) -> None:
    library = family(make_fold("binary"), FamilyOptions(default_metric("binary"), 2))
    assert library.native({}, 0)["num_threads" if family is LightGBM else "nthread"] == 2


def test_rounds_are_grown_with_the_number_of_threads_that_takes_the_least_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]

    def taking(*seconds: float) -> Callable[[], None]:
        costs = cycle(seconds)
        return lambda: now.__setitem__(0, now[0] + next(costs))

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    assert quickest({1: taking(1.0), 2: taking(0.7)}) == 2
    assert quickest({1: taking(0.8), 2: taking(1.8)}) == 1
    assert quickest({1: taking(9.0, 1.0, 1.0), 2: taking(1.5)}) == 1  # an outlier does not count


@pytest.mark.parametrize("number", [1, 2])
def test_the_threads_that_are_used_change_nothing_of_the_model(number: int) -> None:
    params, texts = {"num_leaves": 7, "feature_fraction": 0.6, "extra_trees": True}, []
    for chosen in (None, number):
        library = LightGBM(make_fold("binary"), FamilyOptions(default_metric("binary"), 2))
        library._chosen = chosen
        texts.append(library.dump(trained(library, params, (4, 8))._model, None))
        assert library._chosen in (1, 2)
    assert texts[0] == texts[1]


# --- names ----------------------------------------------------------------------------------------


def test_the_lightgbm_names_are_those_of_the_library() -> None:
    from lightgbm.basic import _ConfigAliases

    names = single_family("lightgbm").names
    for main, aliases in {**names.parameters, **names.reserved}.items():
        assert set(aliases) == set(_ConfigAliases.get(main)) - {main}


@pytest.mark.parametrize("name", sorted(single_family("xgboost").names.parameters))
def test_the_xgboost_names_are_those_of_the_library(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    values = {"grow_policy": "lossguide", "max_bin": 16, "max_leaves": 5, "num_parallel_tree": 2}
    rows = xgb.DMatrix(np.eye(8), np.arange(8.0))
    for alias in (name, *single_family("xgboost").names.parameters[name]):
        params = {"tree_method": "hist", "verbosity": 1, "nthread": 1, alias: values.get(name, 1)}
        xgb.train(params, rows, 1)
    assert "not used" not in "".join(capfd.readouterr())
