"""Trained models as folders: `member.json` and the native files that it names.

`member.json` holds `schema`, `family`, `kind` (binary, multiclass or regression) and `sha256` by
file name. Every file is checked before it is parsed: native parsers trust their input, and a
truncated LightGBM file ends the process. Nothing is unpickled. The other keys depend on the family:

- `trivial`: `prediction`, the class shares (k,) or one standardised value;
- `ridge`: `weights`, the name of a JSON file (see `LinearWeights`);
- `lightgbm`, `xgboost`, `catboost`: `model`, the name of the native file, and `iterations`, the
  number of rounds to predict with (0: all);
- `mlp`: what `serving.network` reads;
- `hist_gradient_boosting`, `random_forest`, `extra_trees`, `linear`, `svm`, `knn`, `estimator`:
  `model`, the name of a skops file; `n_classes`, `dtype` and `prior`, see `serving.scikit`; of an
  `estimator` also its text, as `estimator`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from serving.features import Matrix
from serving.values import FloatArray

SCHEMA = 1
MANIFEST = "member.json"


class Member(Protocol):
    """One trained model."""

    def predict(self, rows: Matrix) -> FloatArray:
        """`(n, k)` probabilities (k = 2 for binary), or `(n,)` standardised values."""
        ...


def seal(directory: Path, description: Mapping[str, Any]) -> None:
    """Write `member.json` with the checksum of every file in the folder.

    Args:
        directory: of the model's files.
        description: `family`, `kind` and the keys of the family.
    """
    files = sorted(path for path in directory.iterdir() if path.is_file() and path.name != MANIFEST)
    manifest = {
        "schema": SCHEMA,
        **description,
        "sha256": {path.name: sha256(path) for path in files},
    }
    (directory / MANIFEST).write_text(
        json.dumps(manifest, indent=1, allow_nan=False), encoding="utf-8"
    )


def sha256(path: Path) -> str:
    """The SHA-256 of a file in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def load_member(directory: Path) -> Member:
    """Load a model.

    Raises:
        ValueError: if files are missing or changed, and for another schema or an unknown family.
    """
    manifest = _checked_manifest(directory)
    family = str(manifest.get("family"))
    if family not in LOADERS:
        raise ValueError(f"{directory}: unknown family {family!r}; known: {', '.join(LOADERS)}")
    return LOADERS[family](directory, manifest)


def _checked_manifest(directory: Path) -> dict[str, Any]:
    path = directory / MANIFEST
    if not path.is_file():
        raise ValueError(f"{directory} is not a model: it has no {MANIFEST}")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if manifest.get("schema") != SCHEMA:
        raise ValueError(
            f"{path} has schema {manifest.get('schema')!r}, this version reads {SCHEMA}; load it "
            "with the version that wrote it"
        )
    for name, expected in manifest["sha256"].items():
        _check_file(directory, name, expected)
    return dict(manifest)


def _check_file(directory: Path, name: str, expected: str) -> None:
    if Path(name).name != name:
        raise ValueError(f"{directory}: {name!r} is not a plain file name")
    path = directory / name
    if not path.is_file():
        raise ValueError(f"{directory} is incomplete: {name} is missing; download the model again")
    if sha256(path) != expected:
        raise ValueError(
            f"{path} is damaged: its SHA-256 is not the recorded one; download the model again"
        )


def _named_file(directory: Path, manifest: Mapping[str, Any], key: str) -> Path:
    name = manifest[key]
    if name not in manifest["sha256"]:
        raise ValueError(f"{directory}: {name!r} has no SHA-256 in {MANIFEST}")
    return directory / str(name)


@dataclass(frozen=True)
class TrivialMember:
    """A constant prediction: class shares, or the mean."""

    prediction: FloatArray

    def predict(self, rows: Matrix) -> FloatArray:
        """The constant for each row."""
        if self.prediction.size == 1:
            return np.full(len(rows), self.prediction[0])
        return np.tile(self.prediction, (len(rows), 1))


