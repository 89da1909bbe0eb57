"""The option `threshold`, and which metrics depend on one."""

import numpy as np
import pytest

from hpo.errors import ParameterError
from pipelines.table.scores.metrics import METRICS
from pipelines.table.scores.named import metric_named
from pipelines.table.scores.thresholds import Threshold, best_threshold
from serving.decision import HALF, Decision

OF_LABELS = {"accuracy", "balanced_accuracy", "f1", "f1_macro", "mcc"}


def test_metrics_of_labels_are_known() -> None:
    assert {name for name, metric in METRICS.items() if metric.on_labels} == OF_LABELS


@pytest.mark.parametrize(("name", "on_labels"), [("jaccard", True), ("neg_brier_score", False)])
def test_a_scorer_is_tried_for_whether_it_sees_labels(name: str, on_labels: bool) -> None:
    assert metric_named(name).on_labels is on_labels


@pytest.mark.parametrize("name", sorted(OF_LABELS))
def test_a_metric_of_labels_sees_only_on_which_side_of_the_threshold_rows_are(name: str) -> None:
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 2, 50), rng.random(50)
    two = np.column_stack([1 - p, p])
    labels = np.eye(2)[(p > 0.2).astype(int)]
    assert METRICS[name](y, Decision(None, 0.2).decided(two)) == METRICS[name](y, labels)


@pytest.mark.parametrize(
    ("text", "value", "metric"),
    [
        ("auto", None, None),
        ("off", None, None),
        ("0.25", 0.25, None),
        ("f1", None, "f1"),
        ("cost:fp=1, fn=5", None, "cost:fp=1,fn=5"),
    ],
)
def test_the_option_is_read(text: str, value: float | None, metric: str | None) -> None:
    found = Threshold.parse(text)
    assert found.value == value
    assert (found.metric and found.metric.name) == metric


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("1.5", "a number between 0 and 1"),
        ("nan", "a number between 0 and 1"),
        ("f2", "a metric of labels such as f1"),
        ("2", r"fn=5$"),  # and no hint to a metric of numbers
        ("roc_auc", "does not depend on a threshold"),
        ("rmse", "does not depend on a threshold"),
        ("cost:fp=1,fn=0", "costs must be numbers above 0"),
        ("cost:fp=1,fn=x", "costs must be numbers above 0"),
        ("cost:fp=1", "cost:fp=1,fn=5"),
    ],
)
def test_other_texts_are_refused_with_the_rule(text: str, rule: str) -> None:
    with pytest.raises(ParameterError, match=rule):
        Threshold.parse(text)


@pytest.mark.parametrize(
    ("own", "tuned"), [("f1", True), ("roc_auc", False), ("recall", False), ("jaccard", True)]
)
def test_auto_tunes_for_metrics_that_a_threshold_cannot_make_perfect(own: str, tuned: bool) -> None:
    assert (Threshold.parse("auto").tuned_for(metric_named(own)) is not None) is tuned


def test_a_model_without_a_difference_between_rows_keeps_a_half() -> None:
    y, p = np.array([0, 1, 1, 0]), np.full((4, 2), 0.5)
    assert best_threshold(y, p, METRICS["mcc"]) == HALF
