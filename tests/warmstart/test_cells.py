import datetime
import decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from warmstart.cells import read_column

DAY = 18262.0  # 2020-01-01 in days since 1970


@pytest.mark.parametrize(
    ("series", "values"),
    [
        (pd.Series([1, 2, 3]), [1, 2, 3]),
        (pd.Series([1.5, np.nan, np.inf]), [1.5, np.nan, np.nan]),
        (pd.Series([True, False]), [1, 0]),
        (pd.Series([True, None], dtype="boolean"), [1, np.nan]),
        (pd.Series([1, None], dtype="Int64"), [1, np.nan]),
        (pd.Series([1.5, None], dtype="double[pyarrow]"), [1.5, np.nan]),
        (pd.Series([1, 0], dtype="Sparse[int]"), [1, 0]),
        (pd.Series([10**30, 1], dtype=object), [1e30, 1]),
        (pd.Series([decimal.Decimal("1.5"), None]), [1.5, np.nan]),
        (pd.Series(["1", " 2 ", None, "NA", "?"]), [1, 2, np.nan, np.nan, np.nan]),
        (pd.Series(["1"] * 19 + ["x"]), [1] * 19 + [np.nan]),
        (pd.Series(pd.to_datetime(["2020-01-01", "NaT"])), [DAY, np.nan]),
        (pd.Series(pd.to_datetime(["2020-01-01T12:00"]).tz_localize("UTC")), [DAY + 0.5]),
        (
            pd.Series(pd.to_datetime(["2020-01-01", "NaT"])).astype("timestamp[us][pyarrow]"),
            [DAY, np.nan],
        ),
        (pd.Series(["2020-01-01", "2020-01-02T12:00:00Z", None]), [DAY, DAY + 1.5, np.nan]),
        (pd.Series([datetime.date(2020, 1, 1), None]), [DAY, np.nan]),
        (pd.Series(pd.to_timedelta(["1h", None])), [3600, np.nan]),
        (pd.Series(pd.to_timedelta(["1h", None])).astype("duration[us][pyarrow]"), [3600, np.nan]),
    ],
)
def test_numbers(series: "pd.Series[Any]", values: list[float]) -> None:
    found = read_column(series)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(
    ("series", "codes"),
    [
        (pd.Series(["b", "a", None, " b", ""]), [1, 0, -1, 1, -1]),
        (pd.Series(["b", "a"], dtype="string"), [1, 0]),
        (pd.Series(["b", None, "a"], dtype="category"), [1, -1, 0]),
        (pd.Series([3, 1, None], dtype="category"), [1, 0, -1]),
        (pd.Series(["007", "2"]), [0, 1]),  # a leading zero is part of a code
        (pd.Series(["1", "x"]), [0, 1]),
        (pd.Series([1, True, "x", None, [1], {"k": 1}], dtype=object), [0, 1, 2, -1, -1, -1]),
        (pd.Series([1 + 2j, 3]), [0, 1]),
        (pd.Series([None, None]), [-1, -1]),
        (pd.Series([], dtype=object), []),
    ],
)
def test_categories(series: "pd.Series[Any]", codes: list[int]) -> None:
    found = read_column(series)
    assert found.dtype == np.int64
    assert found.tolist() == codes
