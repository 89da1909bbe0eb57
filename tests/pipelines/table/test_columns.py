from typing import Any

import numpy as np
import pandas as pd
import pytest

from hpo.errors import DataError
from pipelines.table.columns import MAX_LEVELS, fit_features
from serving.columns import BooleanColumn, CategoricalColumn, DateColumn, NumericColumn

N = 300
RNG = np.random.default_rng(0)


def column_of(values: Any, name: str = "x", kind: str | None = None) -> Any:
    """The encoded column (None when dropped) and the notes for one column beside a plain number."""
    frame = pd.DataFrame({name: values, "plain": RNG.normal(size=len(values))})
    encoder, notes = fit_features(frame, {name: kind} if kind else None)
    found = {column.name: column for column in encoder.columns}
    return found.get(name), " ".join(notes)


def repeated(values: Any, n: Any = N) -> Any:
    return [values[i % len(values)] for i in range(n)]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (RNG.normal(size=N), NumericColumn),
        (RNG.integers(0, 50, size=N), NumericColumn),
        (pd.array(repeated([1, 2, None]), dtype="Int64"), NumericColumn),
        (pd.array(repeated([1.5, None, 2.0]), dtype="Float32"), NumericColumn),
        (repeated(["1", "2.5", None, "NA"]), NumericColumn),
        (pd.to_timedelta(np.arange(N) % 7, unit="h"), NumericColumn),
        (repeated([1, None]), NumericColumn),
        (repeated([True, False]), BooleanColumn),
        (pd.array(repeated([True, False, None]), dtype="boolean"), BooleanColumn),
        (repeated(["TRUE", "false", None]), BooleanColumn),
        (repeated(["a", "b", None]), CategoricalColumn),
        (pd.Categorical(repeated(["a", "b", None])), CategoricalColumn),
        (repeated([1, "a", 2.5, None, True]), CategoricalColumn),
        (repeated(["01234", "10001", "90210"]), CategoricalColumn),
        (repeated(["1", "2", "3+"]), CategoricalColumn),
        (repeated(["only", None]), CategoricalColumn),
        (pd.date_range("2020-01-01", periods=N), DateColumn),
        (pd.date_range("2020-01-01", periods=N, tz="Europe/Berlin"), DateColumn),
        (pd.date_range("2020-01-01", periods=N).strftime("%Y-%m-%d"), DateColumn),
        (pd.date_range("2020-01-01", periods=N, freq="h").strftime("%d.%m.%Y %H:%M"), DateColumn),
        (pd.date_range("2020-01-01", periods=N).date, DateColumn),
        ([f"{1000 + 20 * i}-01-01" for i in range(N)], DateColumn),
    ],
)
def test_kinds(values: Any, kind: type) -> None:
    column, _ = column_of(values)
    assert isinstance(column, kind)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ([None] * N, "missing"),
        (["NA"] * N, "missing"),
        ([np.nan] * N, "missing"),
        ([pd.NaT] * N, "missing"),
        ([3.0] * N, "constant"),
        (["x"] * N, "constant"),
        ([True] * N, "constant"),
        ([[1, 2]] * N, "not numbers, texts"),
        ([{"a": 1}] * N, "not numbers, texts"),
        (np.arange(N) * 1j, "not numbers, texts"),
        (np.arange(N), "counts the rows"),
        (np.arange(N) + 1000, "counts the rows"),
        ([f"customer {i}" for i in range(N)], "its own text"),
        (repeated([f"words {i}" for i in range(3000)], 4000), "free text"),
    ],
)
def test_what_teaches_nothing_is_dropped_with_a_word(values: Any, word: Any) -> None:
    column, notes = column_of(values)
    assert column is None
    assert word in notes


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (RNG.permutation(N), "score"),
        (RNG.permutation(N), "customer_id"),
        (RNG.permutation(N) * 1000 + 7, "account_id"),
        (RNG.permutation(N) * 1000 + 7, "CustomerID"),
        (RNG.permutation(N) * 1000 + 7, "policy number"),
        (RNG.permutation(N) * 10, "score"),
    ],
)
def test_an_identifier_is_dropped_with_a_word(values: Any, name: str) -> None:
    column, notes = column_of(values, name)
    assert column is None
    assert f"{name}: dropped, an identifier" in notes


