"""Options that are given again to what has begun: equal ones are taken, others are refused."""

from dataclasses import fields
from typing import Any

import pytest

from hpo.errors import StudyError
from hpo.goals import Goal, Goals, Limit
from pipelines.models import settings
from pipelines.objectives.space import ANOTHER
from pipelines.objectives.unchanged import check_unchanged
from pipelines.study.options import Options, TrainOptions, TuneOptions, ValidateOptions
from pipelines.table.source import DataPlan
from tests.plans import plan

OVERRIDES = {"zip": "category", "id": "drop"}
TABLE = DataPlan("a.csv", "d", 9, "y", "regression", "group:a", 0.3, "cv:4", "1/3", OVERRIDES)
PLAN = plan(
    algorithm="asha",
    seed=3,
    rungs=(10.0, 30.0, 90.0),
    fidelity="rounds",
    trials=7,
    timeout=60.0,
    trial_timeout=5.0,
    confirm=2,
    patience=9,
    min_gain=0.01,
    ensemble="3",
    warm_start="off",
    goals=Goals((Goal("rmse"), Goal("latency")), (Limit("size", 5.0),), {"latency": 1.0}),
    space=settings("lightgbm", kind="regression").space,
)
SAME: dict[str, Any] = {
    "target": "y",
    "metric": "rmse,latency",
    "limits": "size<5",
    "seed": 3,
    "task": "regression",
    "split": "group:a",
    "validation": "cv:4",
    "types": "zip:category",
    "drop": "id",
    "refit": "off",
    "algorithm": "asha",
    "trials": 7,
    "timeout": 60.0,
    "space": "past",
    "min_budget": 10,
    "max_budget": 90,
    "fidelity": "rounds",
    "trial_timeout": 5.0,
    "confirm": 2,
    "patience": 9,
    "min_gain": 0.01,
    "ensemble": "3",
    "warm_start": "off",
    "test_share": 0.3,
    "checkpoints": "s3://new/place",
    "folds": 3,
}
OTHER: dict[str, Any] = {
    "target": "z",
    "model": "xgboost",
    "metric": "mae",
    "limits": "size<4",
    "seed": 4,
    "task": "binary",
    "split": "time:a",
    "validation": "cv:5",
    "fold": "k",
    "weight": "w",
    "positive": "yes",
    "monotone": "x:+1",
    "balance": "on",
    "loss": "huber",
    "types": "zip:number",
    "drop": "name",
    "refit": "all",
    "calibrate": "on",
    "threshold": "0.3",
    "algorithm": "bohb",
    "trials": 8,
    "timeout": 1.0,
    "space": {"learning_rate": [0.1, 0.2]},
    "min_budget": 30,
    "max_budget": 270,
    "eta": 9.0,
    "fidelity": "scaled",
    "trial_timeout": 9.0,
    "confirm": 5,
    "patience": 4,
    "min_gain": 0.002,
    "ensemble": "off",
    "warm_start": "there",
    "test_share": 0.1,
    "folds": 4,
}


def kept(kind: type[Options]) -> list[str]:
    return [each.name for each in fields(kind) if not each.metadata["later"]]


def check_with(kind: type[Options], **given: Any) -> None:
    check_unchanged("study abc", kind(**given), PLAN, TABLE, instead="start a new study")


@pytest.mark.parametrize("kind", [TuneOptions, ValidateOptions, TrainOptions])
def test_all_that_it_began_with_may_be_said_again(kind: type[Options]) -> None:
    check_with(kind, **{name: SAME[name] for name in kept(kind) if name in SAME})


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kind, name)
        for kind in (TuneOptions, ValidateOptions, TrainOptions)
        for name in kept(kind)
        if name not in ("params", "checkpoints", "estimator")  # which is a model by then
    ],
)
def test_every_other_option_is_refused_with_both_values(kind: type[Options], name: str) -> None:
    began = ANOTHER if name == "space" else SAME.get(name, getattr(PLAN, name, None))
    with pytest.raises(StudyError) as caught:
        check_with(kind, **{name: OTHER[name]})
    assert str(caught.value) == (
        f"study abc began with {name}={began!r}, but got {OTHER[name]!r}; "
        f"leave {name} out, or start a new study"
    )


def test_all_changes_are_told_together() -> None:
    with pytest.raises(StudyError, match="(?s)2 mistakes:.*seed=3, but got 5.*max_budget=90, but"):
        check_with(TrainOptions, seed=5, max_budget=10)


def test_what_a_later_session_decides_is_free() -> None:
    later = {"trials": 99, "timeout": 1.0, "confirm": 9, "workers": 2, "register": "name"}
    check_with(TuneOptions, data="moved.csv", study="abc", **later)
    check_with(TrainOptions, trial="abc", refit="all", register="name")
    check_with(ValidateOptions, resume="abc", workers=2)
    check_with(ValidateOptions, ensemble=3)


def test_settings_of_an_algorithm_are_compared_by_their_values() -> None:
    began = plan(algorithm="tpe:n_startup=8,gamma=0.2", space=PLAN.space)
    given = TuneOptions(study="abc", algorithm="tpe:gamma=0.20,n_startup=8,widening=1")
    check_unchanged("study abc", given, began, TABLE, instead="start a new study")

    given = TuneOptions(study="abc", algorithm="tpe:gamma=0.3,n_startup=8")
    with pytest.raises(StudyError, match="began with algorithm='tpe:n_startup=8,gamma=0.2', but"):
        check_unchanged("study abc", given, began, TABLE, instead="start a new study")
