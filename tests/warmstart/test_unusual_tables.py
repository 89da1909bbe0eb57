"""Tables that are hard to describe have meta-features, too."""

import datetime
import math
import warnings
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from warmstart.metafeatures import meta_features
from warmstart.sample import KINDS


def target(kind: str, n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "regression":
        return rng.normal(size=n)
    return rng.integers(0, 2 if kind == "binary" else 3, n)


N = 40
RNG = np.random.default_rng(0)
NASTY: Mapping[str, pd.DataFrame] = {
    "an empty column": pd.DataFrame({"a": [np.nan] * N, "b": RNG.normal(size=N)}),
    "only empty columns": pd.DataFrame({"a": [np.nan] * N, "b": [None] * N}),
    "a constant": pd.DataFrame({"a": [3.0] * N, "b": ["same"] * N}),
    "a constant with gaps": pd.DataFrame({"a": [3.0, np.nan] * (N // 2)}),
    "constant once trimmed": pd.DataFrame({"a": [1.0] + [0.0] * 399}),
    "huge": pd.DataFrame({"a": RNG.normal(size=N) * 1e300, "b": [1e308, -1e308] * (N // 2)}),
    "huge and ordinary": pd.DataFrame({"a": [1e300, 1.0] * (N // 2), "b": RNG.normal(size=N)}),
    "tiny": pd.DataFrame({"a": [5e-324, 0.0] * (N // 2), "b": RNG.normal(size=N) * 1e-300}),
    "infinite": pd.DataFrame({"a": [np.inf, -np.inf, 1.0, 2.0] * (N // 4)}),
    "skewed": pd.DataFrame({"a": np.exp(30 * RNG.normal(size=N))}),
    "large integers": pd.DataFrame({"a": [10**30, 1] * (N // 2), "b": [2**63, 0] * (N // 2)}),
    "truth values": pd.DataFrame({"a": [True, False] * (N // 2), "b": [True, None] * (N // 2)}),
    "dates": pd.DataFrame(
        {
            "a": pd.date_range("2020-01-01", periods=N, tz="Europe/Paris"),
            "b": [datetime.date(2020, 1, 1), None] * (N // 2),
            "c": pd.to_timedelta(RNG.integers(0, 9, N), unit="h"),
            "d": pd.period_range("2020-01", periods=N, freq="M"),
        }
    ),
    "mixed types": pd.DataFrame(
        {"a": pd.Series([1, "x", True, 1.0, None, [1], {"k": 1}, b"z"] * 5)}
    ),
    "no cell that can be compared": pd.DataFrame(
        {"a": [[1], [2]] * (N // 2), "b": [1 + 2j, 3] * (N // 2)}
    ),
    "only texts": pd.DataFrame({"a": [f"row {i}" for i in range(N)], "b": ["x", "y"] * (N // 2)}),
    "the same name twice": pd.DataFrame(RNG.normal(size=(N, 2)), columns=["a", "a"]),
    "more columns than rows": pd.DataFrame(RNG.normal(size=(15, 200))),
    "one row": pd.DataFrame({"a": [1.0], "b": ["x"]}),
    "two rows": pd.DataFrame({"a": [1.0, 2.0], "b": ["x", None]}),
    "no row": pd.DataFrame({"a": np.zeros(0), "b": np.zeros(0, dtype=object)}),
    "no column": pd.DataFrame(index=range(N)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NASTY)
def test_nothing_in_a_table_is_an_error(name: str, kind: str) -> None:
    frame = NASTY[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = meta_features(frame, target(kind, len(frame)), kind).values
    assert all(type(value) is float and math.isfinite(value) for value in found.values())
    assert found["task.regression"] == (kind == "regression")


@pytest.mark.parametrize(
    ("y", "kind"),
    [
        (np.arange(N), "multiclass"),
        (np.zeros(N), "binary"),
        (np.zeros(N), "regression"),
        (np.r_[1, np.zeros(N - 1)], "binary"),
        (np.full(N, -1), "binary"),
        (np.full(N, np.nan), "regression"),
        (np.geomspace(1e-300, 1e300, N), "regression"),
        (np.arange(N) % 7 * 1000, "multiclass"),
    ],
)
def test_nothing_in_a_target_is_an_error(y: np.ndarray, kind: str) -> None:
    frame = pd.DataFrame({"a": np.arange(N), "b": ["x", "y"] * (N // 2)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = meta_features(frame, y, kind).values
    assert all(type(value) is float and math.isfinite(value) for value in found.values())


def test_many_classes_are_no_error() -> None:
    frame = pd.DataFrame({"x": np.arange(400) // 10})
    found = meta_features(frame, np.arange(400) // 10, "multiclass").values
    assert found["task.log_classes"] == math.log(40)
    assert found["landmarks.tree"] > 0.9
