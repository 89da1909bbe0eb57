from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from hpo.errors import ParameterError
from pipelines.table.scores.metrics import METRICS, TASKS, default_metric, evaluate
from pipelines.table.scores.named import metric_for

REFERENCE = {
    "roc_auc": lambda y, p, w: sk.roc_auc_score(y, p[:, 1], sample_weight=w),
    "roc_auc_ovr": lambda y, p, w: sk.roc_auc_score(y, p, multi_class="ovr", sample_weight=w),
    "log_loss": lambda y, p, w: sk.log_loss(y, p, labels=range(p.shape[1]), sample_weight=w),
    "accuracy": lambda y, p, w: sk.accuracy_score(y, p.argmax(1), sample_weight=w),
    "balanced_accuracy": lambda y, p, w: sk.balanced_accuracy_score(
        y, p.argmax(1), sample_weight=w
    ),
    "f1": lambda y, p, w: sk.f1_score(y, p.argmax(1), sample_weight=w),
    "f1_macro": lambda y, p, w: sk.f1_score(y, p.argmax(1), average="macro", sample_weight=w),
    "average_precision": lambda y, p, w: sk.average_precision_score(y, p[:, 1], sample_weight=w),
    "brier": lambda y, p, w: sk.brier_score_loss(y, p[:, 1], sample_weight=w),
    "mcc": lambda y, p, w: sk.matthews_corrcoef(y, p.argmax(1), sample_weight=w),
    "rmse": lambda y, p, w: sk.root_mean_squared_error(y, p, sample_weight=w),
    "mae": lambda y, p, w: sk.mean_absolute_error(y, p, sample_weight=w),
    "median_ae": lambda y, p, w: sk.median_absolute_error(y, p, sample_weight=w),
    "r2": lambda y, p, w: sk.r2_score(y, p, sample_weight=w),
    "rmsle": lambda y, p, w: sk.root_mean_squared_log_error(y, p, sample_weight=w),
    "mape": lambda y, p, w: sk.mean_absolute_percentage_error(y, p, sample_weight=w),
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
    assert METRICS[name](y, p) == pytest.approx(REFERENCE[name](y, p, None), rel=1e-9)
    weights = np.random.default_rng(seed).gamma(1.0, size=len(y)) * (np.arange(len(y)) % 5 > 0)
    expected = REFERENCE[name](y, p, weights)
    assert METRICS[name](y, p, weights) == pytest.approx(expected, rel=1e-9)
    counts = np.arange(len(y)) % 3
    repeated = METRICS[name](np.repeat(y, counts), np.repeat(p, counts, axis=0))
    assert METRICS[name](y, p, counts.astype(float)) == pytest.approx(repeated, rel=1e-9)


@pytest.mark.parametrize("kind", TASKS)
def test_a_better_prediction_has_a_lower_loss(kind: str) -> None:
    y, bad = example(kind)
    truth = y if kind == "regression" else np.eye(bad.shape[1])[y]
    for name in evaluate(kind, y, bad):
        metric = METRICS[name]
        good = 0.5 * truth + 0.5 * bad
        assert metric.goal.to_loss(metric(y, good)) <= metric.goal.to_loss(metric(y, bad)), name
        assert metric.goal.from_loss(metric.goal.to_loss(0.3)) == 0.3


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
