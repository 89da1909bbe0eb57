import json

import pytest

from hpo.space import Float, SearchSpace
from hpo.trial import Report, Trial
from pipelines.findings.evidence import Rival, comparable, confirmation, searched, warm_start

SPACE = SearchSpace((Float("x", 0.0, 1.0),))


def trial(number: int, *budgets: float) -> Trial:
    return Trial(number, {"x": number / 100}, 9.0, reports=tuple(Report(b, number / b) for b in budgets))


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
    assert searched(intervals, [100.0, 106.0, 500.0, 1002.0, 2000.0]) == [0.0, 6.0, 12.0, 14.0, 16.0]
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
    assert warm_start(kept, None) is None


def test_a_past_is_read() -> None:
    kept = {
        "neighbours": [{"name": "adult", "similarity": 0.8, "same_table": False, "summary": "…"}],
        "notes": [],
    }
    rows = [
        {"trials": 1, "trust": 0.5, "weights": {"adult": 1.0}},
        {"trials": 2, "trust": 0.7, "weights": {"adult": 0.9}},
    ]
    found = warm_start(kept, rows)
    assert found is not None
    assert found.sources[0].weight == 0.9
    assert found.trust == ((1.0, 0.5), (2.0, 0.7))
    alone = warm_start(kept, None)
    assert alone is not None
    assert alone.sources[0].weight is None
