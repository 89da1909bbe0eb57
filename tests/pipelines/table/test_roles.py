"""Weights of rows, and the label that counts as positive."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from hpo.errors import DataError, ParameterError
from pipelines.registry.gate import HeldOutScore
from pipelines.registry.heldout import StudyTable, held_out_rows
from pipelines.table.data import load_folds, load_part
from pipelines.table.folds import EncodedRows
from pipelines.table.roles import Roles
from pipelines.table.scores.bootstrap import paired_gain, score_interval
from pipelines.table.scores.metrics import METRICS
from pipelines.table.shares import subset
from pipelines.table.source import DataPlan, Source
from tests.tables import prepare


def table(n: int = 200, seed: int = 0, **columns: Any) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "w": rng.integers(0, 4, size=n),
            "y": rng.choice(["bad", "good"], size=n),
        }
    )
    return frame.assign(**columns)


def test_weights_follow_their_rows_into_every_part(tmp_path: Any) -> None:
    frame = table()
    prepared = prepare(frame, "y", roles=Roles(weight="w"))
    assert prepared.features.inputs == ("x",)
    assert "w: not used as a feature, it weighs the rows" in prepared.notes
    assert prepared.weight is not None
    assert prepared.weight[prepared.rows.rest].mean() == pytest.approx(1.0)
    scale = frame["w"].to_numpy()[prepared.rows.rest].mean()
    by_x = dict(zip(frame["x"], frame["w"] / scale, strict=True))

    def right(features: Any, weights: Any) -> bool:
        return [by_x[x] for x in features.numeric[:, 0]] == pytest.approx(weights.tolist())

    prepared.save(tmp_path / "folds")
    (fold,) = load_folds(tmp_path / "folds")
    part = subset(fold, 0.3, 0)
    prepared.save_test(tmp_path / "folds")
    test = EncodedRows.load(tmp_path / "folds")
    whole = fold.whole(test)
    rows = prepared.resampled(repeats=1, folds=2, seed=0)
    prepared.save_parts(tmp_path / "parts", rows)
    again = load_part(tmp_path / "parts", 1)
    for one in (fold, part, whole, again):
        assert right(one.train, one.weight_train)
        assert right(one.valid, one.weight_valid)
    assert len(whole.train) == len(frame)
    assert right(test.features, prepared.weight_test)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([-1, *range(199)], "1 of 200 rows of the table have none, the first is '-1' in row 1;"),
        ([1.0, np.nan] * 100, "100 of 200 .* the first is 'nan' in row 2"),
        (["1", "much"] * 100, "100 of 200 .* the first is 'much'"),
        ([np.inf] * 200, "200 of 200"),
        ([0] * 200, "all weights of the table are 0"),
    ],
)
def test_weights_that_are_none_are_refused(weights: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepare(table(w=weights), "y", roles=Roles(weight="w"))


def test_rows_that_weigh_nothing_cannot_score() -> None:
    frame = table(day=np.arange(200), w=[1] * 150 + [0] * 50)
    with pytest.raises(DataError, match="all weights of the test rows are 0"):
        prepare(frame, "y", split="time:day", roles=Roles(weight="w"))


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (Roles(weight="ww"), "weight='ww': the table has no such column, did you mean 'w'"),
        (Roles(weight="y"), "weight='y' is the target"),
        (Roles(positive="god"), "positive='god' is no label of 'y', did you mean 'good'"),
    ],
)
def test_roles_that_do_not_exist_are_refused(roles: Roles, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        prepare(table(), "y", roles=roles)


def test_a_regression_has_no_positive_label() -> None:
    with pytest.raises(ParameterError, match="is for two classes, but the task is regression"):
        prepare(table(), "x", roles=Roles(positive="good"))


@pytest.mark.parametrize(
    ("labels", "positive", "classes"),
    [
        (["bad", "good"], None, ("bad", "good")),
        (["bad", "good"], "bad", ("good", "bad")),
        ([0, 1], 0, (1, 0)),
        ([0.0, 1.0], "0", (1, 0)),
        ([True, False], False, (True, False)),
    ],
)
def test_the_positive_label_is_the_second_class(
    labels: list[Any], positive: Any, classes: tuple[Any, ...]
) -> None:
    frame = table(y=labels * 100)
    prepared = prepare(frame, "y", roles=Roles.of(positive=positive))
    assert prepared.target.classes == classes
    assert prepared.y.tolist() == [classes.index(label) for label in frame["y"]]
    assert any(f"{classes[1]!r} counts as positive" in note for note in prepared.notes)


def test_the_roles_of_a_study_are_read_back_and_new_rows_have_weights() -> None:
    given = Source(table(), "y", test_share=0.3, roles=Roles("w", positive="bad"))
    prepared = given.prepare()
    plan = given.plan(prepared)
    assert DataPlan.from_header(plan.to_header()) == plan
    score = HeldOutScore(METRICS["f1"].goal, 0.5, 0.5, prepared.digest, prepared.rows.digest, 60)
    study = StudyTable(plan, 0, score)
    own = held_out_rows(study, prepared.target, table())
    assert own.of_study
    assert own.weight is not None
    assert own.weight.tolist() == pytest.approx(prepared.weight_test.tolist())  # type: ignore[union-attr]
    other = table(70, 5)
    new = held_out_rows(study, prepared.target, other)
    assert new.weight is not None
    assert new.weight.tolist() == other["w"].tolist()
    with pytest.raises(ParameterError, match="weight='w': the table has no such column"):
        held_out_rows(study, prepared.target, other.drop(columns="w"))


@pytest.mark.parametrize("name", ["roc_auc", "f1"])
def test_the_interval_of_weighted_rows_is_around_their_score(name: str) -> None:
    rng = np.random.default_rng(0)
    y, p, w = rng.integers(0, 2, 120), rng.random(120), rng.integers(0, 3, 120).astype(float)
    p = np.column_stack([1 - p, p])
    better = 0.5 * p + 0.5 * np.eye(2)[y]
    metric = METRICS[name]
    interval = score_interval(metric, y, p, weight=w)
    assert interval.low < interval.value < interval.high
    assert interval.value == metric(y, p, w) != metric(y, p)
    gain = paired_gain(metric, y, better, p, weight=w)
    assert gain.value == pytest.approx(metric(y, better, w) - metric(y, p, w))
    counted = np.repeat(np.arange(120), w.astype(int))
    assert gain.value == pytest.approx(metric(y[counted], better[counted]) - interval.value)


def test_directions_are_read_and_reach_every_fold(tmp_path: Any) -> None:
    frame = table(
        text=["a", "b"] * 100, day=pd.date_range("2024-01-01", periods=200), z=[1, 2] * 100
    )
    roles = Roles.of(monotone="x:+1, z:-1")
    assert roles == Roles.of(monotone={"x": 1, "z": -1})
    assert Roles.of(**roles.as_options()) == roles
    prepared = prepare(frame, "y", roles=roles)
    names = (*prepared.features.numeric_names, *prepared.features.categorical_names)
    found = dict(zip(names, prepared.monotone, strict=True))
    assert {name: sign for name, sign in found.items() if sign} == {"x": 1, "z": -1}
    prepared.save(tmp_path)
    assert load_folds(tmp_path)[0].monotone == prepared.monotone


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("text", "column 'text' is a category, but only numbers have a direction"),
        ("day", "column 'day' is a date"),
        ("xx", "the table has no column 'xx', did you mean 'x'"),
        ("same", "column 'same' is not used as a feature"),
    ],
)
def test_a_column_without_a_direction_is_refused(column: str, message: str) -> None:
    days = pd.date_range("2024-01-01", periods=200)
    frame = table(text=["a", "b"] * 100, day=days, same=1)
    with pytest.raises(ParameterError, match=message):
        prepare(frame, "y", roles=Roles(monotone={column: 1}))


def test_three_classes_have_no_direction() -> None:
    with pytest.raises(ParameterError, match="but the task is multiclass"):
        prepare(table(y=[*"abca"] * 50), "y", roles=Roles(monotone={"x": 1}))


@pytest.mark.parametrize("weight", ["", "w"])
def test_classes_weigh_the_same_in_training_alone(weight: str) -> None:
    frame = table(y=["bad"] * 20 + ["good"] * 150 + ["fair"] * 30)
    found = prepare(frame, "y", roles=Roles(weight=weight, balance=True), validation="cv:3")
    plain = prepare(frame, "y", roles=Roles(weight=weight), validation="cv:3")
    for fold, other in zip(found.folds, plain.folds, strict=True):
        for each in (fold, fold.whole()):
            assert each.training_weight is not None
            sums = np.bincount(each.y_train, each.training_weight)
            assert sums == pytest.approx(np.full(3, sums.sum() / 3))
        assert fold.training_weight is not None
        own = np.ones(len(fold.y_train)) if fold.weight_train is None else fold.weight_train
        assert fold.training_weight.sum() == pytest.approx(own.sum())
        if fold.weight_valid is not None and other.weight_valid is not None:
            assert np.array_equal(fold.weight_valid, other.weight_valid)
        assert (fold.weight_valid is None) == (weight == "")
        assert other.training_weight is other.weight_train


def test_numbers_have_no_balance() -> None:
    with pytest.raises(ParameterError, match="balance=on is for classes"):
        prepare(table(y=np.linspace(0, 1, 200)), "y", roles=Roles(balance=True))
