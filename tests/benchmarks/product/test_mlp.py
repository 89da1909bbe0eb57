"""The race against RealMLP: what both sides are handed, and the tables made of the results."""

from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.peers.product import mlp_own
from benchmarks.product.mlp import arrays_of, errors, summary
from pipelines.table.scores.metrics import METRICS
from tests.tables import prepare


def race(table: str, seed: int, own: float, peer: float) -> dict[str, object]:
    sides = {"mlp": (own, 1.0), "realmlp": (peer, 4.0)}
    told = {
        side: {"score": 1 - e, "error": e, "cpu_seconds": cpu} for side, (e, cpu) in sides.items()
    }
    return {"table": table, "seed": seed, "metric": "accuracy", **told}


def test_ranks_errors_and_shares_of_cpu() -> None:
    results = [
        race("a", 0, 0.1, 0.2),
        race("a", 1, 0.1, 0.2),
        race("b", 0, 0.2, 0.1),
        race("b", 1, 0.1, 0.1),
    ]
    text = summary(results)
    assert "| 1.38 [" in text  # ranks 1, 1, 2, 1.5
    assert "sums 0.25" in text
    assert "| a | 0.1000 | 0.2000 | 2 of 2 | 0.25 |" in text
    assert "| b | 0.1500 | 0.1000 | 0.5 of 2 | 0.25 |" in text


def test_only_seeds_that_every_table_has_are_compared() -> None:
    names, cells = errors([race("a", 0, 0.1, 0.2), race("a", 1, 0.3, 0.4), race("b", 0, 0.5, 0.6)])
    assert names == ("a", "b")
    assert cells.tolist() == [[[0.1], [0.5]], [[0.2], [0.6]]]


def test_our_side_trains_on_the_arrays(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=200), "c": rng.choice(["u", "v", "w"], 200)})
    frame["y"] = 100 + 50 * frame["x"] + 20 * (frame["c"] == "u")
    prepared = prepare(frame, "y", seed=0)
    arrays_of(prepared, tmp_path / "t.npz")
    answer = mlp_own.run(str(tmp_path / "t.npz"), "r2", seed=0, point=1)
    assert METRICS["r2"](prepared.y_test, np.load(answer["prediction"])) > 0.9
