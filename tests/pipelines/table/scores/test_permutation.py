"""What a column is worth to a model."""

import numpy as np
import pandas as pd
import pytest

from pipelines.table.scores import permutation
from pipelines.table.scores.metrics import METRICS
from pipelines.table.scores.permutation import permuted
from serving.columns import CategoricalColumn, DateColumn, NumericColumn
from serving.features import FeatureEncoder, Matrix, TargetEncoder
from serving.predictor import Predictor


class Sum:
    """Adds a numeric column, the parts of a date and a code."""

    def predict(self, rows: Matrix) -> np.ndarray:
        return 3 * rows.numeric[:, 0] + rows.numeric[:, 2] + rows.categorical[:, 0]


COLUMNS = (
    NumericColumn("a"),
    NumericColumn("unused"),
    CategoricalColumn("c", ("0", "1")),
    DateColumn("d", "ISO8601", ("month", "day")),
)
PREDICTOR = Predictor(FeatureEncoder(COLUMNS), TargetEncoder("regression"), (Sum(),))


def rows(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 365, n), unit="D")
    frame = pd.DataFrame({"unused": rng.normal(size=n), "d": days, "c": rng.choice(["0", "1"], n)})
    return frame.assign(a=rng.normal(size=n), more="not read")


def test_what_the_model_relies_on_stands_first() -> None:
    frame = rows(500)
    found = permuted(PREDICTOR, frame, PREDICTOR.predict_raw(frame), METRICS["rmse"], 0)
    assert found is not None
    losses = dict(found.losses)
    assert [name for name, _ in found.losses] == ["d", "a", "c", "unused"]
    assert losses["unused"] == 0.0
    assert losses["a"] == pytest.approx(
        3 * np.sqrt(2), rel=0.1
    )  # the difference of two values of deviation 3
    assert found == permuted(PREDICTOR, frame, PREDICTOR.predict_raw(frame), METRICS["rmse"], 0)


def test_the_cost_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = rows(3_000)
    y = PREDICTOR.predict_raw(frame)
    for most, expected in ((30_000, 2_000), (4_000, 1_000), (100, 100)):
        monkeypatch.setattr(permutation, "MAX_PREDICTIONS", most)
        found = permuted(PREDICTOR, frame, y, METRICS["rmse"], 0)
        assert found is not None
        assert found.rows == expected
    monkeypatch.setattr(permutation, "MAX_COLUMNS", 3)
    assert permuted(PREDICTOR, frame, y, METRICS["rmse"], 0) is None


def test_a_metric_that_the_rows_do_not_define_gives_none() -> None:
    frame = rows(50)
    assert permuted(PREDICTOR, frame, np.zeros(50), METRICS["r2"], 0) is None
