"""What is particular to forests; the contract covers the rest."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.models import FamilyOptions, family
from pipelines.models.boosting import Boosting
from pipelines.table.data import Fold
from pipelines.table.scores.metrics import default_metric
from serving.features import Matrix
from tests.folds import make_fold

NAMES = ("random_forest", "extra_trees")


def train(name: str, fold: Fold, *stops: int, **params: float | str) -> Boosting:
    model: Boosting = family(name)(fold, FamilyOptions(default_metric(fold.task.kind), 1)).start(
        params, 3
    )
    for stop in stops:
        model.train(stop)
    return model


@pytest.mark.parametrize("name", NAMES)
def test_legs_grow_the_trees_of_a_forest_that_is_trained_at_once(name: str) -> None:
    rows = make_fold("regression").train
    at_once = train(name, make_fold("regression"), 30, max_features=0.5)
    in_legs = train(name, make_fold("regression"), 8, 30, max_features=0.5)
    assert in_legs.best == 30
    np.testing.assert_array_equal(at_once.predict(rows), in_legs.predict(rows))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("encoding", ["ordinal", "target"])
def test_a_class_without_training_rows_gets_no_probability(name: str, encoding: str) -> None:
    fold = make_fold("multiclass")
    y = np.where(fold.y_train == 1, 2, fold.y_train)
    model = train(name, replace(fold, y_train=y), 10, encoding=encoding)
    for rows in (fold.valid, make_fold("multiclass").train):
        found = model.predict(rows)
        assert found.shape[1] == 4
        assert (found[:, 1] == 0).all()


def test_targets_are_encoded_out_of_fold() -> None:
    """With levels that say nothing, a mean that contains the row's own target would say all."""
    rng = np.random.default_rng(0)
    fold = make_fold("regression", 900)
    n = len(fold.train)
    codes = np.tile(np.arange(n // 2, dtype=np.int32).repeat(2)[:, None], (1, 3))
    noise = replace(
        fold,
        train=Matrix(np.ones((n, 1)), codes),
        valid=Matrix(np.ones((300, 1)), codes[:300]),
        y_train=rng.normal(size=n),
        cardinalities=(n,) * 3,
    )
    model = train("random_forest", noise, 10, encoding="target", min_samples_leaf=20)
    assert np.corrcoef(model.predict(noise.train), noise.y_train)[0, 1] < 0.9
    assert model.predict(noise.valid).std() < 0.5
