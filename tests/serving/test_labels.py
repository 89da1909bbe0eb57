"""One class per label, however its cells are written."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.features import TargetEncoder
from serving.values import labelled
from tests.tables import prepare

SPELLINGS = {0: [0, 0.0, "0", "0.0", np.int64(0)], 1: [1, 1.0, "1", " 1 "], 2: [2, "2", "2.0"]}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 2).flatmap(lambda c: st.sampled_from(SPELLINGS[c])), min_size=2))
def test_spellings_of_a_number_are_one_class(cells: list[Any]) -> None:
    series = pd.Series(cells, dtype=object)
    codes, labels = labelled(series)
    assert [float(labels[code]) for code in codes] == [float(cell) for cell in cells]
    assert len(set(map(float, labels))) == len(labels)
    encoder = TargetEncoder("multiclass", (0, 1, 2))
    assert encoder.encode(series).tolist() == [float(cell) for cell in cells]


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        ([0, 1, "0", "1"], [0, 1]),
        ([0, "1", "unknown"], [0, 1, "unknown"]),
        (["1", "0", "1.0"], ["1", "0"]),
        ([True, "False", "true"], [True, False]),
        (["TRUE", "True", "false"], ["TRUE", "false"]),
        ([True, 1, 0, False], [1, 0]),
        (["1", "true", 0], [1, 0]),
        (["01", "1"], ["01", "1"]),
        (["Yes", "yes"], ["Yes", "yes"]),
        ([1.5, "1.5", "2.50", 2.5], [1.5, 2.5]),
        ([2**60, str(2**60)], [2**60]),
        ([2**60 + 1, 2**60], [2**60 + 1, 2**60]),
        ([1, "+1", "1.", "1e0", "-1", -1], [1, -1]),
        (["caf\u00e9", "cafe\u0301 ", "\u200bcaf\u00e9"], ["caf\u00e9"]),
    ],
)
def test_labels(cells: list[Any], labels: list[Any]) -> None:
    found = labelled(pd.Series(cells, dtype=object))[1]
    assert found == labels
    assert list(map(type, found)) == list(map(type, labels))


def test_classes_that_differ_only_in_case_or_leading_zeros_are_said() -> None:
    frame = pd.DataFrame({"a": np.arange(80) % 7, "y": ["yes", "No", "Yes", "no"] * 20})
    notes = prepare(frame, "y").notes
    assert "warning: 'yes' and 'Yes' are 2 classes; write them alike if they are one" in notes
    codes = frame.assign(y=["01", "1", "02", "3"] * 20)
    assert "'01' and '1' are 2 classes" in " ".join(prepare(codes, "y").notes)


def test_a_mixed_target_is_binary_and_other_spellings_are_its_classes() -> None:
    frame = pd.DataFrame({"a": np.random.default_rng(0).normal(size=60)})
    frame["y"] = pd.Series([0, 1, "0", "1"] * 15, dtype=object)
    prepared = prepare(frame, "y")
    assert prepared.task.kind == "binary"
    assert prepared.target.classes == (0, 1)
    for other in ([True, False], ["1", "0"], ["True", "false"], [1.0, 0.0]):
        assert prepared.target.encode(pd.Series(other)).tolist() == [1, 0]
