"""Model families: each is one file behind the two protocols here, `Family` and `Trainable`.

The state of a `Trainable` after a leg is a function of the parameters, the data, the seed and the
rungs passed (each leg is seeded from (seed, start)). A trial therefore continues exactly where it
stopped, also in another process.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from hpo.space.parameters import Params
from pipelines.files.errors import CheckpointError
from pipelines.models.catalog import (
    ALONE,
    BASELINES,
    CUDA,
    FAMILIES,
    check_device,
    family,
    family_of,
    identity,
    is_model,
    libraries,
    search_model,
    settings,
    single_family,
    worker_modules,
)
from pipelines.models.errors import TrainingError
from pipelines.models.families import SingleFamily
from pipelines.models.legs import Curve, FamilyOptions
from pipelines.models.search import FIDELITIES, PERCENT_OF_ROWS, Budget, SearchModel, Settings
from pipelines.table.data import Fold
from serving.features import Matrix
from warmstart.families import ALL

__all__ = [
    "ALL",
    "ALONE",
    "BASELINES",
    "FAMILIES",
    "FIDELITIES",
    "PERCENT_OF_ROWS",
    "Budget",
    "CUDA",
    "Changeable",
    "CheckpointError",
    "Family",
    "FamilyOptions",
    "SearchModel",
    "Settings",
    "SingleFamily",
    "Trainable",
    "TrainingError",
    "check_device",
    "family",
    "family_of",
    "identity",
    "is_model",
    "libraries",
    "search_model",
    "settings",
    "single_family",
    "worker_modules",
]


class Trainable(Protocol):
    """The model of one trial on one fold."""

    @property
    def reached(self) -> int:
        """The largest budget granted so far; a training that stopped early has reached it too."""

    @property
    def best(self) -> int:
        """The budget of the best state so far, which `predict` and `export` use."""

    @property
    def horizon(self) -> int:
        """The budget at which training ends: the study's largest, or less."""

    @property
    def stopped(self) -> bool:
        """Whether training has ended: `train` does nothing more."""

    def train(self, to: int) -> Curve:
        """Train until the budget `to`.

        Returns:
            At most 50 points (budget, validation metric) of this leg.

        Raises:
            TrainingError: if the model diverges.
        """

    def predict(self, rows: Matrix) -> npt.NDArray[np.float64]:
        """`(n, k)` probabilities or `(n,)` standardised values, at the best budget so far.

        For the fold's own validation matrix (the same object), stored predictions are returned.
        """

    def save(self, directory: Path) -> None:
        """Write a checkpoint for `Family.resume`, atomically; an existing directory is replaced."""

    def export(self, directory: Path) -> None:
        """Write the model for `serving.members.load_member`, atomically."""


@runtime_checkable
class Changeable(Trainable, Protocol):
    """A model whose parameters can change while it trains (`SearchModel.is_changeable`)."""

    def change(self, params: Params) -> None:
        """Go on with other values of parameters from the budget reached; an equal one is kept."""


class Family(Protocol):
    """A kind of model on one fold; a worker reuses it, with the data in the library's own form."""

    budget_unit: ClassVar[str]

    def __init__(self, fold: Fold, options: FamilyOptions) -> None:
        """Prepare the data of a fold, which has the rows to train on and to validate on."""

    def start(self, params: Params, seed: int) -> Trainable:
        """A model that is not trained yet."""

    def resume(self, params: Params, seed: int, directory: Path) -> Trainable:
        """The model that `Trainable.save` wrote.

        Raises:
            CheckpointError: if the checkpoint is missing, damaged or of another trial.
        """
