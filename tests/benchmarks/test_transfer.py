import numpy as np

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
