"""Rows that the user divides: tables of their own for test and validation rows, and named folds."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hpo.errors import DataError, ParameterError, StudyError
from pipelines.registry.gate import HeldOutScore
from pipelines.registry.heldout import StudyTable, held_out_rows
from pipelines.table.scores.metrics import METRICS
from pipelines.table.source import DataPlan, Source, rebuild_source
from tests.tables import prepare


def table(n: int = 200, seed: int = 0, **columns: Any) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "site": rng.choice(["a", "b", "c"], size=n),
            "day": pd.date_range("2024-01-01", periods=n),
            "y": rng.choice(["yes", "no"], size=n),
        }
    )
    return frame.assign(**columns)


def test_all_rows_of_the_table_are_trained_on_and_those_of_the_others_score() -> None:
    others = {"test": table(60, 1), "validation": table(50, 2)}
    prepared = prepare(table(), "y", test_share=0.0, validation="table", others=others)
    train, valid = prepared.rows.folds[0]
    assert (len(train), len(valid), len(prepared.rows.test)) == (200, 50, 60)
    assert prepared.test_frame["x"].tolist() == others["test"]["x"].tolist()
    assert prepared.folds[0].valid.numeric[:, 0].tolist() == others["validation"]["x"].tolist()
    assert prepared.y_test.tolist() == [int(y == "yes") for y in others["test"]["y"]]


def test_other_tables_are_divided_without_a_test_share() -> None:
    prepared = prepare(
        table(), "y", test_share=0.0, validation="cv:4", others={"test": table(60, 1)}
    )
    assert len(prepared.rows.folds) == 4
    assert prepared.rows.rest.tolist() == list(range(200))


def test_a_value_means_the_same_in_a_file_of_texts_and_in_one_with_types() -> None:
    typed = table(60, 1)
    written = typed.assign(day=typed["day"].dt.strftime("%Y-%m-%d"), site=typed["site"].values)
    as_category = table(site=pd.Categorical(table()["site"]))
    first, second = (
        prepare(as_category, "y", test_share=0.0, others={"test": test})
        for test in (typed, written)
    )
    for prepared in (first, second):
        assert prepared.features.categorical_names == ("site",)
    one, two = (each.features.transform(each.test_frame) for each in (first, second))
    assert np.array_equal(one.numeric, two.numeric)
    assert np.array_equal(one.categorical, two.categorical)


def test_the_test_share_does_not_set_the_size_of_the_validation_rows() -> None:
    sizes = [len(prepare(table(), "y", test_share=share).rows.folds[0][1]) for share in (0.1, 0.4)]
    assert sizes == [round(0.2 * 180), round(0.2 * 120)]
    prepared = prepare(table(), "y", validation="holdout:0.5")
    assert len(prepared.rows.folds[0][1]) == 80


def test_the_values_of_a_column_are_the_folds() -> None:
    frame = table(part=np.arange(200) % 3 + 8)
    prepared = prepare(frame, "y", validation="fold:part")
    assert "part" not in prepared.features.inputs
    assert any("part: not used as a feature, its values are the folds" in n for n in prepared.notes)
    for value, (train, valid) in zip((8, 9, 10), prepared.rows.folds, strict=True):
        assert set(frame["part"].iloc[valid]) == {value}
        assert value not in set(frame["part"].iloc[train])
        assert sorted([*train, *valid]) == prepared.rows.rest.tolist()


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"test": table(60).drop(columns="x")}, "test: the table has no column 'x', which data"),
        ({"test": table(60, z=1)}, "test: data has no column 'z'"),
        ({"test": table(60, y="maybe")}, "test: .*'maybe'; classes: .*'no', 'yes'"),
        ({"test": table(60, y=None)}, "0 rows with a target are too few"),
        ({"test": table(60), "validation": table(9)}, "validation: 9 rows .* too few"),
        ({}, "be 0 with a table of test rows"),
    ],
)
def test_a_table_with_other_columns_or_labels_is_refused(
    others: dict[str, pd.DataFrame], message: str
) -> None:
    how = "table" if "validation" in others else "holdout"
    with pytest.raises((DataError, ParameterError), match=message):
        prepare(table(), "y", test_share=0.0, validation=how, others=others)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (1, "has 1 different value"),
        (np.arange(200), "has 160 different value"),
        ([None, *range(199)], "1 of 200 have none"),
    ],
)
def test_a_column_without_usable_folds_is_refused(values: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepare(table(part=values), "y", validation="fold:part")
    with pytest.raises(ParameterError, match="did you mean 'part'"):
        prepare(table(part=values), "y", validation="fold:parts")


def test_a_column_of_folds_and_dropped_columns_need_not_be_in_the_test_table() -> None:
    frame = table(part=np.arange(200) % 2, note="…")
    prepared = prepare(
        frame,
        "y",
        test_share=0.0,
        validation="fold:part",
        overrides={"note": "drop"},
        others={"test": table(60, 1)},
    )
    assert prepared.features.inputs == ("x", "site", "day")


def test_a_study_finds_its_tables_again_and_their_content_is_its_fingerprint(
    tmp_path: Path,
) -> None:
    places = {role: tmp_path / f"{role}.csv" for role in ("data", "test")}
    table().to_csv(places["data"], index=False)
    table(60, 1).to_csv(places["test"], index=False)
    others: dict[str, Any] = {"test": places["test"], "validation": table(50, 2)}
    given = Source(str(places["data"]), "y", test_share=0.0, validation="table", others=others)
    plan = given.plan(given.prepare())
    plan = DataPlan.from_header(plan.to_header())
    assert plan.others == {"test": str(places["test"]), "validation": None}

    with pytest.raises(StudyError, match="table of validation rows in memory: pass it as valid"):
        rebuild_source(plan, 0)
    again = rebuild_source(plan, 0, {"validation": table(50, 2)})
    assert again.plan(again.prepare()).fingerprint == plan.fingerprint

    table(60, 3).to_csv(places["test"], index=False)
    changed = again.plan(again.prepare())
    assert changed.digest != plan.digest
    assert changed.digests["data"] == plan.digests["data"]
    places["test"].unlink()
    with pytest.raises(StudyError, match="no longer exists.* pass its new place as test="):
        rebuild_source(plan, 0, {"validation": table(50, 2)})


def test_a_table_in_a_role_that_the_study_did_not_have_is_refused() -> None:
    given = Source(table(), "y")
    plan = given.plan(given.prepare())
    with pytest.raises(StudyError, match="began without a table of test rows"):
        rebuild_source(plan, 0, {"data": table(), "test": table(60, 1)})


def test_a_promotion_compares_on_the_test_table(tmp_path: Path) -> None:
    test = table(60, 1)
    table().to_csv(tmp_path / "data.csv", index=False)
    given = Source(str(tmp_path / "data.csv"), "y", test_share=0.0, others={"test": test})
    prepared = given.prepare()
    score = HeldOutScore(
        METRICS["roc_auc"].goal,
        0.5,
        0.5,
        prepared.digest,
        prepared.rows.digest,
        len(prepared.rows.test),
    )
    study = StudyTable(given.plan(prepared), 0, score)
    rows = held_out_rows(study, prepared.target, test)
    assert rows.of_study
    assert rows.frame["x"].tolist() == test["x"].tolist()
    assert not held_out_rows(study, prepared.target, table(70, 5)).of_study
