"""Columns that mix units, orders of dates, or digits that no float holds."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hpo.errors import DataError
from pipelines.table.cells import Reading, read
from pipelines.table.columns import fit_features
from pipelines.table.data import prepare
from pipelines.table.reading import load_table
from pipelines.table.source import Source
from serving.columns import CategoricalColumn, DateColumn, NumericColumn

NUMBERS = range(1, 41)


def found(texts: Any) -> Reading:
    return read("x", pd.Series(texts))


@pytest.mark.parametrize(
    ("one", "other", "ratio", "unit"),
    [
        ("{} kg", "{} g", 1e-3, "kg"),
        ("{} m", "{} cm", 1e-2, "m"),
        ("{} MB", "{} KB", 1e-3, "MB"),
        ("{} kg", "{} lbs", 0.45359237, "kg"),
        ("{}.5°N", "{}.5°S", -1.0, "°N"),
        ("{} CR", "{} DR", -1.0, "CR"),
        ("{} months", "{} years", 12.0, "months"),
        ("{} s", "{} ms", 1e-3, "s"),
    ],
)
def test_units_of_one_measure_are_converted(one: str, other: str, ratio: float, unit: str) -> None:
    column = found([*map(one.format, NUMBERS), *map(other.format, NUMBERS)]).column
    assert isinstance(column, NumericColumn)
    assert column.format.unit == unit
    first, second = column.encode(pd.Series([one.format(7), other.format(7)]))
    assert second == pytest.approx(first * ratio, rel=1e-12)
    with pytest.raises(ValueError, match=f"a number in a text like '12.5 {unit}'"):
        column.encode(pd.Series([7.0]))  # in which unit?


def test_temperatures_have_an_offset() -> None:
    column = found([*map("{} °C".format, NUMBERS), *map("{} °F".format, NUMBERS)]).column
    assert isinstance(column, NumericColumn)
    assert column.encode(pd.Series(["100 °C", "212 °F"])) == pytest.approx([100, 100])


@pytest.mark.parametrize(
    ("one", "other"), [("EUR {}", "CHF {}"), ("${}", "€{}"), ("{} kg", "{} m")]
)
def test_units_that_cannot_be_converted_are_said(one: str, other: str) -> None:
    reading = found([*map(one.format, NUMBERS), *map(other.format, NUMBERS)])
    assert reading.column is None
    assert "numbers in several units" in reading.note


def test_a_direction_of_whole_numbers_may_be_a_code() -> None:
    assert found([f"{i}{'NS'[i % 2]}" for i in NUMBERS]).column is None


def test_fractions_among_percentages_are_shares() -> None:
    reading = found([*map("{}%".format, NUMBERS), "0.25", "0.5"])
    assert isinstance(reading.column, NumericColumn)
    assert reading.column.encode(pd.Series(["25%", "0.25", "7 %"])).tolist() == [25, 25, 7]
    assert reading.column.encode(pd.Series([0.25, 1.0])).tolist() == [25, 100]
    assert "2 entries without %, such as '0.25', are read as shares, times 100" in reading.note
    with pytest.raises(ValueError, match="must hold a number in a text"):
        reading.column.encode(pd.Series([25.0]))


@pytest.mark.parametrize(
    ("text", "value"),
    [("#{}", 7), ("No. {}", 7), ("AED {}", 7), ("{}½", 7.5), ("{}×10^3", 7e3), ("{} Mio. €", 7e6)]
    + [("₹{} crore", 7e7)],
)
def test_numbers_with_signs_and_words(text: str, value: float) -> None:
    column = found([text.format(i) for i in NUMBERS]).column
    assert isinstance(column, NumericColumn)
    assert column.encode(pd.Series([text.format(7)])).tolist() == [value]


def test_a_raised_digit_is_no_unit() -> None:
    assert found([f"{i}²" for i in NUMBERS]).column is None


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("/Date(1704067200000)/", "2024-01-01"),
        (r"\/Date(1704067200000+0200)\/", "2024-01-01"),
        ("2024-001", "2024-01-01"),
        ("2024-07-01T02:00:00+02:00[Europe/Berlin]", "2024-07-01"),
        ("2024-07-01 02:00:00 Europe/Berlin", "2024-07-01"),
        ('ISODate("2024-01-01T00:00:00Z")', "2024-01-01"),
    ],
)
def test_dates_of_exports(text: str, moment: str) -> None:
    column = found([text] * 3).column
    assert isinstance(column, DateColumn)
    days = DateColumn("x", column.format, ("days",)).encode(pd.Series([text]))
    assert days.tolist() == [[(pd.Timestamp(moment) - pd.Timestamp(0)).days]]


def test_a_month_is_no_day_of_the_year() -> None:
    column = found(["2024-12", "2024-11", "2023-10"]).column
    assert isinstance(column, DateColumn)
    assert column.format == "ISO8601"


def test_dates_in_both_orders_are_said() -> None:
    days = pd.date_range("2024-01-01", periods=200)
    reading = found([day.strftime("%d/%m/%Y" if day.day % 2 else "%m/%d/%Y") for day in days])
    assert reading.column is None
    assert "can only be read as %d/%m/%Y" in reading.note
    assert "some only as %m/%d/%Y" in reading.note


@pytest.mark.parametrize("first", [2**53, 2**60, 2**63, 10**30, -(2**60)])
@pytest.mark.parametrize("with_gaps", [False, True])
def test_digits_that_no_float_holds(tmp_path: Path, first: int, with_gaps: bool) -> None:
    rows = [str(first + i % 20) for i in range(100)] + [""] * with_gaps
    path = tmp_path / "table.csv"
    path.write_text("x,y\n" + "".join(f"{text},{i}\n" for i, text in enumerate(rows)))
    frame = load_table(str(path))[["x"]]
    features, notes = fit_features(frame)
    (column,) = features.columns
    assert isinstance(column, CategoricalColumn)
    assert len(column.levels) == 20
    assert "used as a category: whole numbers beyond 2**53" in notes[0]
    expected = features.transform(frame).categorical
    texts = pd.read_csv(path, dtype=str)
    assert np.array_equal(features.transform(texts).categorical, expected)
    if not with_gaps:  # else pandas makes floats of them
        assert np.array_equal(features.transform(pd.read_csv(path)).categorical, expected)
    with pytest.raises(ValueError, match="may stand for several levels"):
        features.transform(pd.DataFrame({"x": [float(first)]}))


@pytest.mark.parametrize("mark", [r"\N", "(null)", "<NULL>", "#NV"])
def test_marks_of_databases_and_spreadsheets(mark: str) -> None:
    frame = pd.read_csv(io.StringIO("x\n" + "".join(f"{text}\n" for text in ["a", "b", mark] * 5)))
    (column,) = fit_features(frame)[0].columns
    assert isinstance(column, CategoricalColumn)
    assert (column.levels, column.missing) == (("a", "b"), True)


def test_an_error_of_a_spreadsheet_in_another_language_is_missing() -> None:
    column = found([*map(str, NUMBERS), *["#WERT!"] * 5, *["#BEZUG!"] * 5]).column
    assert isinstance(column, NumericColumn)
    assert np.isnan(column.encode(pd.Series(["#WERT!"]))).all()


def test_a_class_whose_label_counts_as_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("x,y\n" + "".join(f"{i},{['a', 'NA'][i % 2]}\n" for i in range(40)))
    with pytest.raises(DataError, match=r"is constant.*'NA' counts as missing; give it another"):
        prepare(Source(str(path), "y"))


def test_true_counts_as_positive_however_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(
        "x,y\n" + "".join(f"{i * i % 17},{['false', '1', 'true'][i % 3]}\n" for i in range(60))
    )
    notes = prepare(Source(str(path), "y")).notes
    assert "'1' counts as positive" in " ".join(notes)
