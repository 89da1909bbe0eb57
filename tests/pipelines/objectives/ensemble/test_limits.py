"""The members of an ensemble that fit into its limits."""

from pathlib import Path

import numpy as np

from pipelines.objectives.ensemble.limits import BYTES, SECONDS, Cost, cost, within
from serving.features import FeatureEncoder, Matrix, TargetEncoder
from serving.members import seal
from serving.predictor import Predictor

CHEAP = Cost(SECONDS / 100, int(BYTES / 100))


def test_the_heaviest_that_fit_together_are_kept() -> None:
    slow, large = Cost(0.6 * SECONDS, 1), Cost(0.0, int(0.6 * BYTES))
    assert within([3, 1, 2], {1: CHEAP, 2: CHEAP, 3: CHEAP}) == {1, 2, 3}
    assert within([3, 1, 2], {1: slow, 2: slow, 3: CHEAP}) == {3, 1}
    assert within([3, 1, 2], {1: large, 2: CHEAP, 3: large}) == {3, 2}
    assert within([3, 1], {3: CHEAP, 1: Cost(0.0, int(2 * BYTES))}) == {3}


def test_where_the_heaviest_member_is_slow_others_may_be_as_slow() -> None:
    slow = Cost(10 * SECONDS, 1)
    assert within([1, 2, 3, 4, 5, 6], dict.fromkeys(range(1, 7), slow)) == {1, 2, 3, 4, 5}
    assert within([2, 1], {2: CHEAP, 1: slow}) == {2}


def test_a_cost_is_measured(tmp_path: Path) -> None:
    member = tmp_path / "member"
    member.mkdir()
    seal(member, {"family": "trivial", "kind": "regression", "prediction": [0.0]})
    target = TargetEncoder("regression", (), 0.0, 1.0)
    Predictor(FeatureEncoder(()), target, ()).save(tmp_path / "predictor", [member])
    rows = Matrix(np.zeros((10, 0)), np.zeros((10, 0), dtype=np.int32))
    found = cost(tmp_path / "predictor", rows)
    assert found.seconds >= 0
    assert found.size == sum(f.stat().st_size for f in (tmp_path / "predictor").rglob("*.json"))
