"""How what is saved is reckoned; no figure of a real table."""

import numpy as np
import pytest

from benchmarks.budgets.continuing import shares


def test_a_race_saves_what_is_not_trained_twice() -> None:
    whole = np.array([37.0, 111.0, 333.0, 1000.0])
    legs = np.zeros((4, 3))
    legs[:, 1] = np.diff(whole, prepend=0.0)
    assert shares(legs, whole) == pytest.approx([0.249, 0.249, 0.0, 0.0], abs=0.001)
    legs[1:, 0], legs[:-1, 2] = 1.0, 2.0
    saved, free, reading, writing = shares(legs, whole)
    assert saved < free
    assert (reading, writing) == pytest.approx((13 / 3087, 78 / 3087), rel=0.01)
