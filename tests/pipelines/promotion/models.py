"""A store with registered models, which are linear and need no model library."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow import MlflowClient

from pipelines.registry import gate
from pipelines.registry.gate import (
    HeldOutScore,
)
from pipelines.registry.logged import LoggedWinner, log_winner
from pipelines.registry.versions import Origin, register_winner
from pipelines.table.scores.metrics import METRICS
from pipelines.table.source import Source
from serving.columns import CategoricalColumn, Column, NumericColumn
from serving.features import FeatureEncoder, TargetEncoder
from serving.members import LinearMember, LinearWeights, seal
from serving.predictor import Predictor
from tests import stores

NAMES = (f"gate-{i}" for i in itertools.count())
WEIGHTS = {
    "good": (1.0, 0.0),
    "twin": (1.0, 1e-9),
    "fair": (1.0, 0.8),
    "bad": (1.0, 3.0),
    "useless": (0.0, 1.0),
}
SCORE = HeldOutScore(METRICS["roc_auc"].goal, 0.9, 0.5, "d", "s", 500)
YES_NO = TargetEncoder("binary", ("no", "yes"))
X, Z, KIND = (
    NumericColumn("x"),
    NumericColumn("z"),
    CategoricalColumn("kind", ("a", "b"), other=True),
)


def make_table(rows: int, seed: int = 0) -> pd.DataFrame:
    """`x` decides `answer`, `z` does not; of one `kind` the answer is the other way round."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": rng.normal(size=rows), "z": rng.normal(size=rows)})
    frame["kind"] = rng.choice(["a", "b"], rows, p=[0.7, 0.3])
    frame["answer"] = np.where(frame["x"] + rng.normal(0, 0.7, rows) > 0, "yes", "no")
    return frame


def linear(weights: tuple[float, float], columns: tuple[Column, ...] = (X, Z)) -> LinearWeights:
    """A logistic model of the first numeric columns; other columns have no weight."""
    features = FeatureEncoder(columns)
    p = len(features.numeric_names)
    coefficients = np.zeros((1, 2 * p + sum(features.cardinalities)))
    coefficients[0, : min(p, 2)] = np.array(weights)[: min(p, 2)]
    return LinearWeights(np.zeros(p), np.ones(p), features.cardinalities, coefficients, np.zeros(1))


def predictor(
    weights: tuple[float, float],
    columns: tuple[Column, ...] = (X, Z),
    target: TargetEncoder = YES_NO,
) -> Predictor:
    return Predictor(
        FeatureEncoder(columns), target, (LinearMember(linear(weights, columns), target.kind),)
    )


def write(folder: Path, weights: tuple[float, float], columns: tuple[Column, ...] = (X, Z)) -> Path:
    """The same as the folder of a logged model."""
    member = folder.with_name(f"{folder.name}-member")
    member.mkdir(parents=True)
    (member / "weights.json").write_text(json.dumps(linear(weights, columns).to_dict()))
    seal(member, {"family": "ridge", "kind": "binary", "weights": "weights.json"})
    Predictor(FeatureEncoder(columns), YES_NO, ()).save(folder, [member])
    return folder


@dataclass(frozen=True)
class Store:
    """A tracking store with a study of `table` and some logged models by name."""

    client: MlflowClient
    table: Path
    study: str
    score: HeldOutScore
    logged: Mapping[str, LoggedWinner]
    values: Mapping[str, float]

    def register(self, name: str, model: str, **changes: Any) -> int:
        """A new version, and challenger, of a registered model."""
        value = changes.pop("value", self.values[model])
        study = changes.pop("study", self.study)
        score = replace(self.score, value=value, **changes)
        origin = Origin(study, "trial-run", "linear", score)
        return register_winner(self.client, self.logged[model], name, origin).version

    def bare(self, name: str, *tags: Mapping[str, str], **aliases: int) -> None:
        """Versions of the model "good" with these tags, and the aliases of the registered model."""
        self.client.create_registered_model(name)
        for own in tags:
            scored = {
                **replace(self.score, value=self.values["good"]).to_tags(),
                "hpo.study": self.study,
            }
            source = self.logged["good"].uri
            self.client.create_model_version(name, source, self.study, tags={**scored, **own})
        for alias, number in aliases.items():
            self.client.set_registered_model_alias(name, alias, str(number))

    def tags(self, name: str, version: int) -> Mapping[str, str]:
        return dict(self.client.get_model_version(name, str(version)).tags)


def make_store(folder: Path, client: MlflowClient) -> Store:
    table = make_table(2_000)
    place = folder / "answers.csv"
    table.to_csv(place, index=False)
    source = Source(str(place), "answer", seed=3)
    prepared = source.prepare()
    plan = source.plan(prepared)
    study = stores.study(metric="roc_auc", direction="maximize", seed=3, data=plan.to_dict())
    study.close()
    logged, values = {}, {}
    for name, columns in [*((name, (X, Z)) for name in WEIGHTS), ("wider", (X, Z, KIND))]:
        weights = WEIGHTS.get(name, WEIGHTS["good"])
        example = table[[column.name for column in columns]].head()
        logged[name] = log_winner(
            client, study.run_id, write(folder / name, weights, columns), example
        )
        prediction = predictor(weights, columns).predict_raw(prepared.test_frame)
        values[name] = METRICS["roc_auc"](prepared.y_test, prediction)
    score = HeldOutScore(
        METRICS["roc_auc"].goal,
        0.5,
        0.5,
        prepared.digest,
        prepared.rows.digest,
        len(prepared.test_frame),
    )
    return Store(client, place, study.run_id, score, logged, values)


def three_champions(store: Store, name: str) -> None:
    """Versions 1, 2 and 3 were promoted one after the other."""
    replaced = [{gate.REPLACED: number} for number in ("none", "1", "2")]
    store.bare(name, *replaced, champion=3, previous=2, challenger=3)
