"""FLAML's zero-shot default of LightGBM: its portfolio's configuration for the nearest table.

FLAML also suggests the number of trees, which is the budget here, and the number of bins, which is
not searched; both are left out. Values outside the bounds are moved to the bounds.
"""

import math
from collections.abc import Generator, Mapping

from flaml.default.suggest import suggest_config  # type: ignore[import-not-found]

from benchmarks.warmstart.asked import Given
from hpo.space import Params, SearchSpace, Value

NAMES = {
    "num_leaves": "num_leaves",
    "min_child_samples": "min_data_in_leaf",
    "learning_rate": "learning_rate",
    "colsample_bytree": "feature_fraction",
    "reg_alpha": "lambda_l1",
    "reg_lambda": "lambda_l2",
}
"""Our parameters by their names in FLAML."""


def search(space: SearchSpace, given: Given) -> Generator[Params | None, float | None]:
    """The suggestion for the table and nothing more; other parameters are those of the default."""
    features = _features(given.features)
    config = suggest_config(
        _task(given.features), None, None, "lgbm", k=1, meta_feature_fn=lambda *_, **__: features
    )
    suggested = config[0]["hyperparameters"]
    named: dict[str, Value] = {
        NAMES[name]: value for name, value in suggested.items() if name in NAMES
    }
    yield space.decode(space.encode({**given.first[0], **named}))
    while True:
        yield None


def _task(features: Mapping[str, float]) -> str:
    if features["task.regression"]:
        return "regression"
    return "multiclass" if features["task.multiclass"] else "binary"


def _features(features: Mapping[str, float]) -> list[float]:
    """The four features that FLAML uses: rows, columns, classes, share of numeric columns."""
    classes = 0.0 if features["task.regression"] else math.exp(features["task.log_classes"])
    rows, columns = math.exp(features["size.log_rows"]), math.exp(features["size.log_columns"])
    return [rows, columns, classes, 1.0 - features["columns.categorical_share"]]
