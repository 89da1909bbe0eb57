"""Model families: what a worker trains, one file each, behind the two protocols here.

The state of a `Trainable` after a leg is a function of parameters, data, seed and the rungs passed
(each leg is seeded from (seed, start)), so a trial continues exactly where it stood, in another
process as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from hpo.space.parameters import Params
from pipelines.models.catalog import (
    ALL,
    BASELINES,
    FAMILIES,
    FIDELITIES,
    PERCENT_OF_ROWS,
    Budget,
    Settings,
    canonical,
    check_space,
    family,
    has_rate,
    knows,
    limits,
    main_name,
    name_mistakes,
    resolve,
    rounds,
    scaled,
    settings,
)
from pipelines.models.errors import CheckpointError, TrainingError
from pipelines.table.data import Fold
from pipelines.table.metrics import Metric
from serving.features import Matrix

__all__ = [
    "ALL",
    "BASELINES",
    "FAMILIES",
    "FIDELITIES",
    "PERCENT_OF_ROWS",
    "Budget",
    "CheckpointError",
    "Family",
    "Settings",
    "Trainable",
    "TrainingError",
    "canonical",
    "check_space",
    "family",
    "has_rate",
    "knows",
    "limits",
    "main_name",
    "name_mistakes",
    "resolve",
    "rounds",
    "scaled",
    "settings",
]


class Trainable(Protocol):
    """One trial's model on one fold."""

    @property
    def reached(self) -> int:
        """The budget granted so far; early stopping counts as reaching it."""

    @property
    def best(self) -> int:
        """The budget at which the model stood that it predicts with."""

    @property
    def horizon(self) -> int:
        """The budget at which its training ends: the study's largest, or an earlier one."""

    @property
    def stopped(self) -> bool:
        """Whether early stopping fired: `train` does nothing more."""

    def train(self, to: int) -> tuple[tuple[float, float], ...]:
        """Train until the budget `to`; at most 50 points (budget, validation value of the metric) of this leg.

        Raises:
            TrainingError: when the model diverges.
        """

    def predict(self, rows: Matrix) -> npt.NDArray[np.float64]:
        """`(n, k)` probabilities or `(n,)` standardised values at the best budget so far.

        Free for the fold's own validation matrix (the very object), whose predictions are kept.
        """

    def save(self, directory: Path) -> None:
        """Write all that `Family.resume` needs, atomically; what stands at `directory` is replaced."""

    def export(self, directory: Path) -> None:
        """Write what `serving.members.load_member` reads, atomically."""


class Family(Protocol):
    """A kind of model on one fold; a worker keeps it, and with it the data in the library's own form."""

    budget_unit: ClassVar[str]

    def __init__(
        self,
        fold: Fold,
        metric: Metric,
        threads: int,
        *,
        horizon: int | None = None,
        fidelity: str = "rounds",
    ) -> None:
        """`horizon`: the study's largest budget in the unit of this family, for schedules that end there.

        `fidelity`: "scheduled" lets the learning rate of boosting follow `boosting.RateSchedule`;
        of the others the model knows nothing (`catalog.FIDELITIES`).
        """

    def start(self, params: Params, seed: int) -> Trainable:
        """A model that has not been trained yet."""

    def resume(self, params: Params, seed: int, directory: Path) -> Trainable:
        """The model that `Trainable.save` wrote.

        Raises:
            CheckpointError: when it is missing, damaged or of another trial.
        """
