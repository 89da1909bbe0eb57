import numpy as np
import pytest

from benchmarks.warmstart import kinds as past_kinds
from benchmarks.warmstart.pasts import left_by, tables
from benchmarks.warmstart.transfer import report, shared


def test_each_study_is_judged_by_the_others() -> None:
    studies = [left_by(table, 7, cost=8) for table in tables("lightgbm")[:5]]
    shares, correlations = shared(studies)
    assert shares.shape == (5, 4)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    assert (shares > 0).all()
    assert np.abs(correlations).max() <= 1
    text, values = report([("some", studies)])
    assert "| some | 5 |" in text
    assert list(values) == ["sets", "machine"]


def test_kinds_of_past_are_compared_on_the_same_studies() -> None:
    found = tables("lightgbm")[:5]
    studies, others = ([left_by(table, seed, cost=8) for table in found] for seed in (7, 8))
    text, values = past_kinds.report(studies, [("the same", studies), ("another", others)])
    assert "| the same | 5 |" in text
    assert text.count("0.00 [0.00, 0.00]") == 1  # less itself
    correlations = values["correlations"]
    assert isinstance(correlations, dict)
    assert correlations["the same"] == pytest.approx(shared(studies)[1].tolist())
    assert correlations["another"] != correlations["the same"]
