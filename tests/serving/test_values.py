"""A value is the same value however it was stored."""

import decimal
from datetime import date, time, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from serving.columns import CategoricalColumn, DateColumn, NumericColumn
from serving.numbers import NumberFormat, numbers
from serving.values import distinct

US = NumberFormat(thousands=",")
GERMAN = NumberFormat(decimal=",", thousands=".")
DURATION = NumberFormat(duration=True)


def arrow(values: Any, kind: Any) -> Any:
    """A column of an Arrow type."""
    return pd.Series(values, dtype=pd.ArrowDtype(kind))


@pytest.mark.parametrize(
    ("how", "text", "expected"),
    [
        (US, "1,234.56", 1234.56),
        (US, "12", 12.0),
        (US, "(1,234)", -1234.0),
        (US, "12,34,567", 1234567.0),
        (US, "1,2", np.nan),
        (GERMAN, "1.234,56", 1234.56),
        (GERMAN, "1.234", 1234.0),
        (GERMAN, "12.5", np.nan),
        (NumberFormat(",", " "), "1\u202f234,5", 1234.5),
        (NumberFormat(".", "'"), "1\u2019234.5", 1234.5),
        (NumberFormat(unit="%"), "12.3 %", 12.3),
        (NumberFormat(unit="%"), "\u22121%", -1.0),
        (NumberFormat(thousands=",", unit="$"), "-$1,234", -1234.0),
        (NumberFormat(thousands=",", unit="$"), "$(1)", -1.0),
        (NumberFormat(thousands=",", unit="$"), "$(1", np.nan),
        (NumberFormat(unit="$", second="USD"), "$5 USD", 5.0),
        (NumberFormat(unit="$", second="USD"), "$5 EUR", np.nan),
        (GERMAN, "1.234,-", 1234.0),
        (GERMAN, "5,\u2013", 5.0),
        (US, "5.00-", -5.0),
        (US, "6,370E+06", np.nan),
        (NumberFormat(unit="kg"), "1.5e3 kg", 1500.0),
        (NumberFormat(unit="kg"), "5 lb", np.nan),
        (DURATION, "05:30", 19_800.0),
        (DURATION, "1 days 02:00:00", 93_600.0),
        (DURATION, "-1 days +23:00:00", -3600.0),
        (DURATION, "P0DT1H0M0S", 3600.0),
        (DURATION, "5", np.nan),
        (DURATION, "1h30", 5400.0),
        (DURATION, "-1:00.5", -60.5),
    ],
)
def test_a_text_follows_the_format_of_its_column(
    how: NumberFormat, text: str, expected: float
) -> None:
    values, unreadable = numbers(pd.Series([text, None, "-"]), how)
    np.testing.assert_array_equal(values, [expected, np.nan, np.nan])
    assert unreadable.tolist() == [np.isnan(expected), False, False]


@pytest.mark.parametrize(
    ("how", "values", "expected"),
    [
        (US, [1234.5, 2.0], [1234.5, 2.0]),
        (US, ["1,234.5", 2], [1234.5, 2.0]),
        (GERMAN, [1234, 2], [1234.0, 2.0]),
        (GERMAN, ["1.234,5", 2], [1234.5, 2.0]),
        (DURATION, pd.to_timedelta([90, 60], unit="s"), [90.0, 60.0]),
        (DURATION, [time(0, 1, 30), timedelta(minutes=1)], [90.0, 60.0]),
        (DURATION, arrow([90, 60], pa.duration("s")), [90.0, 60.0]),
        (NumberFormat(), [decimal.Decimal("1.50"), 2], [1.5, 2.0]),
        (NumberFormat(), arrow([1.5, 2], pa.decimal128(5, 2)), [1.5, 2]),
        (NumberFormat(), pd.arrays.SparseArray([1.5, 0.0]), [1.5, 0.0]),
        (NumberFormat(), [True, "false"], [1.0, 0.0]),
    ],
)
def test_a_number_needs_no_format(how: NumberFormat, values: Any, expected: Any) -> None:
    found, unreadable = numbers(pd.Series(values), how)
    assert found.tolist() == expected
    assert not unreadable.any()


@pytest.mark.parametrize(("how", "value"), [(GERMAN, 1.234), (GERMAN, 1.0), (DURATION, 60)])
def test_a_number_that_may_have_been_misread_is_refused(how: NumberFormat, value: Any) -> None:
    with pytest.raises(ValueError, match="'x' must hold a .* in a text like"):
        NumericColumn("x", format=how).encode(pd.Series([value]))


def test_single_precision_is_the_precision_of_its_column() -> None:
    column = NumericColumn("x", precision=32)
    single = column.encode(pd.Series([0.1], dtype=np.float32))
    assert single == column.encode(pd.Series([0.1])) == column.encode(pd.Series(["0.1"]))


@pytest.mark.parametrize(
    "values",
    [
        [pd.Timestamp(2024, 1, 31), pd.NaT],
        [date(2024, 1, 31), None],
        ["31/01/2024", "-"],
        ["2024-01-31", ""],
        ["2024-01-31T00:00:00.000Z", None],
        [1706659200000, None],  # milliseconds, as `DataFrame.to_json` writes them
        arrow([date(2024, 1, 31), None], pa.date32()),
        [pd.Timestamp("2024-01-31 01:00+01:00"), pd.NaT],
    ],
)
def test_a_date_is_the_same_in_every_form(values: Any) -> None:
    column = DateColumn("x", "%d/%m/%Y", ("days",))
    np.testing.assert_array_equal(column.encode(pd.Series(values)), [[19_753], [np.nan]])


