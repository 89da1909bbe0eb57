"""What the real-seconds benchmark makes of the legs that it is told of."""

import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.datasets import find_dataset
from benchmarks.methods import CLOCKED
from benchmarks.peers.product.wallclock_own import legs, loss_of
from benchmarks.product.wallclock import (
    Course,
    Search,
    export_rows,
    picture,
    report,
    stored,
    window,
)
from hpo.errors import UserError
from hpo.trial import Report, Trial
from tests import stores
from tests.tables import prepare

EVENTS = [(8.0, 0.3), (2.0, 0.5), (4.0, 0.4), (6.0, 0.45), (11.0, 0.1)]


def _answer(events: list[tuple[float, float]], test: float = 0.35) -> dict[str, object]:
    return {"events": events, "test": test, "whole": 12.0, "rows": [60, 20, 20]}


def test_a_course_is_in_the_order_of_time_and_ends_in_time() -> None:
    course = Course.of(EVENTS, seconds=10)
    assert course.times.tolist() == [2.0, 4.0, 6.0, 8.0]
    assert course.best.tolist() == [0.5, 0.4, 0.4, 0.3]


def test_the_loss_at_a_time_is_the_least_until_then() -> None:
    course = Course.of(EVENTS, seconds=10)
    assert [course.at(time) for time in (1.0, 2.0, 5.0, 6.5, 10.0)] == [
        math.inf,
        0.5,
        0.4,
        0.4,
        0.3,
    ]


def test_a_search_without_a_leg_has_no_loss() -> None:
    course = Course.of([], seconds=10)
    assert course.at(10.0) == math.inf
    assert window([course], 10) is None


def test_the_picture_shows_what_differs_late() -> None:
    courses = [Course.of([(0.1, 9.0), (0.5, 0.5), (9.0, 0.3)], 10), Course.of([(5.0, 0.4)], 10)]
    low, high = window(courses, 10) or (0.0, 0.0)
    assert low < 0.3
    assert 0.5 < high < 0.6


def test_differences_are_those_on_the_same_split() -> None:
    methods = [CLOCKED["bohb"], CLOCKED["flaml"]]
    answers = [
        [_answer([(1.0, 0.30)]), _answer([(1.0, 0.40)])],
        [_answer([(1.0, 0.32)]), _answer([(1.0, 0.44)])],
    ]
    text, values = report(answers, methods, seconds=8)
    assert "| **bohb** (this project) | 0.3500 (0.3000 to 0.4000) |" in text
    assert "| **bohb** (this project) | -0.0300 (-0.0400 to -0.0200) |" in text
    assert values["losses"] == [[[0.3] * 4, [0.4] * 4], [[0.32] * 4, [0.44] * 4]]


def test_a_time_before_the_first_leg_is_told_in_words() -> None:
    text, _ = report([[_answer([(5.0, 0.3)])]], [CLOCKED["tpe"]], seconds=8)
    assert "| none yet | none yet | none yet | 0.3000 (0.3000 to 0.3000) | 1 |" in text


def test_a_metric_is_a_loss_where_greater_is_better() -> None:
    assert loss_of("roc_auc", 0.9) == pytest.approx(0.1)
    assert loss_of("log_loss", 0.9) == 0.9


def test_each_leg_is_an_event_and_no_point_of_its_curve_is() -> None:
    start, store = time.time(), stores.study(metric="roc_auc")
    told = []
    for number, score in enumerate((0.7, 0.8)):
        trial = Trial(number, {"model": "a", "rate": 0.1, "depth": 2}, 9)
        store.add(trial)
        for budget, better in ((9, score), (27, score + 0.05)):
            curve = tuple((float(b), better - 0.01) for b in range(1, budget, 4))
            trial = replace(trial, budget=budget).with_outcome(
                Report(budget, -better, {"roc_auc": better}, 0.1, curve)
            )
            store.update(trial)
            told.append(1 - better)
            time.sleep(0.002)  # MLflow keeps whole milliseconds, and no two legs end in one
    store.close()
    found = legs(stores.client(), store.run_id, "roc_auc", start)
    assert sorted(loss for _, loss in found) == pytest.approx(sorted(told))
    assert all(-0.001 <= seconds <= time.time() - start for seconds, _ in found)


def test_searches_are_stored(tmp_path: Path) -> None:
    results = stored(tmp_path)
    results.add(Search("tpe", "t", "log_loss", 10, 2, seed=0), _answer([(1.0, 0.3)]))
    assert stored(tmp_path).answers == {
        Search("tpe", "t", "log_loss", 10, 2, seed=0): {**_answer([]), "events": [[1.0, 0.3]]}
    }


def test_rows_are_handed_over_as_the_search_sees_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=90), "kind": rng.choice(["a", "b", "c"], 90)})
    frame["y"] = np.where(frame["x"] > 0, "yes", "no")
    prepared = prepare(frame, "y", seed=3)
    export_rows(prepared, tmp_path / "rows.npz")
    rows, fold = np.load(tmp_path / "rows.npz"), prepared.folds[0]
    for part, matrix, y in (
        ("train", fold.train, fold.y_train),
        ("valid", fold.valid, fold.y_valid),
    ):
        np.testing.assert_array_equal(rows[f"{part}-numeric"], matrix.numeric)
        np.testing.assert_array_equal(rows[f"{part}-categorical"], matrix.categorical)
        np.testing.assert_array_equal(rows[f"{part}-target"], y)
    assert rows["cardinalities"].tolist() == [3]
    assert len(rows["test-target"]) == len(prepared.rows.test)


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    methods = [CLOCKED["bohb"], CLOCKED["tpe"]]
    answers = [[_answer(EVENTS)], [_answer([])]]
    picture(answers, methods, 10, "log_loss", tmp_path / "images" / "wallclock.png")
    assert (tmp_path / "images" / "wallclock.png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_table_is_reported_with_the_closest_name(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text("name,target\nadult_income,income\n")
    assert find_dataset(tmp_path, "adult_income").target == "income"
    with pytest.raises(UserError, match="did you mean 'adult_income'"):
        find_dataset(tmp_path, "adult_incom")
