from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pipelines.models import FamilyOptions, baselines
from pipelines.models.baselines import Ridge, Trivial
from pipelines.table.data import Task
from pipelines.table.scores.metrics import default_metric
from serving.features import Matrix
from serving.members import linear_design, load_member
from tests.folds import KINDS, make_fold


@pytest.mark.parametrize("kind", KINDS)
def test_the_trivial_answer_is_the_mean_or_the_class_shares(kind: str) -> None:
    fold = make_fold(kind)
    model = Trivial(fold, FamilyOptions(default_metric(kind), 1)).start({}, 0)
    model.train(1)
    prediction = model.predict(fold.valid)
    if kind == "regression":
        np.testing.assert_allclose(prediction, np.mean(fold.y_train.astype(float)))
    else:
        shares = np.bincount(fold.y_train.astype(int)) / len(fold.train)
        np.testing.assert_allclose(prediction, np.tile(shares, (len(fold.valid), 1)))


def test_the_linear_model_is_the_regression_on_the_design_that_serving_makes() -> None:
    fold = make_fold("binary")
    model = Ridge(fold, FamilyOptions(default_metric("binary"), 1)).start({}, 0)
    model.train(1)
    weights = model._done().member.weights  # type: ignore[attr-defined]
    design = linear_design(
        fold.train, weights.center, weights.scale, fold.cardinalities, weights.clip
    )
    expected = (
        LogisticRegression(C=1.0, max_iter=100).fit(design, fold.y_train).predict_proba(design)
    )
    np.testing.assert_allclose(model.predict(fold.train), expected, atol=1e-3)


def test_a_class_without_training_rows_gets_almost_no_probability() -> None:
    fold = make_fold("multiclass")
    for kept in ((0, 2), (0, 1, 3)):
        rows = np.flatnonzero(np.isin(fold.y_train, kept))
        less = replace(fold, train=fold.train.take(rows), y_train=fold.y_train[rows])
        model = Ridge(less, FamilyOptions(default_metric("multiclass"), 1)).start({}, 0)
        model.train(1)
        prediction = model.predict(fold.valid)
        assert prediction.shape == (len(fold.valid), 4)
        assert prediction[:, [c for c in range(4) if c not in kept]].max() < 1e-6


def test_cost_is_bounded_in_rows_and_levels(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(baselines, "_ROWS", 50)
    monkeypatch.setattr(baselines, "_ONE_HOT_COLUMNS", 10)
    monkeypatch.setattr(baselines, "_CELLS", 100)  # predicts in slices
    fold = make_fold("multiclass")
    model = Ridge(fold, FamilyOptions(default_metric("multiclass"), 1)).start({}, 0)
    model.train(1)
    coefficients = model._done().member.weights.coefficients  # type: ignore[attr-defined]
    p = fold.train.numeric.shape[1]
    assert np.count_nonzero(np.any(coefficients[:, 2 * p :] != 0, axis=0)) <= 10
    model.export(tmp_path / "member")
    np.testing.assert_allclose(
        load_member(tmp_path / "member").predict(fold.valid), model.predict(fold.valid), atol=1e-12
    )


def test_a_sample_holds_every_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "_ROWS", 5)
    fold = make_fold("multiclass")
    y = np.zeros(len(fold.train), dtype=np.int64)
    y[-3:] = (1, 2, 3)
    rows, labels, weights = baselines._sample(
        replace(fold, y_train=y, weight_train=(y + 1).astype(np.float64)), seed=0
    )
    assert set(labels) == {0, 1, 2, 3}
    assert len(rows) == len(labels) <= 9
    assert weights is not None
    assert weights.tolist() == (labels + 1.0).tolist()


def test_a_table_of_one_kind_of_columns_only(tmp_path: Path) -> None:
    fold = make_fold("binary")
    for keep_numeric in (True, False):
        parts = [
            Matrix(
                m.numeric if keep_numeric else m.numeric[:, :0],
                m.categorical[:, :0] if keep_numeric else m.categorical,
            )
            for m in (fold.train, fold.valid)
        ]
        cardinalities = () if keep_numeric else fold.cardinalities
        less = replace(fold, train=parts[0], valid=parts[1], cardinalities=cardinalities)
        model = Ridge(less, FamilyOptions(default_metric("binary"), 1)).start({}, 0)
        model.train(1)
        assert model.predict(parts[1]).shape == (len(fold.valid), 2)


def test_resume_fits_again(tmp_path: Path) -> None:
    fold = make_fold("regression")
    data = Ridge(fold, FamilyOptions(default_metric("regression"), 1))
    model = data.start({}, 4)
    model.train(1)
    model.save(tmp_path / "checkpoint")
    assert np.array_equal(
        data.resume({}, 4, tmp_path / "checkpoint").predict(fold.valid), model.predict(fold.valid)
    )
    assert Task("regression", 0) == fold.task
