"""A raw table, a linear model that needs no model library, and its use in other processes."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
from mlflow import MlflowClient

from pipelines.registry import versions as registry
from pipelines.registry.gate import HeldOutScore
from pipelines.registry.logged import (
    LoggedWinner,
)
from pipelines.table.scores.metrics import METRICS
from serving.columns import BooleanColumn, CategoricalColumn, Column, DateColumn, NumericColumn
from serving.features import FeatureEncoder, TargetEncoder
from serving.members import LinearWeights, seal
from serving.predictor import Predictor

HEIGHT = 'height [cm] <"x">, {y}'
COLUMNS: tuple[Column, ...] = (
    NumericColumn("age"),
    NumericColumn(HEIGHT),
    CategoricalColumn("job", ("clerk", "cook"), other=True, missing=True),
    CategoricalColumn("zone", ("1", "2", "3")),
    BooleanColumn("member"),
    DateColumn("since", "ISO8601", ("year", "month", "days")),
)
FEATURES = FeatureEncoder(COLUMNS)
INCOME = TargetEncoder("binary", ("<=50K", ">50K"))
SCORE = HeldOutScore(
    METRICS["roc_auc"].goal, 0.8125, 0.5, data="d1", split="random, 0.2, seed 0", rows=1000
)


def raw_table(n: int = 40) -> pd.DataFrame:
    """Rows as `read_csv` returns them, with missing values and a column that no model reads."""
    rng = np.random.default_rng(7)
    days = pd.to_datetime("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), unit="D")
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, n),
            "id": np.arange(n),
            HEIGHT: rng.normal(170, 10, n),
            "job": rng.choice(["clerk", "cook", "smith"], n),
            "zone": rng.integers(1, 4, n),
            "member": rng.choice([True, False], n),
            "since": days.strftime("%Y-%m-%d"),
        }
    )
    lost = [HEIGHT, "job", "since"]
    return frame.assign(**{name: frame[name].mask(frame["id"].between(3, 5)) for name in lost})


def write_predictor(directory: Path, target: TargetEncoder = INCOME) -> Path:
    """A linear model of known weights; it needs no model library."""
    rng = np.random.default_rng(1)
    p, k = len(FEATURES.numeric_names), sum(FEATURES.cardinalities)
    m = len(target.classes) if target.kind == "multiclass" else 1
    weights = LinearWeights(
        center=np.array([50.0, 170.0, 0.5, 2021.0, 6.0, 18700.0]),
        scale=np.array([20.0, 10.0, 0.5, 1.0, 4.0, 300.0]),
        cardinalities=FEATURES.cardinalities,
        coefficients=rng.normal(size=(m, 2 * p + k)),
        intercept=rng.normal(size=m),
    )
    member = directory.with_name(f"{directory.name}-member")
    member.mkdir(parents=True)
    (member / "weights.json").write_text(json.dumps(weights.to_dict()))
    seal(member, {"family": "ridge", "kind": target.kind, "weights": "weights.json"})
    Predictor(FEATURES, target, ()).save(directory, [member])
    return directory


LOAD = """
import sys
import mlflow.pyfunc, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
frame = pandas.read_json(sys.argv[2], orient="table")
model.predict(frame).to_json(sys.argv[3], orient="table", double_precision=15)
import serving
print(serving.__file__)
"""


def load_elsewhere(
    python: Path, uri: str, directory: Path, path: str = "", before: str = ""
) -> subprocess.CompletedProcess[str]:
    """Predict in another process, which runs in `directory` and does not see this project."""
    raw_table().to_json(directory / "rows.json", orient="table", double_precision=15)
    environment = {**os.environ, "PYTHONPATH": path}
    command = [
        str(python),
        "-c",
        before + LOAD,
        uri,
        str(directory / "rows.json"),
        str(directory / "out.json"),
    ]
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )


def assert_predictions(directory: Path, predictor: Path) -> None:
    found = pd.read_json(directory / "out.json", orient="table")
    frame = pd.read_json(directory / "rows.json", orient="table")
    expected = Predictor.load(predictor).predict(frame)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, check_names=False, rtol=1e-6)


def register(client: MlflowClient, winner: LoggedWinner, name: str) -> registry.Registered:
    origin = registry.Origin("study-run", "trial-run", "lightgbm", SCORE)
    return registry.register_winner(client, winner, name, origin, "# The card")