def test_numbers_that_never_repeat_are_kept_with_a_word() -> None:
    column, notes = column_of(RNG.permutation(N) * 1000 + 7, "income")
    assert column == NumericColumn("income")
    assert "no value occurs twice" in notes


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Unnamed: 0", repeated([3, 1, 2])),
        ("Unnamed: 0.1", RNG.permutation(N)),
        ("Unnamed: 0", pd.date_range("2020", periods=N)),
        ("index", RNG.permutation(N)),
        ("level_0", np.arange(N) * 7),
        ("__index_level_0__", repeated([5, 6])),
    ],
)
def test_an_index_is_no_column(name: str, values: Any) -> None:
    column, notes = column_of(values, name)
    assert column is None
    assert notes.startswith(f"{name}: dropped, an index")


@pytest.mark.parametrize("name", ["index", "level_1", "Unnamed: 2"])
def test_a_column_with_the_name_of_an_index_may_be_a_feature(name: str) -> None:
    assert column_of(repeated([1.5, 2.5, None]), name)[0] == NumericColumn(name)
    assert column_of(repeated(["a", "b"]), name)[0] == CategoricalColumn(name, ("a", "b"))


def test_rare_levels_share_one() -> None:
    texts = [f"city {i}" for i in range(400) for _ in range(1 + (i < 300))] + ["capital"] * 2000
    column, notes = column_of(texts)
    assert len(column.levels) == MAX_LEVELS
    assert "capital" in column.levels
    assert column.other
    assert column.cardinality == MAX_LEVELS + 1
    assert "401 levels" in notes


def test_many_levels_that_repeat_are_a_category() -> None:
    texts = [f"user-{i % 2000:06}" for i in range(6000)]
    column, notes = column_of(texts)
    assert len(column.levels) == 2000
    assert "a category with many levels: 2,000 in 6,000 rows" in notes
    sentences = [f"one of the many sentences, number {i % 2000}" for i in range(6000)]
    assert "free text" in column_of(sentences)[1]


def test_a_few_unreadable_numbers_are_missing_and_reported() -> None:
    values = [f"{value:.3f}" for value in RNG.normal(size=N)]
    values[5] = "broken"
    column, notes = column_of(values)
    assert column == NumericColumn("x", dirty=True)
    assert "0.3%" in notes


def test_parts_of_dates_that_vary() -> None:
    column, notes = column_of(pd.date_range("2020-01-01", periods=20))
    assert column == DateColumn("x", "ISO8601", ("day", "weekday", "days"))
    assert "expanded into day, weekday, days" in notes
    hours, _ = column_of(pd.date_range("2020-01-01", periods=20, freq="h"))
    assert hours.parts == ("hour", "days")


def test_ambiguous_dates_are_said() -> None:
    _, notes = column_of([f"{1 + i % 12:02}/{1 + i % 11:02}/2020" for i in range(N)])
    assert "day and month cannot be told apart" in notes


def test_overruling_a_kind() -> None:
    assert column_of(RNG.integers(0, 5, size=N), kind="category")[0].levels == (
        "0",
        "1",
        "2",
        "3",
        "4",
    )
    assert column_of(np.arange(N), kind="number")[0] == NumericColumn("x")
    assert column_of(repeated(["1", "2", "3+"]), kind="number")[0] == NumericColumn("x", dirty=True)
    assert column_of(repeated(["0", "1"]), kind="boolean")[0] == BooleanColumn("x")


def test_all_infinite_columns_are_named_at_once() -> None:
    frame = pd.DataFrame({"a": [1.0, np.inf], "b": [-np.inf, np.inf], "d": [1.0, 2.0]})
    with pytest.raises(DataError) as error:
        fit_features(frame)
    message = str(error.value)
    assert "2 mistakes" in message
    assert "'a' holds 1 infinite" in message
    assert "'b' holds 2 infinite" in message


def test_a_table_without_a_usable_column() -> None:
    with pytest.raises(DataError, match=r"no column is left to learn from: a: dropped, constant"):
        fit_features(pd.DataFrame({"a": [1, 1]}))
    with pytest.raises(DataError, match="there is only the target"):
        fit_features(pd.DataFrame(index=range(3)))


def test_many_dropped_columns_make_one_note() -> None:
    frame = pd.DataFrame({f"c{i}": [1.0] * 5 for i in range(20)} | {"x": [1.0, 2, 3, 4, 5]})
    _, notes = fit_features(frame)
    assert notes == ("20 columns (c0, c1, c2, c3, c4, c5, c6, c7, …): dropped, constant",)


def test_levels_that_differ_in_case_or_blanks_are_said() -> None:
    frame = pd.DataFrame({"a": ["Yes", "yes", "no"] * 4, "b": ["x y", "x  y", "z"] * 4})
    notes = fit_features(frame)[1]
    assert notes == (
        "a: 'Yes' and 'yes' are 2 levels; write them alike if they are one",
        "b: 'x  y' and 'x y' are 2 levels; write them alike if they are one",
    )
