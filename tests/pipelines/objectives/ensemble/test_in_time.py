"""The members of an ensemble that a timeout leaves time to train once more."""

import math
import time
from typing import cast

import pytest

from hpo.loop import Stop
from hpo.space import SearchSpace
from hpo.trial import Report, Trial
from pipelines.objectives.ending.final import seconds_to_refit
from pipelines.objectives.ensemble.choosing import in_time
from pipelines.store import StudyStore, schema
from pipelines.study.choice.ensemble import Ensemble
from pipelines.study.ending import Ending
from pipelines.study.search import MOST, reserved
from pipelines.study.workshop import Workshop
from pipelines.table.scores.estimates import Difference, Estimate
from tests.plans import plan

TRIALS = tuple(Trial(n, {}, 1.0, "sampler", (Report(1.0, 0.0, seconds=8.0),)) for n in range(4))
GAIN = Difference(Estimate(0.1, 0.0, 0.2), 0.5, 0.5)
ENSEMBLE = Ensemble("rmse", {2: 0.5, 0: 0.3, 3: 0.2}, 1.0, 1.1, GAIN)


class Notes:
    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self.notes = self

    def annotate(self, tags: dict[str, str]) -> None:
        self.tags |= tags


@pytest.mark.parametrize(
    ("left", "workers", "members"),
    [
        (math.inf, 1, [2, 0, 3]),
        (35.0, 1, [2, 0, 3]),
        (25.0, 1, [2, 0]),
        (18.0, 2, [2, 0, 3]),
        (12.0, 1, []),
        (-1.0, 2, []),
    ],
)
def test_the_heaviest_members_that_fit_are_kept(
    left: float, workers: int, members: list[int]
) -> None:
    assert seconds_to_refit(TRIALS, TRIALS[:3], 1) == pytest.approx(30.0)
    assert seconds_to_refit(TRIALS, TRIALS[:3], 5) == pytest.approx(6.0)
    notes, said = Notes(), list[str]()
    ending = Ending(
        plan=plan(space=SearchSpace(()), workers=workers),
        trials=TRIALS,
        baselines={},
        workshop=cast(Workshop, None),
        store=cast(StudyStore, notes),
        stop=Stop(),
        say=said.append,
        until=time.monotonic() + left,
    )
    found = in_time(ENSEMBLE, ending, 1)
    assert (list(found.weights) if found else []) == members
    if len(members) == 3:
        assert found == ENSEMBLE
        assert not said
        return
    assert f"keeps {max(len(members), 1)} of its 3 trials" in said[0]
    assert bool(notes.tags[schema.ENSEMBLE]) == bool(members)
    if found:
        assert sum(found.weights.values()) == pytest.approx(1.0)


def test_the_end_has_a_reserve_that_follows_the_start_and_the_trials() -> None:
    assert reserved(10.0, 0.0, 1_000.0) < reserved(20.0, 0.0, 1_000.0)
    assert reserved(10.0, 30.0, 1_000.0) == pytest.approx(reserved(10.0, 0.0, 1_000.0) + 30.0)
    assert reserved(10.0, 900.0, 100.0) == pytest.approx(MOST * 100.0)
    assert reserved(10.0, 1.0, -5.0) == 0.0
