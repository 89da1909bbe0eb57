"""Boosted trees of one trial, for every library that grows them.

A leg always continues from what a checkpoint holds: the trees in their serialised form, and the
scores of the rows. A leg that continues in memory is therefore the same as one that continues from
a file in another process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from hpo.arrays import FloatArray
from hpo.space.parameters import Params, Value
from pipelines.models.catalog import single_family
from pipelines.models.checkpoint import array_bytes, array_from_bytes, read_files, write_files
from pipelines.models.families import MAX_RATE, learning_rate
from pipelines.models.legs import Curve, FamilyOptions, Stopping, Watch, checked, leg_seed, run_leg
from pipelines.table.data import Fold
from serving.features import Matrix
from serving.members import MANIFEST
from serving.members import SCHEMA as MEMBER_SCHEMA

Rates: TypeAlias = Callable[[int], float]

# The schedule of learning rates: how fast they fall, and the share of the horizon that bounds the
# first ones.
_POWER = 0.5
_OFFSET = 0.1

_SCHEMA = 3
_SCORES = "scores-"
_VALID = "valid.npy"
_STATE = "state.json"


@dataclass(frozen=True)
class Grower:
    """A native model during a leg.

    Attributes:
        model: The model with the trees of earlier legs.
        boost: Adds the given round (from 1), unless there is nothing to split.
        size: The number of rounds in the model.
        predict: Raw predictions for the validation rows in a new array, `(n,)` or `(n, k)` for
            multiclass.
    """

    model: Any
    boost: Callable[[int], None]
    size: Callable[[], int]
    predict: Callable[[], npt.NDArray[np.floating[Any]]]


@dataclass(frozen=True)
class RateSchedule:
    """Learning rates that fall with the round: few rounds then make a complete small training.

    The rate of round t is proportional to (t + `offset` R) ^ -`power`, where R is the horizon. The
    rates of R rounds add up to those of a constant rate. They depend on the round and the horizon
    only, so legs can be continued.
    """

    horizon: int
    power: float = _POWER
    offset: float = _OFFSET

    def factor(self, after: int) -> float:
        """The factor on the learning rate in round `after` (from 1); constant past the horizon."""
        return float(self._factors[min(after, self.horizon) - 1])

    def rates(self, base: float) -> Rates:
        """The rate of each round where `base` is the constant rate; at most `MAX_RATE` or `base`.

        The limit is the larger of the two.
        """
        return lambda after: min(base * self.factor(after), max(base, MAX_RATE))

    @cached_property
    def _factors(self) -> FloatArray:
        rounds = np.arange(1, self.horizon + 1)
        shape = (rounds + self.offset * self.horizon) ** -self.power
        return np.asarray(shape / shape.mean())


class BoostingFamily(ABC):
    """A boosting library on one fold, with `threads` threads at most.

    A worker reuses it for all trials. The native models that its methods take and return are
    objects of the subclass.
    """

    budget_unit: ClassVar[str] = "rounds"
    name: ClassVar[str]
    file: ClassVar[str]

    def __init__(self, fold: Fold, options: FamilyOptions) -> None:
        self.device = options.device
        self.description = single_family(self.name)
        self.watch = Watch(fold, options.metric)
        self.threads = options.threads
        self.horizon = options.horizon or self.description.budget.max
        scheduled = options.fidelity == "scheduled"
        self.schedule = RateSchedule(self.horizon) if scheduled else None

    def start(self, params: Params, seed: int) -> Boosting:
        """A model without rounds."""
        return Boosting(self, params, seed)

    def resume(self, params: Params, seed: int, directory: Path) -> Boosting:
        """The model that `Boosting.save` wrote for these parameters and this seed.

        Raises:
            CheckpointError: if the checkpoint is missing, damaged or of another trial.
        """
        return Boosting.load(self, params, seed, directory)

    @property
    def n_classes(self) -> dict[str, Value]:
        """The native parameter for the number of classes, which multiclass tasks need."""
        task = self.watch.fold.task
        return {"num_class": task.n_classes} if task.kind == "multiclass" else {}

    @property
    def serving_facts(self) -> dict[str, Any]:
        """More facts that serving needs."""
        return {}

    def stopping(self) -> Stopping:
        """The state of early stopping before the first round."""
        return self.watch.stopping()

    def mean_rate(self, native: Params, rounds: tuple[int, int]) -> float | None:
        """The mean learning rate of the rounds after one and until another; None if constant."""
        rates = self.rates(native)
        if rates is None:
            return None
        return float(np.mean([rates(after) for after in range(rounds[0] + 1, rounds[1] + 1)]))

    def rates(self, native: Params) -> Rates | None:
        """The learning rate of each round; None if it is constant."""
        if self.schedule is None:
            return None
        return self.schedule.rates(learning_rate(self.description, native))

    @abstractmethod
    def grow(
        self, params: Params, seed: int, earlier: Any | None, rounds: tuple[int, int]
    ) -> Grower:
        """A model for a leg, which continues the trees of `earlier`.

        `rounds` are those reached, and those that the leg reaches unless it stops early.
        """

    @abstractmethod
    def predict(self, model: Any, rows: Matrix, size: int) -> npt.NDArray[np.floating[Any]]:
        """Raw predictions by the first `size` rounds: probabilities or standardised values."""

    @abstractmethod
    def dump(self, model: Any, size: int | None) -> bytes:
        """The serialised form of the first `size` rounds, or of all, with every number exact."""

    @abstractmethod
    def scores(self, model: Any) -> Mapping[str, FloatArray]:
        """The sums of all trees for the training and the validation rows, `(n,)` or `(n, k)`.

        The next leg starts from them. The keys are "train" and "valid".
        """

    @abstractmethod
    def parse(self, content: bytes, params: Params, scores: Mapping[str, FloatArray]) -> Any:
        """The model of a serialised form that is undamaged; `scores` may be empty if it is done."""


class Boosting:
    """The boosted trees of one trial."""

    def __init__(self, family: BoostingFamily, params: Params, seed: int) -> None:
        self._family = family
        self._params = dict(params)
        self._seed = seed
        self._stopping: Stopping = family.stopping()
        self._model: Any = None
        self._best_size = 0
        self._valid_prediction: FloatArray | None = None
        self.reached = 0
        self.stopped = False

    @property
    def horizon(self) -> int:
        """The rounds of a full training."""
        return self._family.horizon

    @property
    def best(self) -> int:
        """The round with the lowest validation loss."""
        return self._stopping.best_round

    def change(self, params: Params) -> None:
        """Grow the next trees with other values of parameters."""
        self._params = dict(params)

    def train(self, to: int) -> Curve:
        """Train until round `to` or until early stopping.

        Returns:
            The curve of this leg in the user's metric.

        Raises:
            TrainingError: if the model diverges.
        """
        if to <= self.reached:
            return ()
        curve = () if self.stopped else self._leg(to)
        self.reached = to
        return curve

    def predict(self, rows: Matrix) -> FloatArray:
        """`(n, k)` probabilities or `(n,)` standardised values at the best round.

        Predictions for the fold's own validation matrix are stored.
        """
        if rows is self._family.watch.fold.valid and self._valid_prediction is not None:
            return self._valid_prediction
        raw = self._family.predict(self._trained(), rows, self._best_size)
        return checked(self._shaped(raw), self.best)

    def save(self, directory: Path) -> None:
        """Write the trees, the early stopping state and the validation predictions, atomically."""
        size = self._best_size if self.stopped else None
        files = {self._family.file: self._family.dump(self._trained(), size)}
        if self._valid_prediction is not None:
            files[_VALID] = array_bytes(self._valid_prediction)
        if not self.stopped:
            for name, values in self._family.scores(self._trained()).items():
                files[f"{_SCORES}{name}.npy"] = array_bytes(values)
        facts = {
            **self._identity(),
            "reached": self.reached,
            "best_size": self._best_size,
            "stopped": self.stopped,
            "stopping": self._stopping.to_dict(),
        }
        write_files(directory, files, _STATE, facts)

    @classmethod
    def load(cls, family: BoostingFamily, params: Params, seed: int, directory: Path) -> Boosting:
        """The model that `save` wrote for these parameters and this seed.

        Raises:
            CheckpointError: if the checkpoint is missing, damaged or of another trial.
        """
        self = cls(family, params, seed)
        facts, files = read_files(directory, _STATE, self._identity())
        scores = {
            name.removeprefix(_SCORES).removesuffix(".npy"): array_from_bytes(content)
            for name, content in files.items()
            if name.startswith(_SCORES)
        }
        self._model = family.parse(files[family.file], params, scores)
        self._valid_prediction = array_from_bytes(files[_VALID]) if _VALID in files else None
        self._stopping = Stopping.from_dict(facts["stopping"])
        self._best_size = facts["best_size"]
        self.reached, self.stopped = facts["reached"], facts["stopped"]
        return self

    def export(self, directory: Path) -> None:
        """Write the trees up to the best round for `serving.members`."""
        content = self._family.dump(self._trained(), self._best_size)
        facts = {
            "schema": MEMBER_SCHEMA,
            "family": self._family.name,
            "kind": self._family.watch.fold.task.kind,
            "model": self._family.file,
            "iterations": 0,  # all: the file holds no rounds after the best one
            "best_iteration": self._best_size,
            **self._family.serving_facts,
        }
        write_files(directory, {self._family.file: content}, MANIFEST, facts)

    def _leg(self, to: int) -> Curve:
        start = self.reached
        seed = leg_seed(self._seed, start)
        grower = self._family.grow(self._params, seed, self._model, (start, to))
        leg = run_leg(
            (start, to),
            self._stopping,
            self._family.watch,
            grower.boost,
            lambda: (grower.size(), self._shaped(grower.predict())),
        )
        self._model = grower.model
        self._stopping, self.stopped = leg.stopping, leg.over
        if leg.best_prediction is not None:
            self._best_size, self._valid_prediction = leg.best_size, leg.best_prediction
        return leg.curve

    def _trained(self) -> Any:
        if self._model is None:
            raise ValueError("the model has no rounds yet; call train first")
        return self._model

    def _shaped(self, raw: npt.NDArray[np.floating[Any]]) -> FloatArray:
        """Probabilities of both classes where the library gives that of the second one."""
        values = np.asarray(raw, dtype=np.float64)
        if self._family.watch.fold.task.kind == "binary":
            return np.column_stack([1.0 - values, values])
        return values

    def _identity(self) -> dict[str, Any]:
        """The facts that a checkpoint must match."""
        fold = self._family.watch.fold
        numeric, categorical = fold.train.numeric, fold.train.categorical
        schedule = self._family.schedule
        return {
            "schema": _SCHEMA,
            "family": self._family.name,
            "metric": self._family.watch.metric.name,
            "params": self._params,
            "seed": self._seed,
            "schedule": None if schedule is None else asdict(schedule),
            "data": [len(fold.train), numeric.shape[1], categorical.shape[1], fold.index],
        }
