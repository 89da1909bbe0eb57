"""What a model costs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hpo.goals import Goal, Goals, Limit
from hpo.loop import Job
from pipelines.files.exchange import Exchange
from pipelines.objectives.jobs import FOLDS, Work
from pipelines.objectives.scoring.beside import GROUPS, save_groups
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
    others = ("latency", "size", "training_seconds", "energy", "energy:20")
    Work("lightgbm", "roc_auc", 1, 1, (200.0,), others=others).write(exchange)
    training = Training(Exchange(str(tmp_path)))
    small, large = (
        training(Job(number, {"num_leaves": leaves, "min_data_in_leaf": 1}, 0, rounds)).metrics
        for number, (leaves, rounds) in enumerate([(2, 5), (60, 200)])
    )
    assert small["size"] < large["size"] < 50
    assert min(found[name] for found in (small, large) for name in others) > 0
    assert large["energy:20"] == pytest.approx(2 * large["energy"])  # of the assumed 10 W
    Work("lightgbm", "roc_auc", 1, 1, (200.0,)).write(exchange)
    plain = Training(Exchange(str(tmp_path)))(Job(2, {"num_leaves": 2}, 0, 5)).metrics
    assert not set(others) & set(plain)


def test_sums_robustness_and_gaps_are_measured_on_every_fold(tmp_path: Path) -> None:
    exchange, rng = Exchange(str(tmp_path)), np.random.default_rng(0)
    x = rng.normal(size=600)
    table = pd.DataFrame({"x": x, "z": -x, "g": rng.integers(0, 3, 600), "y": x > 0})
    prepared = prepare(table, "y", seed=0, validation="cv:3")
    exchange.put(FOLDS, prepared.save)
    goals = Goals((Goal("roc_auc minus 2 size", "maximize"),), (Limit("robustness:0.5", 0.1),))
    others = ("size", "robustness:0.5", "demographic_parity:g")
    save_groups(prepared, others, exchange)
    Work("lightgbm", "roc_auc", 1, 1, (20.0,), others=others[:2], goals=goals.to_dict()).write(
        exchange
    )
    report = Training(Exchange(str(tmp_path)))(Job(0, {}, 0, 20))
    found = report.metrics
    assert found["roc_auc minus 2 size"] == pytest.approx(found["roc_auc"] - 2 * found["size"])
    assert report.loss == -found["roc_auc minus 2 size"]
    assert not report.curve
    assert 0.5 < found["robustness:0.5"] < found["roc_auc"]
    for fold, (_, valid) in enumerate(prepared.rows.folds):
        groups = np.load(exchange.get(GROUPS) / f"0-{fold}.npy")
        expected = prepared.frame["g"].to_numpy()[valid]
        assert len({*zip(groups.tolist(), expected.tolist(), strict=True)}) == 3


def test_gaps_of_a_trial(tmp_path: Path) -> None:
    pytest.importorskip("fairlearn")
    exchange, rng = Exchange(str(tmp_path)), np.random.default_rng(0)
    g = rng.integers(0, 2, 600)
    table = pd.DataFrame({"g": g, "x": rng.normal(size=600), "y": g ^ (rng.random(600) < 0.1)})
    prepared = prepare(table, "y", seed=0)
    exchange.put(FOLDS, prepared.save)
    others = ("demographic_parity:g",)
    save_groups(prepared, others, exchange)
    Work("lightgbm", "roc_auc", 1, 1, (20.0,), others=others).write(exchange)
    found = Training(Exchange(str(tmp_path)))(Job(0, {}, 0, 20)).metrics
    assert found["demographic_parity:g"] > 0.9  # the group is what the model predicts by