@pytest.mark.parametrize(
    ("pattern", "values"),
    [
        ("%Y%m%d", ["20240301", 20240301, 20240301.0]),
        ("%Y%m", ["202403", 202403]),
        ("%m.%Y", ["03.2024", 3.2024, "3.2024"]),
        ("%Y-Q%q", ["2024Q1", "Q1 2024", "2024-Q1", "1Q2024"]),
        ("%m/%d/%Y %I:%M:%S %p", ["03/01/2024 12:00:00 AM"]),
        ("%d-%b-%y", ["01-MAR-24", "1-Mar-24"]),
        ("%b-%y", ["Mar-24"]),
    ],
)
def test_a_date_read_as_a_number_is_a_date(pattern: str, values: list[Any]) -> None:
    first_of_march, first_of_january = 19_783, 19_723
    expected = first_of_january if "q" in pattern else first_of_march
    for value in values:
        encoded = DateColumn("x", pattern, ("days",)).encode(pd.Series([value]))
        assert encoded.tolist() == [[expected]], value


@pytest.mark.parametrize("value", [5, 1.7e9, 13.2024, "2024", True, "31.12.2024"])
def test_what_may_be_no_date_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="must hold a date of the form"):
        DateColumn("x", "%m.%Y", ("days",)).encode(pd.Series([value]))


CODES = CategoricalColumn("zip", ("02101", "02102", "10001", "x"), other=True, missing=True)


@pytest.mark.parametrize(
    "values",
    [
        ["02101", "10001", None, "3"],
        [2101, 10001, None, 3],
        pd.array([2101, 10001, None, 3], dtype="Int64"),
        arrow([2101, 10001, None, 3], pa.int64()),
        arrow(["02101", "10001", None, "3"], pa.string()),
        pd.Series(["02101", "10001", None, "3"]).astype(
            pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))
        ),
        [" 02101", 10001.0, "NA", 3],
        pd.Categorical([2101, 10001, None, 3]),
    ],
)
def test_a_code_with_leading_zeros_is_found_by_its_number(values: Any) -> None:
    assert CODES.encode(pd.Series(values)).tolist() == [0, 2, 5, 4]


def test_a_number_that_may_stand_for_two_levels_is_refused() -> None:
    column = CategoricalColumn("x", ("01", "1", "2", "b"), ambiguous=("1",))
    assert column.encode(pd.Series(["01", "1", 2])).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="holds the number 1, .* '01' and '1'; send"):
        column.encode(pd.Series([2, 1]))
    rare = CategoricalColumn("x", ("01",), other=True, ambiguous=("1",))
    assert rare.encode(pd.Series(["1", "01"])).tolist() == [1, 0]


def test_bytes_are_their_text_also_in_csv() -> None:
    column = CategoricalColumn("x", ("a", "b"))
    assert column.encode(pd.Series([b"a", "b'b'", "a"])).tolist() == [0, 1, 0]


def test_a_value_is_the_same_with_the_marks_of_a_spreadsheet() -> None:
    column = CategoricalColumn("x", ("007", "a"))
    assert column.encode(pd.Series(['="007"', "'007", '="a"', "007"])).tolist() == [0, 0, 1, 0]
    values, unreadable = numbers(pd.Series(['="1.5"', "'-2", "3", "x"]))
    np.testing.assert_array_equal(values, [1.5, -2, 3, np.nan])
    assert unreadable.tolist() == [False, False, False, True]


UUIDS = [UUID(int=2**127 + i) for i in range(3)]


@pytest.mark.parametrize(
    "values",
    [
        UUIDS,
        [*map(str, UUIDS)],
        [each.bytes for each in UUIDS],
        arrow([each.bytes for each in UUIDS], pa.binary()),
        arrow([each.bytes for each in UUIDS], pa.uuid()),
    ],
)
def test_a_uuid_is_its_text_also_as_bytes(values: Any) -> None:
    column = CategoricalColumn("x", tuple(map(str, UUIDS)))
    assert column.encode(pd.Series(values)).tolist() == [0, 1, 2]


def test_bytes_that_are_no_text_are_hexadecimal_digits() -> None:
    assert distinct(pd.Series([b"\xff\x00", b"a\n", b""]))[1] == ["ff00", "a"]


def test_digits_that_a_float_has_lost_are_refused() -> None:
    column = CategoricalColumn("x", ("9007199254740993", "a"))
    assert column.encode(pd.Series([9007199254740993])).tolist() == [0]
    with pytest.raises(ValueError, match="may stand for several levels"):
        column.encode(pd.Series([9007199254740993.0, None]))


def test_a_truth_value_and_its_texts_are_one_level() -> None:
    column = CategoricalColumn("x", ("false", "true", "unknown"))
    for values in (["True", "FALSE"], [True, False], [1, 0], pd.array([True, False], "boolean")):
        assert column.encode(pd.Series(values)).tolist() == [1, 0]
    mixed = pd.Series([1, True, 0, False, None, "1"], dtype=object)
    codes, texts = distinct(mixed)
    assert [texts[code] if code >= 0 else None for code in codes] == [
        *("1", "true", "0", "false", None, "1")
    ]
