"""Inference with CatBoost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from catboost import CatBoost, FeaturesData, Pool

from serving.features import Matrix
from serving.values import FloatArray


@dataclass(frozen=True)
class CatBoostMember:
    """A CatBoost model; one of a loss for positive values predicts their logarithms."""

    model: Any
    kind: str
    logarithmic: bool

    def predict(self, rows: Matrix) -> FloatArray:
        """`(n, k)` probabilities, or `(n,)` standardised values."""
        kind = "RawFormulaVal" if self.kind == "regression" else "Probability"
        found = self.model.predict(Pool(features(rows)), prediction_type=kind)
        values = np.asarray(found, dtype=np.float64)
        return np.exp(values) if self.logarithmic else values


def features(rows: Matrix) -> FeaturesData:
    """Numbers, and codes as CatBoost's strings; an unknown level is a level of its own."""
    p = rows.numeric.shape[1]
    dense = rows.dense(np.float32)
    codes = rows.categorical
    names = np.array([str(code).encode() for code in range(-1, codes.max(initial=-1) + 1)], object)
    return FeaturesData(
        num_feature_data=np.ascontiguousarray(dense[:, :p]) if p else None,
        cat_feature_data=names[codes + 1] if codes.shape[1] else None,
    )


def load(path: Path, kind: str, logarithmic: bool) -> CatBoostMember:
    """Load the model of an undamaged file."""
    return CatBoostMember(CatBoost().load_model(str(path), format="cbm"), kind, logarithmic)
