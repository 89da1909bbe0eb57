"""The options `types` and `drop`."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from hpo.errors import DataError, ParameterError
from pipelines.table.overrides import as_options, parse_overrides
from serving.columns import CategoricalColumn, DateColumn, NumericColumn
from tests.tables import prepare

N = 60
TABLE = pd.DataFrame(
    {
        "zip": np.arange(N) % 7 + 1000,
        "row": np.arange(N),
        "age": [f"{i}" if i else "old" for i in range(N)],
        "color": ["red", "blue", "red"] * (N // 3),
        "y": ["a", "b"] * (N // 2),
    }
)


@pytest.mark.parametrize(
    ("types", "drop", "expected"),
    [
        ("zip:category, age:number", "row , id", {"zip": "category", "age": "number"}),
        ({"zip": "category", "age": "number"}, ["row", "id"], {"zip": "category", "age": "number"}),
        ('{"a, b": "date"}', '["row", "id"]', {"a, b": "date"}),
        ("a:b:date", "row,id", {"a:b": "date"}),
        (None, "row,id", {}),
    ],
)
def test_written_forms(types: Any, drop: Any, expected: Any) -> None:
    overrides = parse_overrides(types, drop)
    assert overrides == expected | {"row": "drop", "id": "drop"}
    assert parse_overrides(**as_options(overrides)) == overrides


@pytest.mark.parametrize(
    ("types", "drop", "message"),
    [
        ("zip", None, "'zip' is none"),
        ("zip:categry", None, "unknown type 'categry' of column 'zip', did you mean 'category'"),
        (["zip"], None, "must be a mapping"),
        (None, 3, "drop=3 must be names"),
        ("zip:number", "zip", "'zip' is in types and in drop"),
    ],
)
def test_mistakes_in_the_options(types: Any, drop: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        parse_overrides(types, drop)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"zipp": "category"}, "types: the table has no column 'zipp', did you mean 'zip'"),
        ({"y": "drop"}, "drop: 'y' is the target"),
        ({"color": "number"}, "as number: 60 of 60 .* 'red' in row 1 .line 2"),
        ({"color": "date"}, "as date: .* 'red' in row 1"),
        ({"age": "boolean"}, "as boolean: 59 of 60 .* 'old' in row 1"),
    ],
)
def test_mistakes_that_the_table_shows(overrides: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepare(TABLE, "y", overrides=overrides)


def test_what_is_overruled_is_used() -> None:
    plain = {column.name for column in prepare(TABLE, "y").features.columns}
    assert plain == {"zip", "age", "color"}
    overrides = parse_overrides("zip:category,row:number,age:number", "color")
    prepared = prepare(TABLE, "y", overrides=overrides)
    levels = tuple(str(1000 + i) for i in range(7))
    assert prepared.features.columns == (
        CategoricalColumn("zip", levels),
        NumericColumn("row"),
        NumericColumn("age", dirty=True),
    )
    assert "types: number row, age; category zip" in prepared.notes
    assert "color: dropped, as requested" in prepared.notes


@pytest.mark.parametrize("chosen", [None, "date", "number"])
def test_a_split_by_time_reads_its_column_as_the_features_do(chosen: str | None) -> None:
    """12.2001 is a month, or a number between 12.2 and 12.3."""
    months = [f"{i % 12 + 1:02}.{2000 + i // 12}" for i in range(120)]
    table = pd.DataFrame({"month": months, "x": np.arange(120) % 7, "y": np.arange(120.0)})
    overrides = {"month": chosen} if chosen else {}
    prepared = prepare(table, "y", split="time:month", overrides=overrides)
    (column,) = [column for column in prepared.features.columns if column.name == "month"]
    encoded = prepared.features.transform(prepared.frame).numeric
    names = prepared.features.numeric_names
    order = encoded[:, names.index("month" if chosen == "number" else "month.days")]
    assert isinstance(column, NumericColumn if chosen == "number" else DateColumn)
    assert order[prepared.rows.test].min() > order[prepared.rows.rest].max()
    again = prepared.resampled(repeats=2, folds=3, seed=0)
    assert all(order[valid].min() > order[train].max() for train, valid in again.folds)
