"""Equal rows stay on one side of every random split."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.table.division.copies import contradictions_note, copies
from pipelines.table.division.validation import Validation
from pipelines.table.splits import Outer, Split, divide, resample

RANDOM = Split("random")
DIGEST = "a50a47871775ac4b05e8509d994ecd8c"  # of the division before equal rows were looked for


def repeated(seed: int, times: int = 5, different: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"a": rng.normal(size=different), "b": list("xyz") * (different // 3)})
    frame["y"] = rng.permutation(np.arange(different) % 2)
    return pd.concat([frame] * times).sample(frac=1, random_state=seed, ignore_index=True)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    times=st.integers(1, 5),
    validation=st.sampled_from(["holdout", "cv:2", "cv:5"]),
    outer=st.sampled_from([None, Outer(2, 3)]),
)
def test_no_row_is_equal_to_one_on_another_side(
    seed: int, times: int, validation: str, outer: Outer | None
) -> None:
    frame = repeated(seed, times)
    y = frame["y"].to_numpy()
    rows = divide(frame, y, RANDOM, Validation.parse(validation), 0.2, seed, outer)
    again = resample(frame, y, RANDOM, rows.rest, repeats=2, folds=5, seed=seed)
    assert rows.n_copies == len(frame) - 60
    pairs = [*rows.folds, *again, (rows.rest, rows.test)]
    for one, other in pairs:
        assert not set(frame["a"].iloc[one]) & set(frame["a"].iloc[other])
    assert sorted({*rows.rest, *rows.test}) == list(range(len(frame)))
    share = len(rows.test) / len(frame)
    assert share == pytest.approx(1 / 3 if outer else 0.2, abs=0.03)
    assert y[rows.test].mean() == pytest.approx(0.5, abs=0.08)


def test_a_table_without_copies_is_divided_as_ever() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=100)})
    strata = np.arange(100) % 3
    rows = divide(frame, strata, RANDOM, Validation(0), 0.2, 3)
    assert copies(frame, strata, 2) is None
    assert rows.n_copies == 0
    assert rows.digest == DIGEST


def test_common_combinations_of_values_are_no_copies() -> None:
    frame = pd.DataFrame({"sex": ["f", "m"] * 500, "y": [0, 0, 1, 1] * 250})
    assert copies(frame, frame["y"].to_numpy(), 4) is None


def test_a_class_with_few_different_rows_is_divided_row_by_row() -> None:
    frame = pd.concat([repeated(0, times=1), pd.DataFrame({"a": [9.0] * 5, "b": "x", "y": 2})])
    rows = divide(frame, frame["y"].to_numpy(), RANDOM, Validation(0), 0.2, 0)
    assert 2 in frame["y"].to_numpy()[rows.test]


def test_equal_rows_with_other_row_numbers_texts_and_lists_are_found() -> None:
    frame = pd.DataFrame(
        {"id": range(40), "a": [*range(20)] * 2, "t": list("abcd") * 10, "l": [[1], [2]] * 20}
    )
    frame["a"] = frame["a"].astype(float)
    frame.loc[[0, 20], "a"] = [-0.0, 0.0]
    units = copies(frame, np.zeros(40, dtype=np.int64), 2)
    assert units is not None
    assert units.tolist() == [*range(20)] * 2


def test_rows_that_differ_in_the_target_only_are_said() -> None:
    frame = repeated(0, times=1)
    assert contradictions_note(frame, "y") == ()
    both = pd.concat([frame, frame.head(20).assign(y=1 - frame.y)], ignore_index=True)
    (note,) = contradictions_note(both, "y")
    assert note.startswith("40 of 80 rows differ from another row in y only")
    assert contradictions_note(pd.concat([frame, frame]), "y") == ()
    assert contradictions_note(both[["b", "y"]], "y") == ()  # combinations are common
