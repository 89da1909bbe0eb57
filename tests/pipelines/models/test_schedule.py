"""Learning rates that fall with the round: legs, checkpoints and horizons."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
import xgboost as xgb

from hpo.errors import ParameterError
from pipelines.models import (
    ALL,
    FAMILIES,
    FIDELITIES,
    CheckpointError,
    FamilyOptions,
    settings,
    single_family,
)
from pipelines.models.boosting import Boosting, RateSchedule
from pipelines.models.families import MAX_RATE, learning_rate, scaled
from pipelines.models.legs import leg_seed
from pipelines.models.lightgbm import LightGBM
from pipelines.models.xgboost import XGBoost
from pipelines.table.scores.metrics import default_metric
from tests.folds import KINDS, make_fold

BOTH = pytest.mark.parametrize("family", [LightGBM, XGBoost])
RUNGS = (4, 12, 36)
SEED = 5
PARAMS: dict[Any, dict[str, Any]] = {
    LightGBM: {
        "learning_rate": 0.1,
        "bagging_fraction": 0.7,
        "feature_fraction": 0.6,
        "extra_trees": True,
    },
    XGBoost: {
        "learning_rate": 0.1,
        "subsample": 0.7,
        "colsample_bylevel": 0.7,
        "colsample_bynode": 0.7,
    },
}


def data(family: Any, kind: str, horizon: int = RUNGS[-1], fidelity: str = "scheduled") -> Any:
    return family(
        make_fold(kind), FamilyOptions(default_metric(kind), 1, horizon=horizon, fidelity=fidelity)
    )


def trained(library: Any, family: Any, rungs: tuple[int, ...] = RUNGS) -> Boosting:
    model: Boosting = library.start(PARAMS[family], SEED)
    for rung in rungs:
        model.train(rung)
    return model


@BOTH
@pytest.mark.parametrize("kind", KINDS)
def test_legs_in_memory_and_through_files_are_the_same(
    family: Any, kind: str, tmp_path: Path
) -> None:
    library = data(family, kind)
    straight = trained(library, family)
    model = library.start(PARAMS[family], SEED)
    for rung in RUNGS:
        model.train(rung)
        model.save(tmp_path / str(rung))
        trained(library, family, (8,))  # another trial runs in between
        model = data(family, kind).resume(PARAMS[family], SEED, tmp_path / str(rung))
    rows = make_fold(kind).train
    assert np.array_equal(model.predict(rows), straight.predict(rows))


_OTHER_PROCESS = """
import sys
from pathlib import Path
import numpy as np
from tests.folds import KINDS, make_fold
from tests.pipelines.models import test_schedule as here
folder = Path(sys.argv[1])
for family in here.PARAMS:
    for kind in KINDS:
        place = folder / f"{family.name}-{kind}"
        model = here.data(family, kind).resume(here.PARAMS[family], here.SEED, place)
        for rung in here.RUNGS[1:]:
            model.train(rung)
        np.save(place.with_suffix(".npy"), model.predict(make_fold(kind).train))
