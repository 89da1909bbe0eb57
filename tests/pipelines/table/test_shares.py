"""Shares of the training rows."""

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.table.shares import subset, training_order
from tests.folds import KINDS, make_fold


@pytest.mark.parametrize("kind", KINDS)
def test_larger_shares_hold_the_smaller_ones(kind: str) -> None:
    fold = make_fold(kind)
    marked = replace(
        fold, train=replace(fold.train, numeric=np.arange(160.0)[:, None].repeat(5, axis=1))
    )
    before: set[float] = set()
    for share in (0.01, 1 / 27, 0.07, 1 / 9, 1 / 3, 0.99, 1.0):
        part = subset(marked, share, seed=5)
        rows = set(part.train.numeric[:, 0])
        assert len(part.train) == len(part.y_train) == len(rows) == math.ceil(share * 160)
        assert before < rows
        assert np.array_equal(part.y_train, fold.y_train[part.train.numeric[:, 0].astype(int)])
        assert part.valid is marked.valid
        assert part.y_valid is marked.y_valid
        before = rows
    assert part is marked


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_depends_on_seed_and_fold_only(kind: str) -> None:
    fold = make_fold(kind)
    order = training_order(fold, 5)
    assert sorted(order) == list(range(160))
    assert np.array_equal(order, training_order(make_fold(kind), 5))
    assert not np.array_equal(order, training_order(fold, 6))
    assert not np.array_equal(order, training_order(replace(fold, index=1), 5))
    code = (
        "from pipelines.table.shares import training_order; from tests.folds import make_fold; "
        f"print(training_order(make_fold({kind!r}), 5).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(order.tolist())


@given(
    st.lists(st.integers(1, 60), min_size=2, max_size=6), st.floats(0.001, 1.0), st.integers(0, 9)
)
def test_every_beginning_has_the_classes_of_the_whole(
    sizes: list[int], share: float, seed: int
) -> None:
    fold = make_fold("multiclass", n=3 * sum(sizes) // 2 + 6)
    y = np.repeat(np.arange(len(sizes)), sizes)
    fold = replace(fold, train=fold.train.take(np.arange(len(y))), y_train=y)
    part = subset(fold, share, seed)
    counts = np.bincount(part.y_train, minlength=len(sizes))
    if len(part.train) >= len(sizes):
        assert counts.min() >= 1
    # Within a row of the exact share for each class, but for the first rows of the others.
    expected = len(part.train) / len(y) * np.array(sizes)
    assert np.abs(counts - expected).max() <= len(sizes) + 1
