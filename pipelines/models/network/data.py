"""A fold as the network reads it: preprocessed once, on the device."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hpo.arrays import FloatArray
from pipelines.models.network.settings import Hyperparameters
from pipelines.table.data import Fold
from serving import network as net
from serving.features import Matrix

FITTED_ROWS = 200_000
FREQUENCIES = 16


def fit_preprocessing(rows: Matrix, cardinalities: tuple[int, ...]) -> net.Preprocessing:
    """The medians, scales and known levels of the training rows.

    The scale is 1 / interquartile range, else 2 / range, else 0, as in RealMLP. For long tables it
    is computed on a regular subset of about `FITTED_ROWS` rows.
    """
    numeric = rows.numeric
    present = [column[~np.isnan(column)] for column in numeric.T]
    medians = np.array([np.median(column) if len(column) else 0.0 for column in present])
    poor = [not _is_rich(column) for column in numeric.T]
    order = np.argsort(poor, kind="stable").astype(np.int64)
    unscaled = net.Preprocessing(
        order=order,
        medians=medians[order],
        indicators=np.flatnonzero(np.isnan(numeric[:, order]).any(axis=0)).astype(np.int64),
        tables=tuple(_known(rows.categorical[:, j], n) for j, n in enumerate(cardinalities)),
        centre=np.zeros(0),
        scale=np.zeros(0),
    )
    stride = -(-len(numeric) // FITTED_ROWS)
    raw = unscaled.raw(numeric[::stride], rows.categorical[::stride])
    low, centre, high = np.quantile(raw, [0.25, 0.5, 0.75], axis=0)
    spread = np.where(high > low, high - low, 0.5 * np.ptp(raw, axis=0))
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    return replace(unscaled, centre=centre, scale=scale)


def _is_rich(column: FloatArray) -> bool:
    """Whether a numeric column has more than two values, so that an embedding is useful."""
    return len(np.unique(column[~np.isnan(column)])) > 2


def _known(codes: npt.NDArray[np.int32], cardinality: int) -> npt.NDArray[np.int64]:
    """A table from each code to its rank among the codes of the training rows; 0 if unseen."""
    seen = np.bincount(codes[codes >= 0], minlength=cardinality) > 0
    return np.where(seen, np.cumsum(seen), 0).astype(np.int64)


@dataclass(frozen=True)
class Data:
    """One fold on the device, preprocessed once for all trials of a worker.

    Attributes:
        preprocessing: What is fitted to the training rows, and served with the model.
        dense: `(n, d)` numbers of the training rows.
        lookup: `(n, e)` indices of the embedded categories.
        target: `(n,)` classes or standardised values.
        weight: `(n,)` weights, 1 on average; None for equal ones.
        valid_dense: As `dense`, of the validation rows.
        valid_lookup: As `lookup`, of the validation rows.
        n_embedded: How many of the first columns of `dense` get a numeric embedding.
        n_outputs: The number of classes; 1 for a regression.
        bounds: The smallest and the largest target of a regression, which limit predictions.
    """

    preprocessing: net.Preprocessing
    dense: Tensor
    lookup: Tensor
    target: Tensor
    weight: Tensor | None
    valid_dense: Tensor
    valid_lookup: Tensor
    n_embedded: int
    n_outputs: int
    bounds: tuple[float, float] | None

    @classmethod
    def of(cls, fold: Fold, device: torch.device) -> Data:
        """Preprocess `fold` and put it on `device`."""
        preprocessing = fit_preprocessing(fold.train, fold.cardinalities)
        dense, lookup = preprocessing.transform(fold.train.numeric, fold.train.categorical)
        valid_dense, valid_lookup = preprocessing.transform(
            fold.valid.numeric, fold.valid.categorical
        )
        regression = fold.task.kind == "regression"
        y = np.array(fold.y_train, dtype=np.float32 if regression else np.int64)  # not read-only
        weight = None
        if fold.training_weight is not None:
            weight = torch.tensor(fold.training_weight, dtype=torch.float32, device=device)
        return cls(
            preprocessing=preprocessing,
            dense=dense.to(device),
            lookup=lookup.to(device),
            target=torch.from_numpy(y).to(device),
            weight=weight,
            valid_dense=valid_dense.to(device),
            valid_lookup=valid_lookup.to(device),
            n_embedded=sum(_is_rich(column) for column in fold.train.numeric.T),
            n_outputs=1 if regression else fold.task.n_classes,
            bounds=(float(y.min()), float(y.max())) if regression else None,
        )

    def architecture(self, settings: Hyperparameters) -> net.Architecture:
        """The architecture of `settings` for this table."""
        piecewise = settings.numeric_embedding == "piecewise"
        return net.Architecture(
            n_dense=self.dense.shape[1],
            n_embedded=self.n_embedded,
            levels=self.preprocessing.levels,
            n_outputs=self.n_outputs,
            layers=settings.layers,
            width=settings.width,
            activation=settings.activation,
            numeric_embedding=settings.numeric_embedding,
            frequencies=settings.bins if piecewise else FREQUENCIES,
            scaling=settings.parametrization == "ntk",
            networks=settings.networks,
        )
