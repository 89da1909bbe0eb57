"""Searches replayed on tabulated trainings; no figure of a real table."""

import numpy as np

from benchmarks.search.validation import replayed

LOSSES = np.array([[3.0, 3.0], [1.0, 3.0], [2.0, 1.0], [4.0, 4.0], [9.0, 0.0]])
SECONDS = np.ones((5, 2))
ORDER = np.arange(5)


def test_a_search_sees_what_its_seconds_allow() -> None:
    assert replayed(LOSSES, SECONDS, ORDER, 5, racing=False) == (1, 2)
    assert replayed(LOSSES, SECONDS, ORDER, 6, racing=False) == (2, 3)
    assert replayed(LOSSES, SECONDS, ORDER, 0, racing=False) == (0, 1)


def test_a_racing_search_stops_hopeless_configurations_after_a_fold() -> None:
    assert replayed(LOSSES, SECONDS, ORDER, 7, racing=False) == (2, 3)
    assert replayed(LOSSES, SECONDS, ORDER, 8, racing=True) == (2, 5)
