"""Losses of a regression, and the metrics that fit them."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from hpo.errors import DataError, ParameterError
from pipelines.table.data import prepare
from pipelines.table.scores.losses import Loss
from pipelines.table.scores.metrics import evaluate
from pipelines.table.scores.named import metric_for, metric_named

REFERENCE = {
    "pinball:0.9": lambda y, p, w: sk.mean_pinball_loss(y, p, alpha=0.9, sample_weight=w),
    "poisson_deviance": lambda y, p, w: sk.mean_poisson_deviance(y, p, sample_weight=w),
    "gamma_deviance": lambda y, p, w: sk.mean_gamma_deviance(y, p, sample_weight=w),
    "tweedie_deviance:1.3": lambda y, p, w: sk.mean_tweedie_deviance(
        y, p, power=1.3, sample_weight=w
    ),
}


@pytest.mark.parametrize("name", REFERENCE)
def test_metrics_agree_with_scikit_learn(name: str) -> None:
    rng = np.random.default_rng(0)
    p, w = rng.gamma(2.0, size=80), rng.gamma(1.0, size=80)
    y = rng.gamma(2.0, size=80)
    if "gamma" not in name:
        y[:9] = 0.0
    metric = metric_named(name)
    for weights in (None, w):
        assert metric(y, p, weights) == pytest.approx(REFERENCE[name](y, p, weights), rel=1e-9)
    assert metric(10 * y, 10 * p) == pytest.approx(10**metric.power * metric(y, p))
    assert evaluate("regression", y, p, own=[metric])[name] == metric(y, p)


@pytest.mark.parametrize(
    ("text", "metric", "shown"),
    [
        ("quantile:0.9", "pinball:0.9", "quantile:0.9"),
        ("quantile:.25", "pinball:0.25", "quantile:0.25"),
        ("poisson", "poisson_deviance", "poisson"),
        ("tweedie", "tweedie_deviance:1.5", "tweedie:1.5"),
        ("tweedie:1.2", "tweedie_deviance:1.2", "tweedie:1.2"),
        ("gamma", "gamma_deviance", "gamma"),
        ("huber", "mae", "huber"),
    ],
)
def test_a_loss_has_a_metric(text: str, metric: str, shown: str) -> None:
    loss = Loss.parse(text)
    assert (loss.metric, str(loss)) == (metric, shown)
    assert Loss.parse(str(loss)) == loss
    assert metric_for(loss.metric, "regression").name == metric


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "poison",
            "unknown loss 'poison', did you mean 'poisson'.*; losses: quantile",
        ),
        ("quantile", "needs a quantile between 0 and 1"),
        ("quantile:1.5", "needs a quantile between 0 and 1"),
        ("tweedie:2", "needs a power between 1 and 2"),
        ("huber:3", "takes no value; write huber"),
    ],
)
def test_an_impossible_loss_is_refused(text: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Loss.parse(text)


@pytest.mark.parametrize(
    ("loss", "first", "message"),
    [
        ("poisson", -1.0, "needs targets that are 0 or greater, but 1 of 60 .* smallest is -1"),
        ("tweedie:1.5", -1.0, "needs targets that are 0 or greater"),
        ("gamma", 0.0, "needs targets that are greater than 0, but 1 of 60"),
    ],
)
def test_targets_that_a_loss_forbids_are_refused(loss: str, first: float, message: str) -> None:
    frame = pd.DataFrame({"x": np.arange(60) % 7, "y": [first, *np.linspace(1, 9, 59)]})
    with pytest.raises(DataError, match=message):
        prepare(frame, "y", loss=loss)
    prepared = prepare(frame, "y", loss="quantile:0.9")
    assert prepared.task.loss == "quantile:0.9"


def test_a_loss_is_for_numbers() -> None:
    frame = pd.DataFrame({"x": np.arange(60) % 7, "y": ["a", "b"] * 30})
    with pytest.raises(ParameterError, match="loss='huber' is for numbers, but the task is binary"):
        prepare(frame, "y", loss="huber")


def test_positive_targets_are_not_centred() -> None:
    frame = pd.DataFrame({"x": np.arange(60) % 7, "y": np.linspace(1, 9, 60)})
    assert prepare(frame, "y", loss="gamma").target.mean == 0.0
    assert (prepare(frame, "y", loss="gamma").folds[0].y_train > 0).all()
    assert prepare(frame, "y", loss="huber").target.mean != 0.0
