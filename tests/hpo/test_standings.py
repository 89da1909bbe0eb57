import math

import numpy as np
import pytest

from hpo.history import History
from hpo.space import Float, SearchSpace
from hpo.standings import Standings
from hpo.trial import Report, Trial

SPACE = SearchSpace((Float("x", 0.0, 1.0),))
RUNGS = (1.0, 3.0, 9.0)


def standings(n: int) -> Standings:
    """Trial i has x = i / n; of four one runs, one failed after rung 0, two reached 1 and 2."""
    made = Standings(SPACE, RUNGS)
    for i in range(n):
        budget = (1.0, 3.0, 3.0, 9.0)[i % 4]
        reports = tuple(Report(b, i + b) for b in RUNGS[: i % 4])
        made.add({"x": i / n}, budget)
        made.update(
            Trial(i, {"x": i / n}, budget, reports=reports, failure="lost" if i % 4 == 1 else None)
        )
    return made


@pytest.mark.parametrize(
    ("least", "seen", "losses"),
    [
        (0, [1, 3, 5, 7], [math.inf, 12, math.inf, 16]),
        (2, [1, 3, 5, 7], [math.inf, 12, math.inf, 16]),
        (4, [1, 2, 3, 5, 6, 7], [math.inf, 5, 6, math.inf, 9, 10]),
        (6, [1, 2, 3, 5, 6, 7], [2, 3, 4, 6, 7, 8]),
        (7, [1, 2, 3, 5, 6, 7], [2, 3, 4, 6, 7, 8]),  # enough at no rung: the one with the most
    ],
)
def test_a_sampler_sees_the_highest_rung_with_enough(
    least: int, seen: list[int], losses: list[float]
) -> None:
    history = History.at_rung(standings(8), least, 8)

    np.testing.assert_array_equal(history.x[:, 0], np.array(seen) / 8)
    np.testing.assert_array_equal(history.losses, losses)
    np.testing.assert_array_equal(history.pending[:, 0], [0.0, 0.5])


def test_a_history_in_hand_does_not_change() -> None:
    made = Standings(SPACE, (1.0,))
    for i in range(3):
        made.add({"x": i / 4}, 1.0)
        made.update(Trial(i, {"x": i / 4}, 1.0, reports=(Report(1.0, float(i)),)))
    history = History.at_rung(made, 1, 3)

    made.update(Trial(0, {"x": 0.0}, 1.0, reports=(Report(1.0, 9.0),)))
    history.observe({"x": 1.0}, 5.0)
    made.add({"x": 0.75}, 1.0)

    assert history.losses.tolist() == [0.0, 1.0, 2.0, 5.0]
    assert history.x[:, 0].tolist() == [0.0, 0.25, 0.5, 1.0]
    assert made.x[:, 0].tolist() == [0.0, 0.25, 0.5, 0.75]