"""


def test_legs_in_another_process_are_the_same(tmp_path: Path) -> None:
    for family in PARAMS:
        for kind in KINDS:
            trained(data(family, kind), family, RUNGS[:1]).save(tmp_path / f"{family.name}-{kind}")
    command = [sys.executable, "-c", _OTHER_PROCESS, str(tmp_path)]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[3], timeout=300)
    for family in PARAMS:
        for kind in KINDS:
            expected = trained(data(family, kind), family).predict(make_fold(kind).train)
            assert np.array_equal(np.load(tmp_path / f"{family.name}-{kind}.npy"), expected)


@BOTH
@pytest.mark.parametrize("kind", KINDS)
def test_a_schedule_gives_the_model_of_a_callback_that_sets_the_rates(
    family: Any, kind: str
) -> None:
    library = data(family, kind)
    model = trained(library, family, (20,))
    rates = RateSchedule(RUNGS[-1]).rates(0.1)
    native = library.native(PARAMS[family], leg_seed(SEED, 0))
    fold = make_fold(kind)
    expected: Any
    if family is LightGBM:
        callback: Any = lgb.reset_parameter(learning_rate=lambda i: rates(i + 1))
        expected = lgb.train(
            native, library.pair(native, continuing=False)[0], 20, callbacks=[callback]
        )
        raw = np.asarray(expected.predict(fold.train.dense(), num_iteration=model._best_size))
    else:
        native["learning_rate"] = rates(1)  # the callback sets the rate after a round
        callback = xgb.callback.LearningRateScheduler(lambda i: rates(i + 2))
        expected = xgb.train(native, library.train_matrix(256), 20, callbacks=[callback])
        raw = expected.predict(library._matrix(fold.train), iteration_range=(0, model._best_size))
    shaped = np.column_stack([1 - raw.astype(float), raw]) if kind == "binary" else raw
    np.testing.assert_allclose(model.predict(fold.train), shaped, rtol=0, atol=1e-12)


@BOTH
def test_the_model_depends_on_the_horizon_and_differs_from_that_of_a_constant_rate(
    family: Any,
) -> None:
    rows = make_fold("binary").train
    predictions = [
        trained(data(family, "binary", horizon, fidelity), family, (12,)).predict(rows)
        for horizon, fidelity in (
            (36, "scheduled"),
            (108, "scheduled"),
            (36, "rounds"),
            (108, "rounds"),
        )
    ]
    assert not np.array_equal(predictions[0], predictions[1])
    assert not np.array_equal(predictions[0], predictions[2])
    assert np.array_equal(predictions[2], predictions[3])


@BOTH
@pytest.mark.parametrize(("horizon", "fidelity"), [(108, "scheduled"), (36, "rounds")])
def test_a_checkpoint_of_another_schedule_is_refused(
    family: Any, horizon: int, fidelity: str, tmp_path: Path
) -> None:
    trained(data(family, "binary"), family, (4,)).save(tmp_path / "checkpoint")
    with pytest.raises(CheckpointError, match="schedule"):
        data(family, "binary", horizon, fidelity).resume(
            PARAMS[family], SEED, tmp_path / "checkpoint"
        )


@pytest.mark.parametrize("horizon", [1, 2, 27, 1000])
def test_the_rates_fall_and_add_up_to_those_of_a_constant_rate(horizon: int) -> None:
    schedule = RateSchedule(horizon)
    factors = [schedule.factor(after) for after in range(1, horizon + 1)]
    assert sum(factors) == pytest.approx(horizon)
    assert factors == sorted(factors, reverse=True)
    assert schedule.factor(horizon + 10) == factors[-1]
    assert max(schedule.rates(0.3)(after) for after in range(1, horizon + 1)) <= MAX_RATE
    assert max(schedule.rates(0.8)(after) for after in range(1, horizon + 1)) == 0.8


@pytest.mark.parametrize("name", ["lightgbm", "xgboost"])
def test_a_share_of_the_budget_scales_the_rate_up_to_a_limit(name: str) -> None:
    family = single_family(name)
    assert scaled(family, {"eta": 0.02, "lambda": 1.0}, 1 / 9)["learning_rate"] == pytest.approx(
        0.06
    )
    assert scaled(family, {"learning_rate": 0.4}, 1 / 9)["learning_rate"] == MAX_RATE
    assert scaled(family, {"learning_rate": 0.8}, 1 / 9)["learning_rate"] == 0.8
    assert scaled(family, {"learning_rate": 0.02}, 1.0) == {"learning_rate": 0.02}
    default = settings(name).first_points[0]["learning_rate"]
    assert learning_rate(family, {}) == default
    assert scaled(family, {}, 1 / 1.21)["learning_rate"] == pytest.approx(1.1 * float(default))


def test_a_family_without_a_rate_keeps_its_parameters() -> None:
    family = single_family("mlp")
    assert scaled(family, {"learning_rate": 0.02}, 1 / 9) == {"learning_rate": 0.02}
    with pytest.raises(ParameterError, match="mlp has no learning rate"):
        learning_rate(family, {})


def test_a_share_outside_0_to_1_is_refused() -> None:
    for share in (0.0, 1.5):
        with pytest.raises(ParameterError, match=r"must lie in \(0, 1\], but got"):
            scaled(single_family("lightgbm"), {}, share)


@pytest.mark.parametrize("model", [*FAMILIES, ALL])
def test_the_fidelity_of_each_model_is_a_known_one(model: str) -> None:
    assert settings(model).budget.fidelity in FIDELITIES
