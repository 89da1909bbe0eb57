"""How cells are read is found once, for features, the target and the split by time."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.table.cells import Reading, groups, read, times
from pipelines.table.formats.dates import FORMATS, _candidates
from serving.columns import DateColumn, NumericColumn
from serving.numbers import NumberFormat

DAYS = pd.date_range("2023-11-20", periods=120, freq="37h")
FRENCH = ["janv.", "févr.", "mars", "avr.", "mai", "juin"]
FRENCH += ["juil.", "août", "sept.", "oct.", "nov.", "déc."]
AMOUNTS = np.arange(60) * 1234.5 - 9000


def found(values: Any, kind: str | None = None) -> Reading:
    return read("x", pd.Series(values), kind=kind)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([f"{x:,.2f}" for x in AMOUNTS], NumberFormat(thousands=",")),
        ([f"${x:,.2f}" for x in AMOUNTS], NumberFormat(thousands=",", unit="$")),
        ([f"EUR {x:,.2f}" for x in AMOUNTS], NumberFormat(thousands=",", unit="EUR")),
        ([f"{x:.1f} %" for x in AMOUNTS], NumberFormat(unit="%")),
        ([f"{x:.1f} km/h" for x in AMOUNTS], NumberFormat(unit="km/h")),
        ([f"({-x:,.0f})" if x < 0 else f"{x:,.0f}" for x in AMOUNTS], NumberFormat(thousands=",")),
        (["1.234,5", "12,25", "7"], NumberFormat(",", ".")),
        (["0,123", "1,5"], NumberFormat(",")),
        (["1\u202f234,5", "12"], NumberFormat(",", " ")),
        (["1.5", "2", "."], NumberFormat()),
        (["05:30", "23:15:10"], NumberFormat(duration=True)),
        (["05:30 PM", "11:15 a.m."], NumberFormat(duration=True)),
        (["1h 30m", "45m", "2 hours"], NumberFormat(duration=True)),
        (["5 days", "1 day"], NumberFormat(duration=True)),
        (["PT5M", "PT1H30M", "PT100M"], NumberFormat(duration=True)),
        ([f"\N{MINUS SIGN}{abs(x):.1f}" for x in AMOUNTS], NumberFormat(thousands=",")),
        ([f"Rs. {x:,.0f}" for x in AMOUNTS], NumberFormat(thousands=",", unit="Rs.")),
        (["€110.5M", "€600K", "€0"], NumberFormat(unit="€", magnitudes=True)),
        (["1.2K", "800", "3M"], NumberFormat(magnitudes=True)),
        ([f"{i} m" for i in range(20)], NumberFormat(unit="m")),
        ([*map("1.{:03}".format, range(20)), "999"], NumberFormat(",", ".")),
        (["1.234,- €", "2.500,50 €"], NumberFormat(",", ".", "€")),
        (["$ 1 USD", "$ 1,200 USD"], NumberFormat(thousands=",", unit="$", second="USD")),
        (["$(1,234)", "$5"], NumberFormat(thousands=",", unit="$")),
        (["1_000", "20_000.5"], NumberFormat(thousands="_")),
        (["6,370E+06", "1,5E-3"], NumberFormat(",")),
        (["1h30", "2h05"], NumberFormat(duration=True)),
        (["90 min", "2 hours"], NumberFormat(duration=True)),
        (["59:03.25", "1:02:03.5"], NumberFormat(duration=True)),
    ],
)
def test_the_format_of_numbers(texts: Any, expected: NumberFormat) -> None:
    assert found(texts).column == NumericColumn("x", format=expected)


@pytest.mark.parametrize(
    "texts",
    [
        ["02101", "10001"],
        ["user-000123", "user-000124"],
        ["36 months", "60 months"],
        ["$5", "€6"],
        ["10-20", "20-30"],
        ["1", "2", "3+"],
        ["10.0.0.1", "10.0.0.2"],
        ["a", "-"],
        ["5'11", "6'02"],
    ],
)
def test_what_is_no_number_stays_a_category(texts: Any) -> None:
    assert found(texts).column is None


@pytest.mark.parametrize("mark", ["missing", "<5", "Unknown", "n.d."])
@pytest.mark.parametrize("as_dates", [False, True])
def test_a_mark_that_repeats_counts_as_missing(mark: str, as_dates: bool) -> None:
    values = DAYS.strftime("%d.%m.%Y") if as_dates else [f"{x:.2f}" for x in AMOUNTS]
    reading = found([*values, *[mark] * 30])
    assert isinstance(reading.column, DateColumn if as_dates else NumericColumn)
    assert f"such as '{mark}', cannot be read and count as missing" in reading.note


def test_what_repeats_among_few_numbers_is_a_level() -> None:
    assert found(["K", *map(str, range(1, 13))] * 5).column is None


def test_a_note_says_how_numbers_were_read() -> None:
    assert "'$1,234.50' as 1234.5" in found(["$1,234.50", "$2"]).note
    assert "'-' counts as missing (2 entries)" in found(["-", "-", "1", "2"]).note
    assert found(["1", "2.5", "NA"]).note == ""


@pytest.mark.parametrize(
    ("pattern", "other"),
    [
        ("%m/%d/%Y %I:%M:%S %p", ""),
        ("%d-%b-%y", ""),
        ("%B %d, %Y", ""),
        ("%d.%m.%Y", ""),
        ("%d/%m/%Y", ""),
        ("%Y%m%d", ""),
        ("%b %Y", ""),
    ],
)
@pytest.mark.parametrize("as_numbers", [False, True])
def test_the_format_of_dates(pattern: str, other: str, as_numbers: bool) -> None:
    texts = pd.Series(DAYS.strftime(pattern))
    values: Any = texts.astype(int) if as_numbers and texts.str.isdecimal().all() else texts
    column = found(values).column
    assert column == DateColumn("x", pattern, ())
    expected = pd.DatetimeIndex(pd.to_datetime(texts, format=pattern)).as_unit("s").asi8 / 86_400
    np.testing.assert_array_equal(times(pd.Series(values)), expected)


@pytest.mark.parametrize("as_text", [True, False])
def test_months_that_look_like_numbers(as_text: bool) -> None:
    texts = [f"{i % 12 + 1:02}.{2000 + i // 12}" for i in range(40)]
    values = pd.Series(texts if as_text else [*map(float, texts)], name="x")
    assert found(values).column == DateColumn("x", "%m.%Y", ())
    assert (np.diff(times(values)) > 0).all()


@pytest.mark.parametrize(
    "numbers", [[2021, 2022, 2023, 2024, 2025], [20231, 20245, 1, 2, 3], [1.2, 2.2, 3.2, 4.2, 5.2]]
)
def test_other_numbers_are_no_dates(numbers: Any) -> None:
    assert found(numbers).column == NumericColumn("x")


def test_a_type_that_was_chosen_orders_the_rows() -> None:
    months = pd.Series([f"{i % 12 + 1:02}.{2000 + i // 12}" for i in range(40)])
    np.testing.assert_array_equal(times(months, "number"), months.astype(float))
    few = pd.Series([*DAYS.strftime("%d.%m.%Y")[:60], *map("note {}".format, range(40))])
    assert np.isnan(times(few)).all()
    assert np.isfinite(times(few, "date")).sum() == 60


@pytest.mark.parametrize(
    ("cells", "kind", "expected"),
    [
        (["1,234.50", "1234.5", "7", "7.0", "1,000", ""], None, [1, 1, 0, 0, 2, -1]),
        (["13.02.2024", "2024-02-13", "14.02.2024", None], "date", [0, 0, 1, -1]),
        (["01", "1", "a", "1"], None, [0, 1, 2, 1]),
        (["01", "1", "7", "1"], "category", [0, 1, 2, 1]),
        (["true", "False", "TRUE"], None, [1, 0, 1]),
        ([2**53, 2**53 + 1, 2**53], None, [0, 1, 0]),
    ],
)
def test_cells_that_read_alike_are_one_group(cells: Any, kind: str | None, expected: Any) -> None:
    found = groups(pd.Series(cells, name="x"), kind)
    assert (found < 0).tolist() == [code < 0 for code in expected]
    assert len({*zip(found.tolist(), expected, strict=True)}) == len({*expected}) == len({*found})


@pytest.mark.parametrize(
    ("written", "pattern"),
    [
        (lambda d: f"{d:%d}/{d:%b}/{d:%Y}:{d:%H:%M:%S}", "%d/%b/%Y:%H:%M:%S"),
        (lambda d: f"{d:%a %b %d %H:%M:%S} +0000 {d:%Y}", "%a %b %d %H:%M:%S %z %Y"),
        (lambda d: f"{d:%m/%d/%Y %I:%M} {'p.m.' if d.hour > 11 else 'a.m.'}", "%m/%d/%Y %I:%M %p"),
        (lambda d: f"{d:%a, %d %b %Y %H:%M:%S} GMT", "%a, %d %b %Y %H:%M:%S"),
        (lambda d: f"{d:%Y-%m-%d %I:%M:%S %p}", "%Y-%m-%d %I:%M:%S %p"),
        (lambda d: f"{d:%Y-%m-%d %H:%M:%S} UTC", "ISO8601"),
        (lambda d: f"{d.day}th {d:%B %Y}", "%d %b %Y"),
        (lambda d: f"{d.day} {FRENCH[d.month - 1]} {d.year}", "%d %b %Y"),
        (lambda d: f"{d:%Y}M{d:%m}", "ISO8601"),
        (lambda d: f"{d:%G}-W{d:%V}", "%G-W%V"),
        (lambda d: int(f"{d:%Y%m%d%H%M%S}"), "%Y%m%d%H%M%S"),
        (lambda d: int(f"{d:%Y%m%d%H%M}"), "%Y%m%d%H%M"),
    ],
)
def test_dates_of_logs_offices_and_other_languages(
    written: Callable[[datetime], Any], pattern: str
) -> None:
    moments = [datetime(2024, 1, 3) + i * timedelta(days=9, hours=5, minutes=7) for i in range(40)]
    texts = pd.Series([*map(written, moments)])
    reading = found(texts).column
    assert reading == DateColumn("x", pattern, ())
    off = times(texts) - pd.DatetimeIndex(moments).as_unit("s").asi8 / 86_400
    assert (off <= 0).all()
    assert (off > -31).all()  # a month is its first day


@pytest.mark.parametrize(
    "form",
    ["{y}Q{q}", "Q{q} {y}", "{y}-Q{q}", "{q}Q{s}", "Q{q}/{s}", "Q{q}'{s}", "FY{s}Q{q}", "{y} {q}Q"],
)
def test_quarters(form: str) -> None:
    texts = [
        form.format(y=1995 + i // 4, s=f"{(95 + i // 4) % 100:02}", q=i % 4 + 1) for i in range(40)
    ]
    assert found(texts).column == DateColumn("x", "%Y-Q%q", ())
    first = pd.Series(pd.period_range("1995Q1", periods=40, freq="Q").to_timestamp())
    np.testing.assert_array_equal(times(pd.Series(texts)), times(first))


def test_halves_of_a_year() -> None:
    texts = pd.Series(["H1 2020", "2020-H2", "1H21"])
    assert found(texts).column == DateColumn("x", "%Y-Q%q", ())
    expected = pd.to_datetime(pd.Series(["2020-01-01", "2020-07-01", "2021-01-01"]))
    np.testing.assert_array_equal(times(texts), times(expected))


@pytest.mark.parametrize("per_second", [1, 10**3, 10**6, 10**9])
@pytest.mark.parametrize("as_text", [False, True])
def test_a_time_since_1970_is_a_number_with_a_note_and_a_date_on_request(
    per_second: int, as_text: bool
) -> None:
    seconds = pd.Series(range(1_600_000_000, 1_700_000_000, 2_500_000), name="x")
    values = (seconds * per_second).astype(str if as_text else int)
    reading = found(values)
    assert isinstance(reading.column, NumericColumn)
    assert "seconds since 1970 from 2020-09-13 to 2023-" in reading.note
    column = found(values, "date").column
    assert isinstance(column, DateColumn)
    np.testing.assert_allclose(times(values, "date"), seconds / 86_400, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-05 24:00", "2024-01-06"),
        ("01/31/2024 24:00:00", "2024-02-01"),
        ("2024-W02-4", "2024-01-11"),
        ("2024-01-05 20:00:00 EST", "2024-01-06 01:00"),
        ("2024-01-05 20:00:00 (CEST)", "2024-01-05 18:00"),
        ("2024-01-05 07:00:00,250", "2024-01-05 07:00:00.25"),
        ('="2024-01-05"', "2024-01-05"),
    ],
)
def test_moments_of_logs_and_spreadsheets(text: str, expected: str) -> None:
    found = times(pd.Series([text.replace(" 24:", " 12:"), text], name="x"))
    assert found[1] == times(pd.Series([pd.Timestamp(expected)]))[0]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (("%Y-%m-%d", "%d.%m.%Y"), "ISO8601|%d.%m.%Y"),
        (("%m/%d/%Y", "%b %d, %Y", "%Y-%m-%d"), "ISO8601|%m/%d/%Y|%b %d, %Y"),
        (("%m/%d/%Y", "%m/%d/%y"), "%m/%d/%Y|%m/%d/%y"),
        (("%m/%d/%Y %I:%M %p", "%d-%b-%Y"), "%m/%d/%Y %I:%M %p|%d-%b-%Y"),
        (("%Y-%m-%d",) * 30 + ("%d.%m.%Y",), "ISO8601|%d.%m.%Y"),
    ],
)
def test_formats_of_dates_may_be_mixed(patterns: tuple[str, ...], expected: str) -> None:
    texts = [day.strftime(patterns[i % len(patterns)]) for i, day in enumerate(DAYS)]
    reading = found(texts)
    assert reading.column == DateColumn("x", expected, ())
    assert reading.note == "read as " + expected.replace("|", " or ")
    days = np.floor(times(pd.Series(texts, name="x")))
    np.testing.assert_array_equal(days, np.floor(times(pd.Series(DAYS, name="x"))))


def test_day_and_month_in_both_orders_are_no_dates() -> None:
    texts = [day.strftime(("%m/%d/%Y", "%d/%m/%Y")[i % 2]) for i, day in enumerate(DAYS)]
    assert found(texts).column is None


def test_mixtures_are_said() -> None:
    shares = found([f"{x}%" for x in range(20)] + ["0.05", "0.5"]).note
    assert "2 entries without %, such as '0.05', are read as shares, times 100" in shares
    censored = found([*map(str, range(20)), "<2", "<3"])
    assert censored.column is None
    assert "91% of the entries are numbers, because of others such as '<2'" in censored.note


def test_day_and_month_are_told_apart_by_all_rows_or_a_note_says_so() -> None:
    early = ["03/04/2024", "05/06/2024"] * 10
    assert "cannot be told apart, %d/%m/%Y reads all rows" in found(early).note
    rows = np.arange(len(early))
    late = read("x", pd.Series([*early, "13/04/2024"]), rows)
    assert late == Reading(DateColumn("x", "%d/%m/%Y", ()), "read as %d/%m/%Y")


def test_a_category_of_dates_is_a_column_of_dates() -> None:
    assert found(pd.Categorical(DAYS)).column == DateColumn("x", "ISO8601", ())
    assert found(pd.Categorical(pd.PeriodIndex(DAYS, freq="D"))).column == found(DAYS).column


def test_a_category_type_is_kept() -> None:
    assert found(pd.Categorical([3, 1, 2, 3])).column is None
    arrow = pd.Series([3, 1, 2]).astype("category").array
    assert found(arrow).column is None


def test_a_requested_type() -> None:
    assert found(["007", "008"], "number").column == NumericColumn("x")
    assert found([1, 2], "category").column is None
    assert found(["1", "2", "3+"], "number").column == NumericColumn("x", dirty=True)
    assert found(["2024-01-01", "soon"], "date").column == DateColumn("x", "ISO8601", (), True)


def test_a_pattern_is_a_candidate_for_its_own_dates() -> None:
    moment = datetime(2024, 5, 9, 21, 7, 3, 250, tzinfo=UTC)
    some = FORMATS[::7]
    assert [each for each in some if each not in _candidates([moment.strftime(each)])] == []
