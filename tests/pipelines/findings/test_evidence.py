import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.space import Float, SearchSpace
from hpo.trial import Report, Trial
from pipelines.findings.evidence import Rival, best_and_others, comparable, confirmation, searched
from pipelines.findings.past import (
    WARM_ORIGIN,
    BesideCold,
    beside_cold_in_words,
    helped,
    warm_start,
)

SPACE = SearchSpace((Float("x", 0.0, 1.0),))


def trial(number: int, *budgets: float) -> Trial:
    return Trial(
        number, {"x": number / 100}, 9.0, reports=tuple(Report(b, number / b) for b in budgets)
    )


def test_losses_at_different_budgets_are_not_mixed() -> None:
    found = comparable([trial(i, 1.0, 3.0) if i % 2 else trial(i, 1.0) for i in range(50)], SPACE)
    assert found.budget == 3.0
    assert found.numbers == tuple(range(1, 50, 2))
    assert found.losses[0] == pytest.approx(1 / 3)
    assert found.x[:, 0].tolist() == pytest.approx([i / 100 for i in range(1, 50, 2)])


def test_where_few_went_on_the_commonest_budget_counts() -> None:
    found = comparable([trial(i, 1.0, 9.0) if i < 5 else trial(i, 1.0) for i in range(50)], SPACE)
    assert (found.budget, len(found.numbers)) == (1.0, 50)
    assert comparable([], SPACE).numbers == ()


def test_time_that_nobody_searched_does_not_count() -> None:
    intervals = [(100.0, 110.0), (105.0, 112.0), (1000.0, 1004.0)]
    assert searched(intervals, [100.0, 106.0, 500.0, 1002.0, 2000.0]) == [
        0.0,
        6.0,
        12.0,
        14.0,
        16.0,
    ]
    assert searched([], [5.0]) == [0.0]


@pytest.mark.parametrize("tag", [None, "", "{", "[]", '{"tests": [{"trial": 1}]}', '{"tests": 3}'])
def test_a_strange_confirmation_is_none(tag: str | None) -> None:
    assert confirmation(tag) == ()


def test_a_confirmation_is_read() -> None:
    test = {"trial": 3, "mean": 0.1, "low": -0.1, "high": 0.3, "p": 0.2, "p_holm": 0.4}
    assert confirmation(json.dumps({"tests": [test]})) == (Rival(3, 0.1, -0.1, 0.3, 0.4),)


@pytest.mark.parametrize(
    "kept", [None, [], {}, {"neighbours": []}, {"neighbours": [{"name": 1}]}, {"neighbours": 4}]
)
def test_a_strange_past_is_none(kept: object) -> None:
    assert warm_start(kept, None, None) is None


def neighbour(run_id: str, **changes: object) -> dict[str, object]:
    return {
        "run_id": run_id,
        "name": "adult",
        "similarity": 0.8,
        "same_table": False,
        "summary": "…",
        **changes,
    }


def test_a_past_is_read() -> None:
    gaps = {"size": 0.1, "target": 0.3, "landmarks": 2.0, "numeric": 0.2}
    kept = {
        "neighbours": [neighbour("a1", differences=gaps)],
        "notes": ["1 past study left out: still running"],
    }
    rows = [{"trials": 1, "trust": 0.5}, {"trials": 2, "trust": 0.7}]
    found = warm_start(kept, rows, [{"trials": 10, "ahead": 0.7, "simulated": 40}])
    assert found is not None
    assert found.sources[0].why == "most alike in size and numeric, least in landmarks"
    assert found.trust == ((1.0, 0.5), (2.0, 0.7))
    assert found.notes == ("1 past study left out: still running",)
    assert found.beside_cold == (BesideCold(10, 0.7, 40),)
    alone = warm_start(kept, None, None)
    assert alone is not None
    assert (alone.trust, alone.beside_cold) == ((), ())


@pytest.mark.parametrize(
    ("ahead", "verdict"),
    [
        (
            (0.9, 0.6),
            "the past helped: this study is ahead of 90 % after 10 trials, "
            "60 % after 25 trials of 40 searches",
        ),
        ((0.9, 0.4), "the past helped in part: "),
        ((0.5, 0.4), "the past did not help: "),
    ],
)
def test_whether_the_past_helped_is_told(ahead: tuple[float, float], verdict: str) -> None:
    rows = [BesideCold(n, share, 40) for n, share in zip((10, 25), ahead, strict=True)]
    assert beside_cold_in_words(rows).startswith(verdict)
    assert beside_cold_in_words([]) == ""


def reported(number: int, losses: dict[float, float], origin: str = "sampler") -> Trial:
    return Trial(
        number,
        {"x": 0.5},
        max(losses),
        origin,
        tuple(Report(b, loss) for b, loss in losses.items()),
    )


def test_what_the_past_was_worth_is_told_at_one_budget() -> None:
    warm = [
        reported(0, {1.0: 0.9, 9.0: 0.2}, f"{WARM_ORIGIN}: a"),
        reported(1, {1.0: 0.6}, f"{WARM_ORIGIN}: b"),
    ]
    few = [reported(n, {1.0: 0.8, 9.0: 0.1}) for n in (2, 3)]
    left = [reported(n, {1.0: loss}) for n, loss in ((4, 0.5), (5, 0.7))]
    found = helped([*warm, *few, *left])
    assert found is not None
    assert (found.budget, found.best.number, found.loss) == (1.0, 1, 0.6)
    assert (found.beaten, found.others) == (3, 4)
    full = helped([*warm, *few, *left, reported(6, {1.0: 0.9, 9.0: 0.3})])
    assert full is not None
    assert (full.budget, full.best.number, full.loss) == (9.0, 0, 0.2)
    assert (full.beaten, full.others, full.trials) == (1, 3, 4 / 3)


@given(n=st.integers(0, 400), most=st.integers(1, 100))
def test_the_best_trials_and_some_of_the_others(n: int, most: int) -> None:
    places = best_and_others(n, most)
    assert len(places) == min(n, most)
    assert (np.diff(places) > 0).all()
    assert places[: most // 2].tolist() == [*range(min(n, most // 2))]
    if n > most // 2 + 1 and most - most // 2 > 1:
        assert places[-1] == n - 1


@given(
    st.lists(st.tuples(st.floats(0, 1e3), st.floats(0, 50)), max_size=8),
    st.lists(st.floats(-10, 1100), max_size=6),
)
def test_the_time_of_search_is_that_of_a_count(
    spans: list[tuple[float, float]], moments: list[float]
) -> None:
    intervals = [(start, start + length) for start, length in spans]
    points = sorted({end for each in intervals for end in each})
    for moment, found in zip(moments, searched(intervals, moments), strict=True):
        cuts = sorted({*(point for point in points if point < moment), moment})
        expected = sum(
            high - low
            for low, high in pairwise(cuts)
            if any(start <= low and high <= end for start, end in intervals)
        )
        assert found == pytest.approx(expected, abs=1e-6)
