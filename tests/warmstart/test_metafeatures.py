import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT
from warmstart.metafeatures import GROUPS, VERSION, MetaFeatures, meta_features
from warmstart.sample import KINDS, Caps

SMALL = Caps(rows=60, columns=5, landmark_rows=40)


def table(n: int = 300, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Numbers, gaps, texts and truth values, and three classes, the last one rare."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({f"x{i}": rng.normal(size=n) for i in range(4)})
    frame["gaps"] = np.where(rng.random(n) < 0.2, np.nan, rng.integers(0, 5, n))
    frame["text"] = rng.choice(["a", "b", "c"], n)
    frame["flag"] = rng.random(n) < 0.5
    y = (frame["x0"] + 0.3 * frame["flag"] > 0).to_numpy(dtype=np.int64)
    y[frame["x1"] > 2] = 2
    return frame, y


def target(kind: str, n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "regression":
        return rng.normal(size=n)
    return rng.integers(0, 2 if kind == "binary" else 3, n)


# --- values --------------------------------------------------------------------------------------


def test_values_of_a_table_that_is_computed_by_hand() -> None:
    frame = pd.DataFrame({"x": [1, 2, 3, 4], "c": ["u", "u", "v", None]})
    found = meta_features(frame, [0, 0, 1, 1], "binary").values
    z = np.array([1.03, 2, 3, 3.97]) - 2.5  # 1 and 4 are set to the outer quantiles
    of_c = (math.log(3 / 2) * 2 + math.log(3)) / 3
    assert found == pytest.approx(
        {
            "size.log_rows": math.log(4),
            "size.log_columns": math.log(2),
            "size.log_columns_per_row": math.log(1 / 2),
            "task.regression": 0,
            "task.multiclass": 0,
            "task.log_classes": math.log(2),
            "columns.categorical_share": 1 / 2,
            "columns.binary_share": 1 / 2,
            "columns.constant_share": 0,
            "columns.missing_cells": 1 / 8,
            "columns.columns_with_missing": 1 / 2,
            "columns.rows_with_missing": 1 / 4,
            "target.entropy": 1,
            "target.majority_share": 1 / 2,
            "target.minority_share": 1 / 2,
            "numeric.log_skewness_mean": 0,
            "numeric.log_kurtosis_mean": math.log(np.mean(z**4) / np.mean(z**2) ** 2),
            "numeric.outlier_share": 0,
            "numeric.zero_share": 0,
            "numeric.whole_share": 1,
            "numeric.distinct_share": 1,
            "numeric.mode_share": 1 / 4,
            "categorical.log_levels_mean": math.log(2),
            "categorical.log_levels_max": math.log(2),
            "categorical.entropy_mean": of_c / math.log(2),
            "categorical.mode_share": 2 / 3,
            "information.mutual_mean": 1,  # both columns tell the class
            "information.mutual_sd": 0,
            "information.mutual_max": 1,
            "information.informative_share": 1,
            "information.column_entropy": (1 + 1.5 / math.log2(3)) / 2,
            "information.log_equivalent_columns": 0,
            "information.log_noise_ratio": math.log(1 + (2 + 1.5) / 2 - 1),
        },
        abs=1e-12,
    )


def test_values_of_a_regression() -> None:
    y = np.array([0.0] * 6 + [1.0, 2.0, 3.0, 100.0])
    found = meta_features(pd.DataFrame({"x": np.arange(10.0)}), y, "regression").values
    assert found["task.regression"] == 1
    assert "task.log_classes" not in found
    assert found["target.mode_share"] == 0.6
    assert found["target.distinct_share"] == 0.5
    assert found["target.outlier_share"] == 0.1  # quartiles 0 and 1.75
    assert found["target.skewness"] > 1


def test_landmarks_know_what_a_model_can_learn() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.uniform(-1, 1, size=(600, 2)))
    step = meta_features(frame, frame[0] > 0, "binary").values
    assert step["landmarks.stump"] > 0.97
    xor = meta_features(frame, (frame[0] > 0) ^ (frame[1] > 0), "binary").values
    assert xor["landmarks.tree"] > 0.8
    assert max(abs(xor[f"landmarks.{name}"]) for name in ("stump", "linear")) < 0.3
    assert xor["landmarks.tree_minus_linear"] == xor["landmarks.tree"] - xor["landmarks.linear"]
    plane = meta_features(frame, frame[0] - 2 * frame[1], "regression").values
    assert plane["landmarks.best"] == plane["landmarks.linear"] > 0.99
    noise = meta_features(frame, rng.integers(0, 4, 600), "multiclass").values
    assert abs(noise["landmarks.best"]) < 0.15


def test_every_fold_knows_every_class() -> None:
    codes = np.repeat(np.arange(25), 3)
    found = meta_features(pd.DataFrame({"x": codes}), codes, "multiclass").values
    assert found["landmarks.tree"] == 1
    # Three rows are needed for that; of these classes only 0 and 1 have as many.
    few = np.r_[np.repeat([0, 1], 6), np.arange(2, 20)]
    assert meta_features(pd.DataFrame({"x": few}), few, "multiclass").values["landmarks.tree"] == 1


def test_numbers_of_any_size() -> None:
    frame, y = table()
    numbers = frame[["x0", "x1", "gaps"]]
    expected = meta_features(numbers, y, "multiclass").values
    for factor in (2.0**-1000, 2.0**1000):
        found = meta_features(numbers * factor, y, "multiclass").values
        same = {name: value for name, value in found.items() if not name.startswith("landmarks.")}
        del same["numeric.whole_share"]
        assert same == pytest.approx({name: expected[name] for name in same})
        assert found.keys() == expected.keys()


def test_size_and_class_shares_are_those_of_the_whole_table() -> None:
    frame, y = table(500)
    found = meta_features(frame, y, "multiclass", caps=SMALL).values
    assert found["size.log_rows"] == math.log(500)
    assert found["size.log_columns"] == math.log(7)
    assert found["columns.categorical_share"] == 1 / 7
    assert found["target.minority_share"] == (y == 2).sum() / 500


def test_rows_without_a_target_do_not_count() -> None:
    frame, y = table(100)
    more = pd.concat([frame, frame.iloc[:20]], ignore_index=True)
    labels = np.concatenate([y, np.full(20, -1)])
    assert meta_features(more, labels, "multiclass") == meta_features(frame, y, "multiclass")


def test_copies_of_rows_are_drawn_like_other_rows() -> None:
    frame = pd.DataFrame({"x": [1.0] * 900 + [2.0] * 100})
    found = meta_features(frame, np.zeros(1000), "regression", caps=Caps(rows=200)).values
    # 20 of 200 are expected, 4 standard deviations are 15
    assert abs(found["numeric.mode_share"] - 0.9) < 0.08


def test_a_rare_class_is_in_the_sample() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=20_000)})
    y = np.zeros(20_000)
    y[frame["x"].nlargest(12).index] = 1
    found = meta_features(frame, y, "binary", caps=Caps(rows=400, landmark_rows=200)).values
    assert found["landmarks.stump"] > 0.9


