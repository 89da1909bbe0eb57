import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from serving.columns import BooleanColumn, CategoricalColumn, DateColumn, NumericColumn
from serving.features import FeatureEncoder, Matrix, TargetEncoder

ENCODER = FeatureEncoder(
    (
        NumericColumn("age"),
        NumericColumn("dirty", dirty=True),
        BooleanColumn("member"),
        CategoricalColumn("color", ("blue", "green", "red"), missing=True),
        CategoricalColumn("size", ("1", "2", "3")),
        CategoricalColumn("city", ("Oslo", "Rome"), other=True),
        DateColumn("day", "ISO8601", ("year", "weekday", "days")),
    )
)


def frame(**columns: Any) -> Any:
    whole = pd.DataFrame(
        {
            "age": [31.0, np.nan],
            "dirty": ["1.5", "broken"],
            "member": [True, None],
            "color": ["red", None],
            "size": [2, 9],
            "city": ["Rome", "Atlantis"],
            "day": ["1970-01-03", None],
        }
    )
    return whole.assign(**columns)


def test_a_matrix_of_every_kind() -> None:
    matrix = ENCODER.transform(frame())
    assert ENCODER.numeric_names == (
        "age",
        "dirty",
        "member",
        "day.year",
        "day.weekday",
        "day.days",
    )
    assert ENCODER.categorical_names == ("color", "size", "city")
    assert ENCODER.cardinalities == (4, 3, 3)
    np.testing.assert_array_equal(matrix.numeric, [[31, 1.5, 1, 1970, 5, 2], [np.nan] * 6])
    assert matrix.numeric.dtype == np.float64
    assert matrix.categorical.tolist() == [[2, 1, 1], [3, -1, 2]]
    assert matrix.categorical.dtype == np.int32


def test_order_and_further_columns_do_not_matter() -> None:
    expected = ENCODER.transform(frame())
    shuffled = frame(extra="x")[["extra", *reversed(ENCODER.inputs)]]
    found = ENCODER.transform(shuffled)
    np.testing.assert_array_equal(found.numeric, expected.numeric)
    np.testing.assert_array_equal(found.categorical, expected.categorical)


@pytest.mark.parametrize(
    "columns",
    [
        {"age": pd.array([31, None], dtype="Int64")},
        {"age": ["31", "NA"]},
        {"age": pd.array([31.0, None], dtype="Float32")},
        {"size": [2.0, 9.0]},
        {"size": ["2", "9"]},
        {"size": pd.Categorical([2, 9])},
        {"member": ["TRUE", ""]},
        {"member": [1, None]},
        {"member": pd.array([True, None], dtype="boolean")},
        {"color": ["red ", "NA"]},
        {"color": pd.Categorical(["red", None])},
        {"day": pd.to_datetime(["1970-01-03", "NaT"])},
        {"day": pd.to_datetime(["1970-01-03 00:00+00:00", "NaT"])},
        {"day": ["1970-01-03T01:00:00+01:00", ""]},
    ],
)
def test_how_a_value_is_stored_does_not_matter(columns: Any) -> None:
    expected, found = ENCODER.transform(frame()), ENCODER.transform(frame(**columns))
    np.testing.assert_array_equal(found.numeric, expected.numeric)
    np.testing.assert_array_equal(found.categorical, expected.categorical)


def test_columns_of_nothing() -> None:
    matrix = ENCODER.transform(pd.DataFrame(dict.fromkeys(ENCODER.inputs, [None, None])))
    assert np.isnan(matrix.numeric).all()
    assert matrix.categorical.tolist() == [[3, -1, -1]] * 2
    assert len(ENCODER.transform(frame().iloc[:0])) == 0


def test_all_missing_columns_are_named() -> None:
    with pytest.raises(
        ValueError, match=r"lacks 3 column.*'age', 'color' \(the table has 'colour'\), 'city'"
    ):
        ENCODER.transform(frame().drop(columns=["age", "city"]).rename(columns={"color": "colour"}))


def test_names_are_compared_in_their_normal_form() -> None:
    encoder = FeatureEncoder((NumericColumn("3"), NumericColumn("Größe")))
    request = pd.DataFrame([[1.0, 2.0]], columns=[3, " Gro\u0308ße\ufeff"])
    assert encoder.transform(request).numeric.tolist() == [[1.0, 2.0]]


def test_doubled_columns_matter_only_when_used() -> None:
    doubled = frame()
    doubled.insert(0, "age", 1.0, allow_duplicates=True)
    with pytest.raises(ValueError, match="more than once: 'age'"):
        ENCODER.transform(doubled)
    spare = frame(x=1)
    spare.insert(0, "x", 1.0, allow_duplicates=True)
    ENCODER.transform(spare)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"age": ["old", "31"]}, "'age' must hold a number in every row.*1 entry.*first is 'old'"),
        ({"age": [np.inf, 1]}, "'age' holds 1 infinite"),
        ({"member": ["perhaps", "true"]}, "'member' must hold true or false"),
        ({"day": ["tomorrow", "1970-01-01"]}, "'day' must hold a date"),
        ({"color": [["red"], ["blue"]]}, "'color' holds nested values"),
    ],
)
def test_what_training_could_not_have_seen_is_an_error(columns: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ENCODER.transform(frame(**columns))


def test_json_keeps_everything() -> None:
    assert FeatureEncoder.from_dict(json.loads(json.dumps(ENCODER.to_dict()))) == ENCODER
    with pytest.raises(ValueError, match="unknown kind of column"):
        FeatureEncoder.from_dict({"columns": [{"kind": "text", "name": "x"}]})


def test_dense_and_take() -> None:
    matrix = Matrix(np.array([[1.0], [np.nan]]), np.array([[2], [-1]], dtype=np.int32))
    np.testing.assert_array_equal(matrix.dense(), [[1, 2], [np.nan, np.nan]])
    assert matrix.dense(np.float32).dtype == np.float32
    assert matrix.take(np.array([1, 0, 0])).categorical.tolist() == [[-1], [2], [2]]


def test_numbers_beyond_float32_stay_finite_and_ordered() -> None:
    numeric = np.array([[-1e300], [1.0], [1e300], [np.nan]])
    dense = Matrix(numeric, np.empty((4, 0), np.int32)).dense(np.float32)[:, 0]
    assert dense[0] < -1e37
    assert dense[1] == 1.0
    assert 1e37 < dense[2] < np.finfo(np.float32).max
    assert np.isnan(dense[3])


@pytest.mark.parametrize(
    ("classes", "values"),
    [
        (("no", "yes"), ["yes", "no"]),
        ((1, 2), [2.0, 1.0]),
        ((False, True), [True, False]),
        ((0.5, 2), [2, 0.5]),
    ],
)
def test_labels_come_back_as_they_were(classes: Any, values: Any) -> None:
    target = TargetEncoder("binary", classes)
    codes = target.encode(pd.Series(values))
    assert codes.tolist() == [1, 0]
    assert target.labels(np.eye(2)[codes]).tolist() == values
    assert TargetEncoder.from_dict(json.loads(json.dumps(target.to_dict()))) == target


def test_a_strange_label_is_named() -> None:
    with pytest.raises(ValueError, match="no class: 'maybe'"):
        TargetEncoder("binary", ("no", "yes")).encode(pd.Series(["yes", "maybe"]))


def test_regression_is_standardised() -> None:
    target = TargetEncoder("regression", (), mean=10.0, scale=2.0)
    assert target.encode(pd.Series([10, 14])).tolist() == [0.0, 2.0]
    assert target.original(np.array([0.0, 2.0])).tolist() == [10.0, 14.0]
