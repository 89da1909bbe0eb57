"""A boosted model of one trial, whatever library grows the trees.

What a leg goes on from is always what a checkpoint holds: trees in their written form, and what the
library keeps beside them. So a leg that follows in memory and one that follows from a file, in
another process, are the same leg.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from hpo.arrays import FloatArray
from hpo.space.parameters import Params
from pipelines.models.catalog import MAX_RATE, settings
from pipelines.models.checkpoint import array_bytes, array_from_bytes, read_files, write_files
from pipelines.models.legs import Curve, Stopping, Watch, checked, leg_seed, run_leg
from serving.features import Matrix
from serving.members import MANIFEST
from serving.members import SCHEMA as MEMBER_SCHEMA

Rates: TypeAlias = Callable[[int], float]

# Of the schedule of learning rates: how fast they fall, and the share of the horizon that bounds
# the first ones.
_POWER = 0.5
_OFFSET = 0.1

_SCHEMA = 3
_SCORES = "scores-"
_VALID = "valid.npy"
_STATE = "state.json"


@dataclass(frozen=True)
class Grower:
    """A native model that is being trained.

    `boost(round)` adds a round, unless there is nothing to split; `size()` is the number of rounds
    that the model holds; `predict()` gives the raw predictions for the validation rows in an array
    of its own: `(n,)`, or `(n, k)` for multiclass.
    """

    model: Any
    boost: Callable[[int], None]
    size: Callable[[], int]
    predict: Callable[[], npt.NDArray[np.floating[Any]]]


@dataclass(frozen=True)
class RateSchedule:
    """Learning rates that fall with the round, so that fewer rounds are a small training and not a part of one.

    The rate of round t is proportional to (t + `offset` R) ^ -`power`, R being the horizon, and
    over R rounds the rates add up to those of a constant rate. It depends on the round and the
    horizon only, so legs can be continued.
    """

    horizon: int
    power: float = _POWER
    offset: float = _OFFSET

    def factor(self, after: int) -> float:
        """What multiplies the learning rate in round `after`, counted from 1; constant beyond the horizon."""
        return float(self._factors[min(after, self.horizon) - 1])

    def rates(self, base: float) -> Rates:
        """The rate of each round, where a constant one would be `base`; at most `MAX_RATE`, or `base` if larger."""
        return lambda after: min(base * self.factor(after), max(base, MAX_RATE))

    @cached_property
    def _factors(self) -> FloatArray:
        rounds = np.arange(1, self.horizon + 1)
        shape = (rounds + self.offset * self.horizon) ** -self.power
        return np.asarray(shape / shape.mean())


def full_training(model: str, horizon: int | None) -> int:
    """The rounds of a full training: those of the YAML unless a horizon is given."""
    return settings(model).budget.max if horizon is None else horizon


def rate_schedule(horizon: int, fidelity: str) -> RateSchedule | None:
    """The schedule of a family; none unless `fidelity` is "scheduled"."""
    return RateSchedule(horizon) if fidelity == "scheduled" else None


class Library(Protocol):
    """What a boosting library has to offer; models are its own objects."""

    name: str
    file: str
    watch: Watch
    horizon: int
    schedule: RateSchedule | None

    def grow(self, params: Params, seed: int, earlier: Any | None, start: int) -> Grower:
        """A model for the leg that begins after `start` rounds, with the trees of `earlier` as its first ones."""

    def predict(self, model: Any, rows: Matrix, size: int) -> npt.NDArray[np.floating[Any]]:
        """Raw predictions by the first `size` rounds."""

    def dump(self, model: Any, size: int | None) -> bytes:
        """The written form of the first `size` rounds, or of all."""

    def scores(self, model: Any) -> Mapping[str, FloatArray]:
        """What the next leg needs beside the trees, by name; empty when it needs nothing."""

    def parse(self, content: bytes, scores: Mapping[str, FloatArray]) -> Any:
        """The model of a written form that is known to be undamaged."""


class Boosting:
    """One trial's boosted trees."""

    def __init__(self, library: Library, params: Params, seed: int) -> None:
        self._library = library
        self._params = dict(params)
        self._seed = seed
        self._stopping: Stopping = library.watch.stopping()
        self._model: Any = None
        self._best_size = 0
        self._valid_prediction: FloatArray | None = None
        self.reached = 0
        self.stopped = False

    @property
    def horizon(self) -> int:
        """The rounds of a full training."""
        return self._library.horizon

    @property
    def best(self) -> int:
        """The round after which the validation loss was lowest."""
        return self._stopping.best_round

    def train(self, to: int) -> Curve:
        """Train until round `to`, or until patience has run out; the curve of this leg in the user's metric.

        Raises:
            TrainingError: when the model diverges.
        """
        if to <= self.reached:
            return ()
        curve = () if self.stopped else self._leg(to)
        self.reached = to
        return curve

    def predict(self, rows: Matrix) -> FloatArray:
        """`(n, k)` probabilities or `(n,)` standardised values at the best round; kept for the validation rows."""
        if rows is self._library.watch.fold.valid and self._valid_prediction is not None:
            return self._valid_prediction
        raw = self._library.predict(self._trained(), rows, self._best_size)
        return checked(self._shaped(raw), self.best)

    def save(self, directory: Path) -> None:
        """Write the trees, the stopping state and the validation predictions, all or nothing."""
        keep = self._best_size if self.stopped else None
        files = {self._library.file: self._library.dump(self._trained(), keep)}
        if self._valid_prediction is not None:
            files[_VALID] = array_bytes(self._valid_prediction)
        if not self.stopped:
            scores = self._library.scores(self._trained())
            files |= {
                f"{_SCORES}{name}.npy": array_bytes(values) for name, values in scores.items()
            }
        facts = {
            **self._identity(),
            "reached": self.reached,
            "best_size": self._best_size,
            "stopped": self.stopped,
            "stopping": self._stopping.to_dict(),
        }
        write_files(directory, files, _STATE, facts)

    @classmethod
    def load(cls, library: Library, params: Params, seed: int, directory: Path) -> Boosting:
        """The model that `save` wrote for these parameters and this seed.

        Raises:
            CheckpointError: when it is missing, damaged or of another trial.
        """
        self = cls(library, params, seed)
        facts, files = read_files(directory, _STATE, self._identity())
        scores = {
            name.removeprefix(_SCORES).removesuffix(".npy"): array_from_bytes(content)
            for name, content in files.items()
            if name.startswith(_SCORES)
        }
        self._model = library.parse(files[library.file], scores)
        self._valid_prediction = array_from_bytes(files[_VALID]) if _VALID in files else None
        self._stopping = Stopping.from_dict(facts["stopping"])
        self._best_size, self.reached, self.stopped = (
            facts["best_size"],
            facts["reached"],
            facts["stopped"],
        )
        return self

    def export(self, directory: Path) -> None:
        """Write the trees up to the best round, as `serving.members` reads them."""
        content = self._library.dump(self._trained(), self._best_size)
        facts = {
            "schema": MEMBER_SCHEMA,
            "family": self._library.name,
            "kind": self._library.watch.fold.task.kind,
            "model": self._library.file,
            "iterations": 0,  # nothing is left in the file but the best rounds
            "best_iteration": self._best_size,
        }
        write_files(directory, {self._library.file: content}, MANIFEST, facts)

    def _leg(self, to: int) -> Curve:
        library = self._library
        grower = library.grow(
            self._params, leg_seed(self._seed, self.reached), self._model, self.reached
        )
        leg = run_leg(
            (self.reached, to),
            self._stopping,
            library.watch,
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
            raise ValueError("the model has no round yet; call train first")
        return self._model

    def _shaped(self, raw: npt.NDArray[np.floating[Any]]) -> FloatArray:
        values = np.asarray(raw, dtype=np.float64)
        if self._library.watch.fold.task.kind == "binary":
            return np.column_stack([1.0 - values, values])
        return values

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint must agree with."""
        fold = self._library.watch.fold
        shape = [
            len(fold.train),
            fold.train.numeric.shape[1],
            fold.train.categorical.shape[1],
            fold.index,
        ]
        return {
            "schema": _SCHEMA,
            "family": self._library.name,
            "metric": self._library.watch.metric.name,
            "params": self._params,
            "seed": self._seed,
            "schedule": None if self._library.schedule is None else asdict(self._library.schedule),
            "data": shape,
        }
