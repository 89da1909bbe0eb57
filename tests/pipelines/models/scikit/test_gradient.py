"""What is particular to histogram gradient boosting; the contract covers the rest."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.models import FamilyOptions, family
from pipelines.models.boosting import Boosting
from pipelines.table.data import Fold
from pipelines.table.scores.metrics import default_metric
from serving.features import Matrix
from serving.scikit import parsed
from tests.folds import KINDS, make_fold


def train(fold: Fold, rounds: int, **params: float) -> Boosting:
    made = family("hist_gradient_boosting")(fold, FamilyOptions(default_metric(fold.task.kind), 1))
    model: Boosting = made.start({"max_leaf_nodes": 5, **params}, 3)
    model.train(rounds)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_the_scored_predictions_are_those_of_the_model_at_its_best_round(kind: str) -> None:
    fold = replace(make_fold(kind), fixed=True)  # so that the best round is the last one
    model = train(fold, 120)  # grown in three parts
    assert model.best == 120
    again = Matrix(fold.valid.numeric, fold.valid.categorical)
    np.testing.assert_allclose(model.predict(fold.valid), model.predict(again), rtol=0, atol=1e-12)


def test_parts_make_no_difference_to_the_trees() -> None:
    fold = replace(make_fold("regression"), fixed=True)
    at_once, in_legs = train(fold, 70, max_features=0.5), train(fold, 20, max_features=0.5)
    in_legs.train(70)
    rows = make_fold("regression").train
    np.testing.assert_allclose(at_once.predict(rows), in_legs.predict(rows), rtol=0, atol=1e-9)


def test_a_class_without_training_rows_gets_no_probability() -> None:
    fold = make_fold("multiclass")
    y = np.where(fold.y_train == 1, 2, fold.y_train)
    found = train(replace(fold, y_train=y), 10).predict(make_fold("multiclass").train)
    assert found.shape[1] == 4
    assert (found[:, 1] == 0).all()


def test_more_levels_than_bins_are_trained_and_unseen_ones_predicted() -> None:
    rng = np.random.default_rng(0)
    fold = make_fold("binary", 900)
    codes = rng.integers(0, 400, (600, 3)).astype(np.int32)
    rows = Matrix(fold.train.numeric, codes)
    wide = replace(fold, train=rows, cardinalities=(1000, 1000, 1000))
    unseen = Matrix(fold.valid.numeric, np.full((300, 3), 999, np.int32))
    assert np.isfinite(train(wide, 5).predict(unseen)).all()


def test_a_file_with_another_type_is_refused() -> None:
    from skops.io import dumps

    with pytest.raises(ValueError, match="holds .*, which this project does not trust"):
        parsed(dumps(np.random.default_rng))
