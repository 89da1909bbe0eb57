from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo.errors import DataError, ParameterError
from pipelines.table.division.validation import Validation, suited
from pipelines.table.splits import Outer, Split, divide, quantile_strata, resample


def check_division(rows: Any, n: Any) -> None:
    for train, valid in rows.folds:
        assert len(train)
        assert len(valid)
        assert not set(train) & set(valid)
        assert not (set(train) | set(valid)) & set(rows.test)
    assert sorted({*rows.test, *rows.rest}) == list(range(n))


kinds = st.sampled_from(["random", "time:when", "group:who"])
validations = st.sampled_from(["holdout", "cv:2", "cv:5"])


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(20, 120),
    classes=st.integers(1, 5),
    split=kinds,
    validation=validations,
    seed=st.integers(0, 2**32),
)
def test_parts_are_disjoint_complete_and_ordered(
    n: Any, classes: Any, split: str, validation: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"when": rng.permutation(n) // 2, "who": rng.permutation(n) // 2})
    strata = np.arange(n) % classes
    how, folds = Split.parse(split, ["when", "who"]), Validation.parse(validation)
    rows = divide(frame, strata, how, folds, 0.2, seed)
    check_division(rows, n)
    assert len(rows.folds) == folds.parts
    assert divide(frame, strata, how, folds, 0.2, seed).digest == rows.digest
    if folds.folds and how.kind != "time":
        held_out = np.concatenate([valid for _, valid in rows.folds])
        assert sorted(held_out) == rows.rest.tolist()
    if how.kind == "time":
        when = frame["when"].to_numpy()
        assert when[rows.test].min() > when[rows.rest].max()
        for train, valid in rows.folds:
            assert when[valid].min() > when[train].max()
    if how.kind == "group":
        who = frame["who"].to_numpy()
        for train, valid in rows.folds:
            assert not set(who[valid]) & set(who[train])
            assert not set(who[rows.test]) & {*who[train], *who[valid]}


@settings(max_examples=40, deadline=None)
@given(n=st.integers(20, 120), split=kinds, seed=st.integers(0, 2**32))
def test_rows_are_divided_anew_without_the_test_rows(n: int, split: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"when": rng.permutation(n) // 2, "who": rng.permutation(n) // 2})
    strata = np.arange(n) % 3
    how = Split.parse(split, ["when", "who"])
    rest = divide(frame, strata, how, Validation(0), 0.2, seed).rest
    pairs = resample(frame, strata, how, rest, repeats=2, folds=5, seed=seed)
    again = resample(frame, strata, how, rest, repeats=2, folds=5, seed=seed)
    assert all(
        np.array_equal(a, b)
        for one, two in zip(pairs, again, strict=True)
        for a, b in zip(one, two, strict=True)
    )
    assert all(len(train) and len(valid) for train, valid in pairs)
    assert all(set(train) | set(valid) <= set(rest) for train, valid in pairs)
    if how.kind == "time":
        when = frame["when"].to_numpy()
        assert all(when[train].max() < when[valid].min() for train, valid in pairs)
        assert len(pairs[0][0]) >= 0.3 * len(rest)
        return
    for repeat in (pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :]):
        assert sorted(np.concatenate([valid for _, valid in repeat])) == rest.tolist()
    assert not np.array_equal(pairs[0][1], pairs[len(pairs) // 2][1])
    if how.kind == "group":
        who = frame["who"].to_numpy()
        assert all(not set(who[train]) & set(who[valid]) for train, valid in pairs)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(48, 120), split=kinds, validation=validations, seed=st.integers(0, 2**32))
def test_outer_folds_hold_out_every_row_once(
    n: int, split: str, validation: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"when": rng.permutation(n) // 2, "who": rng.permutation(n) // 2})
    strata = np.arange(n) % 3
    how, folds = Split.parse(split, ["when", "who"]), Validation.parse(validation)
    parts = [divide(frame, strata, how, folds, 0.2, seed, Outer(number, 3)) for number in (1, 2, 3)]
    held_out = np.concatenate([part.test for part in parts])
    assert len(np.unique(held_out)) == len(held_out)
    for part in parts:
        assert not set(part.test) & set(part.rest)
        assert len(part.folds) == folds.parts
    if how.kind == "time":
        when = frame["when"].to_numpy()
        assert all(when[part.rest].max() < when[part.test].min() for part in parts)
        assert len(parts[0].rest) < len(parts[1].rest) < len(parts[2].rest)
        return
    assert sorted(held_out) == list(range(n))
    assert all(len(part.test) + len(part.rest) == n for part in parts)
    if how.kind == "group":
        who = frame["who"].to_numpy()
        assert all(not set(who[part.test]) & set(who[part.rest]) for part in parts)


@pytest.mark.parametrize(
    ("split", "outer"),
    [
        ("time:t", Outer(1, 3)),
        ("time:t", Outer(6, 6)),
        ("group:t", Outer(1, 2)),
        ("group:t", Outer(7, 7)),
    ],
)
def test_outer_folds_with_too_little_to_search_on_are_told(split: str, outer: Outer) -> None:
    frame = pd.DataFrame({"t": np.arange(24) % 6})
    with pytest.raises(
        DataError, match=f"outer fold {outer}: it needs one to hold out and 4 to search on"
    ):
        divide(frame, np.zeros(24, int), Split.parse(split, ["t"]), Validation(3), 0.2, 0, outer)


@pytest.mark.parametrize("text", ["", "0/3", "4/3", "a/b", "1"])
def test_impossible_outer_folds(text: str) -> None:
    with pytest.raises(ParameterError, match="2/5"):
        Outer.parse(text)
    assert str(Outer.parse("2/5")) == "2/5"


def test_classes_keep_their_shares() -> None:
    strata = np.repeat([0, 1, 2], [700, 250, 50])
    rows = divide(pd.DataFrame(index=range(1000)), strata, Split("random"), Validation(5), 0.2, 1)
    assert np.bincount(strata[rows.test]).tolist() == [140, 50, 10]
    for train, valid in rows.folds:
        assert np.abs(np.bincount(strata[valid]) - [112, 40, 8]).max() <= 1
        assert len(train) == 800 - len(valid)


def test_a_class_of_two_is_in_training_and_validation() -> None:
    strata = np.array([0] * 98 + [1] * 2)
    rows = divide(pd.DataFrame(index=range(100)), strata, Split("random"), Validation(0), 0.2, 3)
    train, valid = rows.folds[0]
    assert [int(strata[part].sum()) for part in (train, valid, rows.test)] == [1, 1, 0]


def test_the_test_rows_depend_on_the_seed_but_not_on_the_validation() -> None:
    strata = quantile_strata(np.random.default_rng(0).normal(size=500))
    frame = pd.DataFrame(index=range(500))

    def test_rows(validation: str, seed: int) -> Any:
        return divide(
            frame, strata, Split("random"), Validation.parse(validation), 0.2, seed
        ).test.tolist()

    assert test_rows("holdout", 1) == test_rows("cv:5", 1)
    assert test_rows("holdout", 1) != test_rows("holdout", 2)


def test_quantiles_are_evenly_filled_and_ordered() -> None:
    y = np.random.default_rng(0).gamma(1.0, size=1000)
    strata = quantile_strata(y)
    assert np.bincount(strata).tolist() == [100] * 10
    assert y[strata == 3].max() <= y[strata == 4].min()
    assert quantile_strata(y[:15]).tolist() == [0] * 15


@pytest.mark.parametrize(
    "when", [pd.date_range("2020", periods=30), [f"2020-01-{1 + i:02}" for i in range(30)]]
)
def test_dates_and_texts_order_time(when: Any) -> None:
    rows = divide(
        pd.DataFrame({"t": when}), np.zeros(30, int), Split("time", "t"), Validation(0), 0.2, 0
    )
    assert rows.test.tolist() == list(range(24, 30))


def test_expanding_windows() -> None:
    frame = pd.DataFrame({"t": np.arange(100)})
    rows = divide(frame, np.zeros(100, int), Split("time", "t"), Validation(3), 0.2, 0)
    assert [(len(train), len(valid)) for train, valid in rows.folds] == [
        (20, 20),
        (40, 20),
        (60, 20),
    ]


@pytest.mark.parametrize(
    ("split", "column", "message"),
    [
        ("time:t", [1.0, None] * 10, "10 of 20 have none"),
        ("time:t", ["soon", "later"] * 10, "20 of 20 have none"),
        ("group:t", ["a", ""] * 10, "10 of 20 have none"),
        ("time:t", [1, 2] * 10, "at least 3 are needed"),
        ("group:t", ["a", "b"] * 10, "at least 3 are needed"),
    ],
)
def test_unusable_columns(split: str, column: Any, message: str) -> None:
    frame = pd.DataFrame({"t": column})
    with pytest.raises(DataError, match=message):
        divide(frame, np.zeros(20, int), Split.parse(split, ["t"]), Validation(0), 0.2, 0)


def test_too_few_rows() -> None:
    with pytest.raises(DataError, match="9 rows are too few"):
        divide(
            pd.DataFrame(index=range(9)), np.zeros(9, int), Split("random"), Validation(0), 0.2, 0
        )


@pytest.mark.parametrize("text", ["randon", "time", "time:nope", "random:t", ""])
def test_impossible_splits(text: Any) -> None:
    with pytest.raises(ParameterError):
        Split.parse(text, ["t"])


@pytest.mark.parametrize("text", ["cv", "cv:1", "cv:99", "cv:x", "hold", ""])
def test_impossible_validations(text: Any) -> None:
    with pytest.raises(ParameterError, match="cv:K"):
        Validation.parse(text)


@pytest.mark.parametrize("chosen", ["category", "boolean"])
def test_a_type_without_an_order_cannot_split_by_time(chosen: str) -> None:
    with pytest.raises(ParameterError, match=f"types reads 't' as {chosen}"):
        Split.parse("time:t", ["t"], {"t": chosen})
    assert Split.parse("group:t", ["t"], {"t": chosen}).type == chosen
    assert Split.parse("time:t", ["t"], {"t": "drop"}) == Split("time", "t")


@pytest.mark.parametrize(
    ("rows", "columns", "counts", "share", "mixed", "folds"),
    [
        (1_000, 10, [600, 400], 0.2, True, 5),
        (1_000, 10, [], 0.2, True, 5),
        (1_000, 10, [600, 400], 0.2, False, 0),  # by time or by group
        (1_000, 10, [988, 12], 0.2, True, 0),  # a class may lack rows in a fold
        (1_000, 10, [987, 13], 0.2, True, 5),
        (6_250, 10, [], 0.2, True, 5),
        (6_252, 10, [], 0.2, True, 0),
        (5_000, 10, [], 0.0, True, 5),
        (1_000, 2_000, [], 0.2, True, 0),
    ],
)
def test_small_tables_are_validated_by_folds(
    rows: int, columns: int, counts: list[int], share: float, mixed: bool, folds: int
) -> None:
    frame = pd.DataFrame(np.zeros((rows, columns), dtype=np.int8))
    found = suited(frame, np.array(counts, dtype=np.int64), share, mixed=mixed)
    assert found == Validation(folds)
