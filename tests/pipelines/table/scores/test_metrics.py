from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from hpo.errors import ParameterError
from pipelines.table.scores.metrics import METRICS, TASKS, default_metric, evaluate, metric_for

REFERENCE = {
    "roc_auc": lambda y, p: sk.roc_auc_score(y, p[:, 1]),
    "roc_auc_ovr": lambda y, p: sk.roc_auc_score(y, p, multi_class="ovr"),
    "log_loss": lambda y, p: sk.log_loss(y, p, labels=range(p.shape[1])),
    "accuracy": lambda y, p: sk.accuracy_score(y, p.argmax(1)),
    "balanced_accuracy": lambda y, p: sk.balanced_accuracy_score(y, p.argmax(1)),
    "f1": lambda y, p: sk.f1_score(y, p.argmax(1)),
    "f1_macro": lambda y, p: sk.f1_score(y, p.argmax(1), average="macro"),
    "average_precision": lambda y, p: sk.average_precision_score(y, p[:, 1]),
    "brier": lambda y, p: sk.brier_score_loss(y, p[:, 1]),
    "mcc": lambda y, p: sk.matthews_corrcoef(y, p.argmax(1)),
    "rmse": sk.root_mean_squared_error,
    "mae": sk.mean_absolute_error,
    "median_ae": sk.median_absolute_error,
    "r2": sk.r2_score,
    "rmsle": sk.root_mean_squared_log_error,
    "mape": sk.mean_absolute_percentage_error,
}


def example(kind: str, seed: int = 0, n: Any = 200) -> Any:
    rng = np.random.default_rng(seed)
    if kind == "regression":
        y = rng.gamma(2.0, size=n)
        return y, np.abs(y + rng.normal(size=n))
    k = 2 if kind == "binary" else 4
    scores = rng.integers(1, 6, size=(n, k)).astype(float)  # coarse, so that there are ties
    return rng.integers(0, k, size=n), scores / scores.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("kind", "name"), [(k, m.name) for m in METRICS.values() for k in m.tasks])
def test_agrees_with_scikit_learn(kind: str, name: str, seed: int) -> None:
    y, p = example(kind, seed)
    assert METRICS[name](y, p) == pytest.approx(REFERENCE[name](y, p), rel=1e-9)


@pytest.mark.parametrize("kind", TASKS)
def test_a_better_prediction_has_a_lower_loss(kind: str) -> None:
    y, bad = example(kind)
    truth = y if kind == "regression" else np.eye(bad.shape[1])[y]
    for name in evaluate(kind, y, bad):
        metric = METRICS[name]
        good = 0.5 * truth + 0.5 * bad
        assert metric.to_loss(metric(y, good)) <= metric.to_loss(metric(y, bad)), name
        assert metric.from_loss(metric.to_loss(0.3)) == 0.3


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_prediction_that_is_not_finite_raises(kind: str, poison: Any) -> None:
    y, p = example(kind)
    p = p.copy()
    p.flat[3] = poison
    with pytest.raises(ValueError, match="not finite"):
        default_metric(kind)(y, p)
    with pytest.raises(ValueError, match="not finite"):
        evaluate(kind, y, p)


def test_one_class_leaves_the_area_undefined_but_not_the_rest() -> None:
    y, p = example("binary")
    y = np.zeros_like(y)
    with pytest.raises(ValueError, match="roc_auc is not defined"):
        METRICS["roc_auc"](y, p)
    scores = evaluate("binary", y, p)
    assert "roc_auc" not in scores
    assert np.isfinite(list(scores.values())).all()


def test_an_absent_class_is_left_out_of_means() -> None:
    y, p = example("multiclass")
    keep = y != 2
    scores = evaluate("multiclass", y[keep], p[keep])
    assert set(scores) == {m.name for m in METRICS.values() if "multiclass" in m.tasks}


def test_certain_and_wrong_is_finite() -> None:
    y = np.array([0, 1])
    assert np.isfinite(METRICS["log_loss"](y, np.array([[0.0, 1.0], [0.0, 1.0]])))


def test_defaults_suit_their_tasks() -> None:
    assert [default_metric(kind).name for kind in TASKS] == ["roc_auc", "log_loss", "rmse"]
    assert metric_for("", "regression").name == "rmse"


def test_unknown_or_foreign_metrics_name_the_closest() -> None:
    with pytest.raises(ParameterError, match="did you mean 'accuracy'"):
        metric_for("acuracy", "binary")
    with pytest.raises(
        ParameterError, match=r"for regression tasks, but this one is binary.*roc_auc"
    ):
        metric_for("rmse", "binary")


@pytest.mark.parametrize(
    ("name", "y"), [("rmsle", [-1.0, 2.0]), ("mape", [0.0, 2.0]), ("r2", [2.0, 2.0])]
)
def test_a_metric_that_cannot_score_the_target_is_refused(name: str, y: Any) -> None:
    values = np.array(y)
    with pytest.raises(ParameterError, match="cannot score this target"):
        metric_for(name, "regression", values)
    assert name not in evaluate("regression", values, np.ones(2))
