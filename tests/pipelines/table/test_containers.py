"""A table gives the same features, to the last bit, in whatever it is stored."""

import io
import json
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.table.columns import fit_features
from serving.features import FeatureEncoder, Matrix, TargetEncoder
from serving.members import LinearMember, LinearWeights
from serving.predictor import Predictor

Backend = Literal["numpy_nullable", "pyarrow"]
BACKENDS: tuple[Backend, ...] = ("numpy_nullable", "pyarrow")


def german(value: float) -> str:
    return f"{value:,.2f}".translate(str.maketrans(",.", ".,"))


COLUMNS: dict[str, Callable[[Any, int], Any]] = {
    "float": lambda r, n: r.normal(size=n).round(3),
    "float with gaps": lambda r, n: np.where(r.random(n) < 0.2, np.nan, r.normal(size=n).round(3)),
    "single": lambda r, n: r.normal(size=n).astype(np.float32),
    "integer": lambda r, n: r.integers(0, 9, n),
    "integer with gaps": lambda r, n: pd.array(r.choice([1, 2, 3, None], n), dtype="Int64"),
    "text": lambda r, n: r.choice(["a", "b c", "é", None], n),
    "code": lambda r, n: r.choice(["02101", "00007", "10001", None], n),
    "mixed": lambda r, n: r.choice(np.array(["1.50", "2", "x"], dtype=object), n),
    "truth": lambda r, n: r.choice(["True", "False", "Unknown", None], n),
    "flag": lambda r, n: r.choice([True, False], n),
    "flag with gaps": lambda r, n: pd.array(r.choice([True, False, None], n), dtype="boolean"),
    "category": lambda r, n: pd.Categorical(r.choice([3, 1, 2], n)),
    "date": lambda r, n: pd.Timestamp("2024-01-01") + pd.to_timedelta(r.integers(0, 9999, n), "h"),
    "american": lambda r, n: pd.Series(COLUMNS["date"](r, n)).dt.strftime("%m/%d/%Y %I:%M %p"),
    "whole date": lambda r, n: pd.Series(COLUMNS["date"](r, n)).dt.strftime("%Y%m%d").astype(int),
    "month": lambda r, n: [f"{1 + i % 12:02}.{2000 + i // 12}" for i in r.permutation(n)],
    "amount": lambda r, n: [f"${x:,.2f}" for x in r.uniform(-9, 9999, n)],
    "share": lambda r, n: [f"{x:.1f} %" for x in r.uniform(0, 100, n)],
    "dash": lambda r, n: r.choice(["1", "2.5", "-"], n),
    "euro": lambda r, n: [f"{german(x)} €" for x in r.uniform(0, 9999, n)],
    "duration": lambda r, n: pd.to_timedelta(r.integers(0, 99, n), "min"),
    "short duration": lambda r, n: pd.to_timedelta(r.integers(0, 10**9, n), "ms"),
    "days": lambda r, n: pd.to_timedelta(r.integers(0, 99, n), "D"),
    "half": lambda r, n: r.normal(size=n).astype(np.float16),
    "magnitude": lambda r, n: [f"{x:.1f}{'KM'[i % 2]}" for i, x in enumerate(r.uniform(1, 99, n))],
    "clock": lambda r, n: pd.Series(COLUMNS["date"](r, n)).dt.strftime("%I:%M %p"),
    "moment": lambda r, n: pd.Series(COLUMNS["date"](r, n)).dt.strftime("%Y%m%d%H%M").astype(int),
    "quarter": lambda r, n: pd.PeriodIndex(COLUMNS["date"](r, n), freq="Q").to_timestamp(),
}


def make(names: list[str], seed: int, n: int = 24) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    columns: dict[Any, Any] = {f" {name}": COLUMNS[name](rng, n) for name in names}
    return pd.DataFrame({**columns, 7: rng.normal(size=n).round(2)})


def stored(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The table in other forms."""
    yield "shuffled columns", frame[[*reversed(frame.columns)]]
    text = frame.to_csv(index=False)
    yield "csv", pd.read_csv(io.StringIO(text))
    named = frame.rename(columns=str)
    packed = io.BytesIO()
    named.to_parquet(packed)
    yield "parquet", pd.read_parquet(packed)
    for backend in BACKENDS:
        yield f"csv, {backend}", pd.read_csv(io.StringIO(text), dtype_backend=backend)
        yield f"parquet, {backend}", pd.read_parquet(packed, dtype_backend=backend)
    records = named.to_json(orient="records", date_format="iso", double_precision=15)
    yield "json", pd.DataFrame(json.loads(records))
    yield "records", pd.DataFrame(named.to_dict("records"))


def assert_same(found: Matrix, expected: Matrix, form: str) -> None:
    np.testing.assert_array_equal(found.numeric, expected.numeric, err_msg=form)
    np.testing.assert_array_equal(found.categorical, expected.categorical, err_msg=form)


@settings(max_examples=10, deadline=None)
@given(
    names=st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=5, unique=True),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_features_do_not_depend_on_the_container(names: list[str], seed: int) -> None:
    frame = make(names, seed)
    encoder, _ = fit_features(frame.rename(columns=lambda name: str(name).strip()))
    encoder = FeatureEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    expected = encoder.transform(frame)
    for form, table in stored(frame):
        assert_same(encoder.transform(table), expected, form)
    for i in range(0, len(frame), 9):  # rows one by one, as a client reads them
        row = frame.iloc[[i]]
        for form, table in [("row", row), *stored(row)]:
            assert_same(encoder.transform(table), expected.take(np.array([i])), f"one row, {form}")


@pytest.mark.parametrize("seed", [1, 2])
def test_a_model_predicts_the_same_from_every_container(seed: int) -> None:
    frame = make(sorted(COLUMNS), seed)
    features, _ = fit_features(frame.rename(columns=lambda name: str(name).strip()))
    matrix = features.transform(frame)
    numeric, n_codes = matrix.numeric.shape[1], sum(features.cardinalities)
    rng = np.random.default_rng(seed)
    weights = LinearWeights(
        center=np.zeros(numeric),
        scale=np.ones(numeric),
        cardinalities=features.cardinalities,
        coefficients=rng.normal(size=(1, 2 * numeric + n_codes)),
        intercept=np.zeros(1),
        clip=5.0,
    )
    target = TargetEncoder("binary", ("no", "yes"))
    predictor = Predictor(features, target, (LinearMember(weights, "binary"),))
    expected = predictor.predict(frame)
    for form, table in stored(frame):
        pd.testing.assert_frame_equal(predictor.predict(table), expected, obj=form)