# --- what must not matter ------------------------------------------------------------------------

CELLS: Mapping[str, st.SearchStrategy[Any]] = {
    "numbers": st.floats(-1e6, 1e6) | st.just(math.nan),
    "digits": st.integers(0, 3),
    "texts": st.sampled_from(["a", "b", "c", None]),
    "flags": st.booleans(),
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[pd.DataFrame, list[float], str]:
    n = draw(st.integers(1, 30))
    columns = {
        f"{kind}{i}": draw(st.lists(CELLS[kind], min_size=n, max_size=n))
        for i, kind in enumerate(draw(st.lists(st.sampled_from(sorted(CELLS)), max_size=6)))
    }
    kind = draw(st.sampled_from(KINDS))
    cells = (
        st.floats(-1e6, 1e6)
        if kind == "regression"
        else st.integers(0, 1 if kind == "binary" else 3)
    )
    y = draw(st.lists(cells, min_size=n, max_size=n))
    return pd.DataFrame(columns, index=range(n)), y, kind


@given(tables(), st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_order_and_names_do_not_matter(
    given_table: tuple[pd.DataFrame, list[float], str], rng: Any
) -> None:
    frame, y, kind = given_table
    rows, columns = [*range(len(frame))], [*range(frame.shape[1])]
    rng.shuffle(rows)
    rng.shuffle(columns)
    other = frame.iloc[rows, columns].set_axis([f"c{i}" for i in range(len(columns))], axis=1)
    caps = Caps(rows=20, columns=4, landmark_rows=15)
    assert meta_features(other, np.array(y)[rows], kind, caps=caps) == meta_features(
        frame, y, kind, caps=caps
    )


@pytest.mark.parametrize("kind", KINDS)
def test_order_does_not_matter_where_rows_and_columns_are_sampled(kind: str) -> None:
    frame, _ = table(1000)
    y = target(kind, 1000)
    order = np.random.default_rng(1).permutation(1000)
    other = frame.iloc[order, ::-1]
    assert meta_features(other, y[order], kind, caps=SMALL) == meta_features(
        frame, y, kind, caps=SMALL
    )


def test_storage_types_do_not_matter() -> None:
    frame, y = table()
    frame["date"] = pd.date_range("2020-01-01", periods=len(frame), freq="D")
    written = frame.map(lambda value: None if pd.isna(value) else str(value)).drop(columns="flag")
    written["flag"] = frame["flag"].astype("boolean")
    typed = frame.assign(text=frame["text"].astype("category"), gaps=frame["gaps"].astype("Int64"))
    expected = meta_features(frame, y, "multiclass")
    assert meta_features(typed, y, "multiclass") == expected
    assert meta_features(written, y, "multiclass") == expected


def test_the_seed_decides_the_sample() -> None:
    frame, y = table(1000)
    one, again, other = (meta_features(frame, y, "multiclass", seed, SMALL) for seed in (1, 1, 2))
    assert one == again
    assert one.values != other.values
    assert (one.seed, other.seed) == (1, 2)


def test_another_sample_tells_about_the_same() -> None:
    frame, y = table(4000)
    small = Caps(rows=1000, landmark_rows=500)
    one, other = (meta_features(frame, y, "multiclass", seed, small).values for seed in (1, 2))
    assert one.keys() == other.keys()
    # Shares of 1,000 rows differ by less than 0.1 (4 standard deviations of a difference are 0.09).
    shares = [name for name in one if name.endswith(("_share", "missing_cells", "_with_missing"))]
    assert max(abs(one[name] - other[name]) for name in shares) < 0.1


def test_more_cells_than_are_read_cut_the_rows() -> None:
    frame, y = table(3000)
    caps = Caps(rows=100, landmark_rows=50, cells=2_000)
    found = meta_features(frame, y, "multiclass", caps=caps)
    assert found == meta_features(frame, y, "multiclass", caps=caps)
    assert found.values["size.log_rows"] == math.log(3000)
    assert found.values["target.minority_share"] == (y == 2).sum() / 3000


PROGRAM = """
import json
from tests.warmstart.test_metafeatures import SMALL, table
from warmstart.metafeatures import meta_features
print(json.dumps(meta_features(*table(), "multiclass", seed=3, caps=SMALL).to_dict()))
"""


def test_another_process_finds_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "42"},
        capture_output=True,
        text=True,
        check=True,
    )
    here = meta_features(*table(), "multiclass", seed=3, caps=SMALL)
    assert MetaFeatures.from_dict(json.loads(done.stdout)) == here


