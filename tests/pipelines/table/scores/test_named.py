"""Metrics by the names of scikit-learn's scorers, and functions of the user."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as reference

from hpo.errors import ParameterError
from hpo.goals import MAXIMIZE, MINIMIZE, Goal
from pipelines.table.scores import bootstrap
from pipelines.table.scores.functions import function_metric
from pipelines.table.scores.metrics import METRICS, evaluate
from pipelines.table.scores.named import metric_for, metric_named, metric_of, metric_text

FUNCTIONS = """
import numpy as np

WORD = "no function"

def cost(y_true, y_pred):
    return np.mean(np.where(y_true == 1, 5 * (y_pred != 1), y_pred != 0))

def shapes(y_true, y_score, sample_weight=None):
    return y_score.ndim + 10 * (0 if sample_weight is None else sample_weight.sum())

def word(y_true, y_pred):
    return "bad"

def broken(y_true, y_pred):
    return 1 / 0

def unnamed(a, b):
    return 0.0

def one(y_pred):
    return 0.0
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A module of the user's functions."""
    folder: Path = tmp_path_factory.mktemp("functions")
    (folder / "own_scores.py").write_text(FUNCTIONS)
    sys.path.insert(0, str(folder))
    yield "own_scores"
    sys.path.remove(str(folder))
    function_metric.cache_clear()


def rows(n_classes: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n_classes)
    y = rng.permutation(np.arange(n) % n_classes)
    raw = rng.random((n, n_classes)) + 0.4 * np.eye(n_classes)[y]
    return y, raw / raw.sum(axis=1, keepdims=True)


def test_scorers_give_the_scores_of_scikit_learn() -> None:
    y, p = rows(2)
    weight = np.random.default_rng(0).random(len(y))
    labels = p.argmax(axis=1)
    assert metric_named("jaccard")(y, p) == reference.jaccard_score(y, labels)
    assert metric_named("recall")(y, p, weight) == pytest.approx(
        reference.recall_score(y, labels, sample_weight=weight)
    )
    y, p = rows(4)
    assert metric_named("top_k_accuracy")(y, p) == reference.top_k_accuracy_score(y, p)
    assert metric_for("roc_auc_ovo", "multiclass", y)(y, p) == pytest.approx(
        reference.roc_auc_score(y, p, multi_class="ovo")
    )
    target, value = np.array([1.0, 2.5, 4.0]), np.array([1.5, 2.0, 4.0])
    metric = metric_for("neg_max_error", "regression", target)
    assert metric(target, value) == -0.5
    assert metric.goal.greater_is_better


@pytest.mark.parametrize(
    ("name", "ours"),
    [("neg_log_loss", "log_loss"), ("matthews_corrcoef", "mcc"), ("f1", "f1")],
)
def test_a_scorer_that_is_a_metric_of_the_project_is_that_one(name: str, ours: str) -> None:
    assert metric_for(name, "binary") is METRICS[ours]


def test_an_undefined_scorer_has_no_value() -> None:
    y, p = rows(2)
    with pytest.raises(ValueError, match="roc_auc_ovo is not defined here"):
        metric_named("roc_auc_ovo")(np.zeros_like(y), p)
    own = metric_named("roc_auc_ovo")
    assert "roc_auc_ovo" not in evaluate("binary", np.zeros_like(y), p, own=[own])


@pytest.mark.parametrize("name", ["max_error", "neg_max_error"])
def test_draws_repeat_rows_for_a_scorer_without_weights(name: str) -> None:
    y, value = np.array([1.0, 2.5, 4.0, 2.0]), np.array([1.5, 2.0, 4.0, 2.1])
    metric = metric_named("neg_max_error")
    assert not metric.takes_weights
    assert metric(y, value, np.array([0.0, 0.0, 1.0, 2.0])) == pytest.approx(-0.1)
    with pytest.raises(ValueError, match="not defined"):
        metric(y, value, np.full(4, 0.5))


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("jacard", "binary", "did you mean 'jaccard'"),
        ("precision", "multiclass", "is for binary tasks.*did you mean 'precision_m"),
        ("neg_max_error", "binary", "is for regression tasks"),
        ("top_k_accuracy", "binary", "is for multiclass tasks"),
        ("recall_samples", "binary", "several targets"),
        ("-no_such_module:f", "binary", "importing no_such_module failed with ModuleNotFoundError"),
        ("-own_scores:cots", "binary", "has no 'cots', did you mean 'cost'"),
        ("-own_scores:WORD", "binary", "is no function"),
        ("-own_scores:word", "binary", "returned 'bad'; it must return a finite number"),
        ("-own_scores:broken", "binary", "raised ZeroDivisionError"),
        ("-own_scores:unnamed", "binary", "y_pred.*y_score"),
        ("-own_scores:one", "binary", "must be a function of"),
    ],
)
@pytest.mark.usefixtures("own")
def test_what_cannot_score_the_task_is_an_error(name: str, kind: str, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        metric_for(name, kind, rows(2)[0])


def test_a_function_gets_labels_or_probabilities(own: str) -> None:
    y, p = rows(2)
    labels = p.argmax(axis=1)
    cost = np.mean(np.where(y == 1, 5 * (labels != 1), labels != 0))
    metric = metric_for(f"-{own}:cost", "binary", y)
    assert metric(y, p) == pytest.approx(cost)
    assert not metric.goal.greater_is_better
    shapes = metric_for(f"+{own}:shapes", "binary", y)
    assert shapes(y, p) == 1
    assert shapes(y, p, np.full(len(y), 0.5)) == 1 + 5 * len(y)
    assert shapes(*rows(3)) == 2
    assert shapes(np.array([0.5, 1.5]), np.array([0.5, 1.5])) == 1
    assert shapes.goal.greater_is_better


def test_a_function_keeps_its_direction(own: str) -> None:
    for goal in (Goal(f"{own}:cost", MINIMIZE), Goal(f"{own}:cost", MAXIMIZE)):
        text = metric_text(goal)
        assert metric_named(text) == metric_of(goal)
        assert metric_of(goal).goal.greater_is_better == goal.greater_is_better
        assert metric_of(goal).name == goal.name


def test_the_bootstrap_takes_functions(own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "MIN_DRAWS", 100)
    y, p = rows(2, 200)
    metric = metric_for(f"-{own}:cost", "binary", y)
    found = bootstrap.score_interval(metric, y, p)
    assert found.low < found.value < found.high
    better = 0.5 * p + 0.5 * np.eye(2)[y]
    assert bootstrap.paired_gain(metric, y, better, p).value > 0
