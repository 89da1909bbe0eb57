"""Figures of how the search went: what is computed for them."""

import numpy as np

from pipelines.findings.figures.course import pareto_front


def test_no_trial_of_the_front_is_beaten_by_one_as_cheap() -> None:
    rng = np.random.default_rng(0)
    losses, seconds = rng.integers(9, size=60) / 9, rng.integers(9, size=60).astype(np.float64)
    front = pareto_front(losses, seconds)
    better = [
        not any(
            losses[j] <= loss and (seconds[j], losses[j], j) < (cost, loss, i) for j in range(60)
        )
        for i, (loss, cost) in enumerate(zip(losses, seconds, strict=True))
    ]
    assert sorted(front) == list(np.flatnonzero(better))
    assert list(seconds[front]) == sorted(seconds[front])
