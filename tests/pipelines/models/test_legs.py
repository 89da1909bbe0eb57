import math

import numpy as np
import pytest

from pipelines.models.errors import TrainingError
from pipelines.models.legs import (
    Leg,
    Stopping,
    Watch,
    curve_rounds,
    evaluations,
    leg_seed,
    rows_patience,
    run_leg,
)
from pipelines.table.scores.metrics import METRICS
from tests.folds import make_fold


def test_each_leg_has_a_seed_of_its_own() -> None:
    seeds = {leg_seed(seed, start) for seed in range(20) for start in (0, 1, 20, 60)}
    assert len(seeds) == 80
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert leg_seed(3, 20) == leg_seed(3, 20)


def test_rounds_are_scored_densely_first_then_every_fifth_and_last() -> None:
    assert evaluations(0, 4) == [1, 2, 3, 4]
    assert evaluations(18, 37) == [19, 20, 25, 30, 35, 37]


@pytest.mark.parametrize(("start", "to"), [(0, 1), (0, 49), (20, 60), (0, 1000), (300, 5000)])
def test_a_curve_leaves_room_for_the_round_that_stops_early(start: int, to: int) -> None:
    rounds = curve_rounds(evaluations(start, to))
    assert to in rounds
    assert len(rounds) <= 49


@pytest.mark.parametrize(
    ("rows", "patience"), [(100, 100), (30_000, 100), (60_000, 50), (10**6, 20)]
)
def test_patience_falls_with_the_rows(rows: int, patience: int) -> None:
    assert rows_patience(rows) == patience


def test_tiny_gains_improve_the_best_round_but_not_patience() -> None:
    stopping = Stopping(patience=3, min_delta=0.1)
    for after, loss in enumerate((1.0, 0.99, 0.98, 0.97), start=1):
        stopping = stopping.observe(after, loss)
    assert stopping.best_round == 4
    assert stopping.over(4)
    assert not stopping.observe(5, 0.5).over(5)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_an_error(loss: float) -> None:
    with pytest.raises(TrainingError, match="after round 7"):
        Stopping(3, 0.0).observe(7, loss)


def test_the_state_is_read_back_as_it_was_written() -> None:
    for stopping in (Stopping(3, 0.1), Stopping(3, 0.1).observe(2, 0.5)):
        assert Stopping.from_dict(stopping.to_dict()) == stopping


class Steps:
    """A model whose validation error in round r is given."""

    def __init__(self, errors: list[float]) -> None:
        self.fold = make_fold("regression")
        self.watch = Watch(self.fold, METRICS["mae"])
        self.errors = errors
        self.at = 0

    def boost(self, after: int) -> None:
        self.at = after

    def current(self) -> tuple[int, np.ndarray]:
        return self.at, np.asarray(self.fold.y_valid + self.errors[self.at - 1], dtype=np.float64)

    def leg(self, start: int, to: int, stopping: Stopping) -> Leg:
        return run_leg((start, to), stopping, self.watch, self.boost, self.current)


def test_patience_continues_over_legs() -> None:
    errors = [5.0, 1.0, *np.linspace(2.0, 3.0, 18)]
    first = Steps(errors).leg(0, 4, Stopping(5, 0.0))
    assert not first.over
    assert first.stopping.best_round == 2
    second = Steps(errors).leg(4, 20, first.stopping)
    assert second.over
    assert second.best_prediction is None
    assert second.curve[-1][0] == 7.0
    straight = Steps(errors).leg(0, 20, Stopping(5, 0.0))
    assert straight.stopping == second.stopping


def test_a_curve_is_in_the_unit_of_the_metric() -> None:
    leg = Steps([1.0, 0.5]).leg(0, 2, Stopping(5, 0.0))
    np.testing.assert_allclose(leg.curve, [(1.0, 25.0), (2.0, 12.5)])


@pytest.mark.parametrize(
    ("kind", "metric", "deciding"),
    [
        ("binary", "roc_auc", "roc_auc"),
        ("binary", "f1", "log_loss"),
        ("binary", "brier", "log_loss"),
        ("multiclass", "accuracy", "accuracy"),
        ("multiclass", "balanced_accuracy", "log_loss"),
        ("regression", "mae", "mae"),
        ("regression", "r2", "rmse"),
        ("regression", "mape", "rmse"),
    ],
)
def test_a_rough_metric_leaves_stopping_to_a_proper_loss(
    kind: str, metric: str, deciding: str
) -> None:
    watch = Watch(make_fold(kind), METRICS[metric])
    assert watch.stopping_metric.name == deciding


def test_errors_of_a_regression_are_measured_in_scales_of_the_target() -> None:
    small, large = (
        Watch(make_fold(kind), METRICS[metric]).stopping().min_delta
        for kind, metric in (("binary", "log_loss"), ("regression", "rmse"))
    )
    assert large == pytest.approx(25 * small)
