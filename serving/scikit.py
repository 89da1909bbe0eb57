"""Inference with scikit-learn estimators, which skops stores without pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from skops.io.exceptions import UntrustedTypesFoundException

from serving.features import Matrix
from serving.trust import TYPES, belongs, trusted_modules, way_out
from serving.values import FloatArray


@dataclass(frozen=True)
class Prior:
    """Probabilities of the classes `(k,)` that count as much as `weight` of the whole.

    So that no class is impossible because none of a few neighbours is of it.
    """

    shares: Sequence[float]
    weight: float

    def shrunk(self, probabilities: FloatArray) -> FloatArray:
        """Probabilities `(n, k)`, shrunk."""
        return (1 - self.weight) * probabilities + self.weight * np.asarray(self.shares)


@dataclass(frozen=True)
class ScikitMember:
    """A pipeline from dense rows (see `Matrix.dense`) to predictions.

    Attributes:
        estimator: a pipeline of scikit-learn.
        n_classes: of the task; 0 for a regression.
        dtype: of the dense rows.
        prior: what its probabilities are shrunk towards; None for nothing.
    """

    estimator: Any
    n_classes: int
    dtype: str
    prior: Prior | None = None

    def predict(self, rows: Matrix) -> FloatArray:
        """`(n, k)` probabilities, or `(n,)` standardised values."""
        found = predictions(self.estimator, rows.dense(self.dtype), self.n_classes)
        return found if self.prior is None else self.prior.shrunk(found)


def predictions(estimator: Any, x: Any, n_classes: int) -> FloatArray:
    """Of dense or sparse rows: probabilities, 0 for a class without training rows, or values."""
    if not n_classes:
        return np.asarray(estimator.predict(x), dtype=np.float64)
    probabilities = np.zeros((x.shape[0], n_classes))
    probabilities[:, estimator.classes_] = estimator.predict_proba(x)
    return probabilities


def parsed(content: bytes) -> Any:
    """The estimator of a skops file.

    Raises:
        ValueError: if it holds a type that is not trusted.
    """
    try:
        return skops.io.loads(content, trusted=[*TYPES])
    except UntrustedTypesFoundException as error:
        refused = untrusted(content)
        if refused:
            raise ValueError(
                f"the skops file holds {', '.join(refused)}, which this project does not trust; "
                f"{way_out(refused[0])}"
            ) from error
    found = skops.io.get_untrusted_types(data=content)
    return skops.io.loads(content, trusted=found)


def untrusted(content: bytes) -> list[str]:
    """The types in a skops file that neither skops, nor we, nor the user trusts."""
    own, modules = {*TYPES}, trusted_modules()
    found = skops.io.get_untrusted_types(data=content)
    return sorted(name for name in found if name not in own and not belongs(name, modules))


def load(path: Path, manifest: Mapping[str, Any]) -> ScikitMember:
    """Load the pipeline of a skops file that `member.json` describes.

    Raises:
        ValueError: if it holds a type that is not trusted.
    """
    prior = manifest.get("prior")
    return ScikitMember(
        parsed(path.read_bytes()),
        int(manifest["n_classes"]),
        str(manifest["dtype"]),
        None if prior is None else Prior(**prior),
    )