@dataclass(frozen=True)
class LinearWeights:
    """The parameters of a linear model with m outputs.

    There are as many outputs as classes for multiclass, and one otherwise.

    Attributes:
        center: `(p,)` of the numeric columns.
        scale: `(p,)` of the numeric columns.
        cardinalities: of the q categorical columns.
        coefficients: `(m, 2p + sum of cardinalities)`.
        intercept: `(m,)`.
        clip: bound on the scaled values; None for no bound.
    """

    center: FloatArray
    scale: FloatArray
    cardinalities: tuple[int, ...]
    coefficients: FloatArray
    intercept: FloatArray
    clip: float | None = None

    def design(self, rows: Matrix) -> FloatArray:
        """The design matrix of these rows, see `linear_design`."""
        return linear_design(rows, self.center, self.scale, self.cardinalities, self.clip)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable form."""
        return {
            "center": self.center.tolist(),
            "scale": self.scale.tolist(),
            "cardinalities": list(self.cardinalities),
            "coefficients": self.coefficients.tolist(),
            "intercept": self.intercept.tolist(),
            "clip": self.clip,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LinearWeights:
        """The inverse of `to_dict`."""
        cardinalities = tuple(int(cardinality) for cardinality in data["cardinalities"])
        intercept = np.asarray(data["intercept"], dtype=np.float64)
        coefficients = np.asarray(data["coefficients"], dtype=np.float64)
        width = 2 * len(data["center"]) + sum(cardinalities)
        return cls(
            center=np.asarray(data["center"], dtype=np.float64),
            scale=np.asarray(data["scale"], dtype=np.float64),
            cardinalities=cardinalities,
            coefficients=coefficients.reshape(len(intercept), width),
            intercept=intercept,
            clip=data.get("clip"),
        )


def linear_design(
    rows: Matrix,
    center: FloatArray,
    scale: FloatArray,
    cardinalities: tuple[int, ...],
    clip: float | None = None,
) -> FloatArray:
    """The design matrix `(n, 2p + sum of cardinalities)` of a linear model.

    It holds the scaled numeric columns with 0 for missing values, an indicator of missing values
    for each of them, and one-hot codes (all 0 where a code is unknown).
    """
    missing = np.isnan(rows.numeric)
    scaled = (rows.numeric - center) / scale
    scaled[missing] = 0.0
    if clip is not None:
        np.clip(scaled, -clip, clip, out=scaled)
    one_hot = np.zeros((len(rows), sum(cardinalities)))
    first = 0
    for column, cardinality in enumerate(cardinalities):
        codes = rows.categorical[:, column]
        known = np.flatnonzero(codes >= 0)
        one_hot[known, first + codes[known]] = 1.0
        first += cardinality
    return np.hstack([scaled, missing.astype(np.float64), one_hot])


@dataclass(frozen=True)
class LinearMember:
    """Logistic, softmax or least-squares regression."""

    weights: LinearWeights
    kind: str

    def predict(self, rows: Matrix) -> FloatArray:
        """`(n, k)` probabilities, or `(n,)` standardised values."""
        scores = self.weights.design(rows) @ self.weights.coefficients.T + self.weights.intercept
        if self.kind == "regression":
            return np.asarray(scores[:, 0])
        if self.kind == "binary":
            scores = np.hstack([np.zeros_like(scores), scores])
        exponential = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(exponential / exponential.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class LightGBMMember:
    """A LightGBM booster."""

    booster: Any
    kind: str
    iterations: int

    def predict(self, rows: Matrix) -> FloatArray:
        """`(n, k)` probabilities, or `(n,)` standardised values."""
        raw = self.booster.predict(rows.dense(), num_iteration=self.iterations or -1)
        return _probabilities(raw, self.kind)


@dataclass(frozen=True)
class XGBoostMember:
    """An XGBoost booster."""

    booster: Any
    kind: str
    iterations: int

    def predict(self, rows: Matrix) -> FloatArray:
        """`(n, k)` probabilities, or `(n,)` standardised values."""
        from xgboost import DMatrix

        types = ["q"] * rows.numeric.shape[1] + ["c"] * rows.categorical.shape[1]
        data = DMatrix(rows.dense(np.float32), feature_types=types, enable_categorical=True)
        raw = self.booster.predict(data, iteration_range=(0, self.iterations))
        return _probabilities(raw, self.kind)


@dataclass(frozen=True)
class NetworkMember:
    """A network of `serving.network`."""

    network: Any

    def predict(self, rows: Matrix) -> FloatArray:
        """`(n, k)` probabilities, or `(n,)` standardised values."""
        return np.asarray(self.network.predict(rows.numeric, rows.categorical), dtype=np.float64)


def _probabilities(raw: Any, kind: str) -> FloatArray:
    """The output of a booster; for a binary task with a column for each class."""
    prediction = np.asarray(raw, dtype=np.float64)
    return np.column_stack([1.0 - prediction, prediction]) if kind == "binary" else prediction


def _load_trivial(directory: Path, manifest: Mapping[str, Any]) -> Member:
    return TrivialMember(np.atleast_1d(np.asarray(manifest["prediction"], dtype=np.float64)))


def _load_ridge(directory: Path, manifest: Mapping[str, Any]) -> Member:
    text = _named_file(directory, manifest, "weights").read_text(encoding="utf-8")
    return LinearMember(LinearWeights.from_dict(json.loads(text)), manifest["kind"])


def _load_lightgbm(directory: Path, manifest: Mapping[str, Any]) -> Member:
    from lightgbm import Booster

    booster = Booster(model_file=str(_named_file(directory, manifest, "model")))
    return LightGBMMember(booster, manifest["kind"], int(manifest["iterations"]))


def _load_xgboost(directory: Path, manifest: Mapping[str, Any]) -> Member:
    from xgboost import Booster

    booster = Booster(model_file=str(_named_file(directory, manifest, "model")))
    return XGBoostMember(booster, manifest["kind"], int(manifest["iterations"]))


def _load_mlp(directory: Path, manifest: Mapping[str, Any]) -> Member:
    from serving import network

    return NetworkMember(network.load(directory))


def _load_catboost(directory: Path, manifest: Mapping[str, Any]) -> Member:
    from serving import catboost

    return catboost.load(
        _named_file(directory, manifest, "model"), manifest["kind"], manifest["logarithmic"]
    )


def _load_scikit(directory: Path, manifest: Mapping[str, Any]) -> Member:
    from serving import scikit

    return scikit.load(_named_file(directory, manifest, "model"), manifest)


LOADERS: Mapping[str, Callable[[Path, Mapping[str, Any]], Member]] = {
    "trivial": _load_trivial,
    "ridge": _load_ridge,
    "lightgbm": _load_lightgbm,
    "xgboost": _load_xgboost,
    "mlp": _load_mlp,
    "catboost": _load_catboost,
    "hist_gradient_boosting": _load_scikit,
    "random_forest": _load_scikit,
    "extra_trees": _load_scikit,
    "linear": _load_scikit,
    "svm": _load_scikit,
    "knn": _load_scikit,
    "estimator": _load_scikit,
}
