"""What the tree families of scikit-learn share: preprocessing, prediction, files."""

from __future__ import annotations

import zipfile
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.pipeline import Pipeline
from skops.io import dumps
from threadpoolctl import ThreadpoolController

from hpo.arrays import FloatArray
from pipelines.models.boosting import BoostingFamily
from pipelines.models.scikit.columns import Encoded
from serving.features import Matrix
from serving.scikit import parsed, predictions


class ScikitTrees(BoostingFamily):
    """Trees of scikit-learn on one fold.

    A native model is a pair of the encoded rows, which trials share, and the estimator.
    """

    file = "model.skops"
    dtype = "float64"

    @abstractmethod
    def part(self, estimator: Any, size: int) -> Any:
        """A copy of the estimator with its first `size` rounds, as serving needs it."""

    def predict(
        self, model: tuple[Encoded, Any], rows: Matrix, size: int
    ) -> npt.NDArray[np.floating[Any]]:
        """Probabilities or standardised values by the first `size` rounds."""
        encoded, estimator = model
        with self.limited():
            x = encoded.of(rows)
            found = predictions(self.part(estimator, size), x, self.watch.fold.task.n_classes)
        return self.as_boosters(found)

    def dump(self, model: tuple[Encoded, Any], size: int | None) -> bytes:
        """The preprocessing and the trees as a skops file."""
        encoded, estimator = model
        part = estimator if size is None else self.part(estimator, size)
        pipeline = Pipeline([("columns", encoded.columns), ("model", part)])
        return skops_bytes(pipeline)

    def scores(self, model: Any) -> Mapping[str, FloatArray]:
        """None: the next leg predicts the rows again."""
        return {}

    @property
    def serving_facts(self) -> dict[str, Any]:
        """How serving calls the pipeline."""
        return {"n_classes": self.watch.fold.task.n_classes, "dtype": self.dtype}

    def as_boosters(self, found: FloatArray) -> FloatArray:
        """For a binary task the probability of the second class alone, as boosters give it."""
        return found[:, 1] if self.watch.fold.task.kind == "binary" else found

    def limited(self) -> AbstractContextManager[Any]:
        """A context in which scikit-learn takes no more OpenMP threads than it may."""
        limit: AbstractContextManager[Any] = self._controller.limit(
            limits=self.threads, user_api="openmp"
        )
        return limit

    @cached_property
    def _controller(self) -> ThreadpoolController:
        return ThreadpoolController()


def skops_bytes(pipeline: Pipeline) -> bytes:
    """A skops file, compressed, because large forests compress well."""
    return bytes(dumps(pipeline, compression=zipfile.ZIP_DEFLATED, compresslevel=1))


def estimator_of(content: bytes) -> Any:
    """The last step of the pipeline in an undamaged skops file."""
    return parsed(content)["model"]
