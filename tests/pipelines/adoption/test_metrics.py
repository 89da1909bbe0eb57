import math
import re

import pytest

from hpo.errors import ParameterError
from pipelines.adoption.metrics import impossible_values, logged_metric
from pipelines.table.scores.metrics import METRICS


@pytest.mark.parametrize(
    ("logged", "kind", "name", "value", "loss"),
    [
        ("auc", "binary", "roc_auc", 0.8, -0.8),
        ("valid_0-auc", "binary", "roc_auc", 0.8, -0.8),
        ("auc", "multiclass", "roc_auc_ovr", 0.8, -0.8),
        ("validation/AUC", "binary", "roc_auc", 0.8, -0.8),
        ("auc_val", "binary", "roc_auc", 0.8, -0.8),
        ("mean_test_neg_log_loss", "multiclass", "log_loss", -0.4, 0.4),
        ("eval-mlogloss", "multiclass", "log_loss", 0.4, 0.4),
        ("nll", "binary", "log_loss", 0.4, 0.4),
        ("neg_log_likelihood", "binary", "log_loss", 0.4, 0.4),
        ("l2", "regression", "rmse", 9.0, 3.0),
        ("neg_mean_squared_error", "regression", "rmse", -9.0, 3.0),
        ("merror", "multiclass", "accuracy", 0.1, -0.9),
        ("f1_score", "binary", "f1", 0.5, -0.5),
    ],
)
def test_names_of_other_tools_are_known(
    logged: str, kind: str, name: str, value: float, loss: float
) -> None:
    metric = logged_metric(logged, kind)
    assert (metric.name, metric.ours) == (name, True)
    assert metric.loss(value) == pytest.approx(loss)
    assert metric.goal.from_loss(metric.loss(value)) == pytest.approx(metric.value(value))


@pytest.mark.parametrize("name", METRICS)
def test_our_own_names_are_themselves(name: str) -> None:
    metric = logged_metric(name, METRICS[name].tasks[0])
    assert metric.name == name
    assert metric.loss(0.25) == METRICS[name].goal.to_loss(0.25)


@pytest.mark.parametrize("logged", ["std_test_roc_auc", "rank_test_roc_auc", "profit", "f1_time"])
def test_names_that_are_not_scores_need_a_direction(logged: str) -> None:
    with pytest.raises(ParameterError, match="give direction=minimize or direction=maximize"):
        logged_metric(logged, "binary")
    metric = logged_metric(logged, "binary", "maximize")
    assert (metric.name, metric.ours, metric.loss(2.0)) == (logged, False, -2.0)


def test_a_direction_that_contradicts_the_name_means_a_negated_metric() -> None:
    assert logged_metric("auc", "binary", "minimize").loss(-0.8) == -0.8
    assert logged_metric("log_loss", "binary", "maximize").loss(-0.4) == 0.4
    assert logged_metric("neg_log_loss", "binary", "maximize").loss(-0.4) == 0.4
    assert logged_metric("error", "binary", "minimize").loss(0.1) == pytest.approx(-0.9)
    assert logged_metric("error", "binary", "maximize").loss(-0.1) == pytest.approx(-0.9)


def test_means_replaces_the_name() -> None:
    metric = logged_metric("loss", "binary", "minimize", "roc_auc")
    assert (metric.name, metric.loss(-0.8), metric.value(-0.8)) == ("roc_auc", -0.8, 0.8)
    assert logged_metric("value", "regression", means="mse").loss(9.0) == 3.0
    with pytest.raises(ParameterError, match="means='rocauk' is not .*, did you mean 'roc_auc'"):
        logged_metric("loss", "binary", "minimize", "rocauk")


def test_some_unknown_names_imply_a_direction() -> None:
    assert logged_metric("loss", "binary").loss(0.3) == 0.3
    assert logged_metric("mean_test_score", "binary").loss(0.3) == -0.3
    assert not logged_metric("mean_test_score", "binary").ours


def test_a_metric_of_another_task_is_an_error() -> None:
    with pytest.raises(
        ParameterError, match="metric 'rmse' is for regression tasks, but this one is binary"
    ):
        logged_metric("rmse", "binary")
    assert (
        logged_metric("rmse", None).name == "rmse"
    )  # the table could not be read, which is another error


def test_a_negative_square_is_nan() -> None:
    assert math.isnan(logged_metric("mse", "regression").value(-1.0))


@pytest.mark.parametrize("name", METRICS)
def test_bounds_of_every_metric(name: str) -> None:
    metric = logged_metric(name, METRICS[name].tasks[0])
    best = 1.0 if metric.goal.greater_is_better else 0.0
    beyond = metric.goal.from_loss(-1.0)  # the sign of values better than the best
    assert impossible_values(metric, [best, 0.5, best + 1e-8 * beyond]) is None
    assert impossible_values(metric, [best + 0.1 * beyond]) is not None


@pytest.mark.parametrize(
    ("logged", "kind", "values", "says"),
    [
        (
            "pct_auc",
            "binary",
            [70.0, 77.0],
            r"'pct_auc' is read as roc_auc, which must lie in .0, 1., but 2 of 2 runs .* "
            "such as 70; give another",
        ),
        (
            "auc",
            "binary",
            [0.5, -1.0],
            r"1 of 2 runs .* such as -1; leave these runs out with filter=",
        ),
        (
            "mean_test_neg_log_loss",
            "binary",
            [0.4],
            r"negated, .*log_loss, which must be at least 0.*direction=minimize",
        ),
        (
            "rmse",
            "regression",
            [-3.0],
            r"rmse, which must be at least 0, .* such as -3; give direction=maximize",
        ),
        ("mse", "regression", [4.0, -9.0], r"read as rmse, .* 1 of 2 runs .* such as -9"),
        (
            "error",
            "binary",
            [12.0],
            r"read as accuracy, which must lie in .0, 1., .* such as 12",
        ),
        ("r2", "regression", [1.5], r"r2, which must be at most 1"),
        ("mcc", "binary", [-1.5, 1.5], r"mcc, which must lie in .-1, 1., but 2 of 2"),
    ],
)
def test_impossible_values(logged: str, kind: str, values: list[float], says: str) -> None:
    assert re.search(says, str(impossible_values(logged_metric(logged, kind), values)))


def test_a_wrong_direction_is_reported() -> None:
    values = [0.5, 0.81]
    text = str(impossible_values(logged_metric("auc", "binary", "minimize"), values))
    assert "'auc' (negated, as its direction is minimize) is read as roc_auc" in text
    assert text.endswith("such as 0.5; give direction=maximize")
    assert impossible_values(logged_metric("auc", "binary", "minimize"), [-0.5, -0.81]) is None
    assert impossible_values(logged_metric("profit", "binary", "minimize"), [-7.0]) is None
    turned = str(impossible_values(logged_metric("error", "binary", "maximize"), values))
    assert turned.endswith("give direction=minimize")
