"""What is particular to `svm` and `knn`; the contract covers the rest."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hpo.errors import ParameterError
from pipelines.models import FamilyOptions, family, single_family
from pipelines.models.scikit import single
from pipelines.objectives.model import check_trainable
from pipelines.table.scores.metrics import default_metric
from tests.folds import make_fold


def trained(name: str, **params: Any) -> single.Fit:
    fold = make_fold("multiclass")
    model: single.Fit = family(name)(fold, FamilyOptions(default_metric("multiclass"), 1)).start(
        params, 0
    )
    model.train(1)
    return model


@pytest.mark.parametrize(("name", "rows"), [("svm", 10_000), ("knn", 20_000)])
def test_more_rows_than_a_family_takes_are_sampled_and_that_is_said(name: str, rows: int) -> None:
    chosen = single_family(name)
    assert chosen.max_rows == rows
    assert not [*chosen.notes(rows, "binary")]
    assert [*chosen.notes(rows + 1, "binary")] == [
        f"{name} is trained on {rows:,} of the {rows + 1:,} training rows"
    ]


def test_a_sample_holds_every_class_and_is_the_same_each_time() -> None:
    fold = make_fold("multiclass")
    y = fold.y_train.copy()
    y[y == 3] = 2
    y[5] = 3
    fold = replace(fold, y_train=y, weight_train=np.arange(len(y), dtype=float))
    few, again = (single._at_most(fold, 40) for _ in range(2))
    assert len(few.train) == len(few.y_train) == 40
    assert set(few.y_train) == {0, 1, 2, 3}
    assert few.weight_train is not None
    np.testing.assert_array_equal(few.y_train, y[few.weight_train.astype(int)])
    np.testing.assert_array_equal(few.train.numeric, again.train.numeric)
    assert single._at_most(fold, len(y)) is single._at_most(fold, None) is fold


def test_no_class_is_impossible_for_nearest_neighbours() -> None:
    model = trained("knn", n_neighbors=1)
    found = model.predict(make_fold("multiclass").valid)
    shares = np.bincount(make_fold("multiclass").y_train) / 160
    np.testing.assert_allclose(found.min(axis=0), shares / 2)  # one vote of two
    np.testing.assert_allclose(found.sum(axis=1), 1.0)


def test_a_family_without_weights_is_refused_for_a_table_with_them() -> None:
    weighted: Any = SimpleNamespace(weight=np.ones(3))
    with pytest.raises(ParameterError, match="weight: knn takes no weights of rows; leave weight"):
        check_trainable("lightgbm,knn", weighted)
    check_trainable("svm", weighted)
