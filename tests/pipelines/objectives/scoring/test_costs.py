"""What a model costs."""

from pathlib import Path

import numpy as np
import pandas as pd

from hpo.loop import Job
from pipelines.files.exchange import Exchange
from pipelines.objectives.jobs import FOLDS, Work
from pipelines.objectives.training import Training
from tests.tables import prepare


def test_a_larger_model_is_larger_and_costs_are_measured_only_if_they_are_goals(
    tmp_path: Path,
) -> None:
    exchange, rng = Exchange(str(tmp_path)), np.random.default_rng(0)
    x = rng.normal(size=600)
    table = pd.DataFrame({"x": x, "y": x + rng.normal(size=600) > 0})
    prepared = prepare(table, "y", seed=0)
    exchange.put(FOLDS, prepared.save)
    others = ("latency", "size", "training_seconds")
    Work("lightgbm", "roc_auc", 1, 1, (200.0,), others=others).write(exchange)
    training = Training(Exchange(str(tmp_path)))
    small, large = (
        training(Job(number, {"num_leaves": leaves, "min_data_in_leaf": 1}, 0, rounds)).metrics
        for number, (leaves, rounds) in enumerate([(2, 5), (60, 200)])
    )
    assert small["size"] < large["size"] < 50
    assert min(found[name] for found in (small, large) for name in others) > 0
    Work("lightgbm", "roc_auc", 1, 1, (200.0,)).write(exchange)
    plain = Training(Exchange(str(tmp_path)))(Job(2, {"num_leaves": 2}, 0, 5)).metrics
    assert not {"latency", "size", "training_seconds"} & set(plain)