# --- the caller's mistakes, and storage ----------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "kind", "message"),
    [
        (
            [0, 1],
            "ranking",
            "kind must be one of binary, multiclass, regression, but got 'ranking'",
        ),
        ([0, 1, 1], "binary", "one value for each of the 2 rows"),
        ([[0], [1]], "binary", r"has the shape \(2, 1\)"),
        ([0, 1, 2], "binary", "at most 2 classes, but got 3"),
    ],
)
def test_invalid_arguments_raise(y: list[Any], kind: str, message: str) -> None:
    frame = pd.DataFrame({"x": range(3 if message.startswith("at most") else 2)})
    with pytest.raises(ValueError, match=message):
        meta_features(frame, y, kind)


def test_names_begin_with_a_group() -> None:
    values = meta_features(*table(), "multiclass").values
    assert list(dict.fromkeys(name.partition(".")[0] for name in values)) == [*GROUPS, "landmarks"]


def test_json_and_back() -> None:
    found = meta_features(*table(), "multiclass", seed=5, caps=SMALL)
    assert MetaFeatures.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert (found.version, found.seed, found.caps["rows"]) == (VERSION, 5, 60)


def test_the_first_version_stays_readable() -> None:
    written = (
        '{"values": {"size.log_rows": 5.5, "gone.feature": 1}, "version": 1, '
        '"caps": {"rows": 2000, "columns": 60, "landmark_rows": 1000, "cells": 5000000}, "seed": 0}'
    )
    found = MetaFeatures.from_dict(json.loads(written))
    assert found.values == {"size.log_rows": 5.5, "gone.feature": 1.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": VERSION + 1}, "written by a newer release"),
        ({"values": {"size.log_rows": math.nan}}, "size.log_rows is nan"),
    ],
)
def test_unreadable_features_raise(change: dict[str, Any], message: str) -> None:
    written = meta_features(*table(50), "multiclass").to_dict() | change
    with pytest.raises(ValueError, match=message):
        MetaFeatures.from_dict(written)
