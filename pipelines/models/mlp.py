"""The torch MLP: a tabular network whose training can be continued exactly.

The defaults follow RealMLP-TD (Holzmüller, Grinsztajn and Steinwart, "Better by Default: Strong
Pre-Tuned MLPs and Boosted Trees on Tabular Data", NeurIPS 2024); `mlp.yaml` lists the differences.
The budget is the number of optimiser steps. Schedules run over a horizon, the study's largest
budget, so every leg continues the same schedule, whatever rung it stops at.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from hpo.arrays import FloatArray
from hpo.space.parameters import Params
from pipelines.models.catalog import single_family
from pipelines.models.checkpoint import read_files, write_files
from pipelines.models.errors import TrainingError
from pipelines.models.legs import CURVE_POINTS, Curve, FamilyOptions, Stopping, Watch
from pipelines.models.network.data import Data
from pipelines.models.network.settings import Hyperparameters
from pipelines.models.network.steps import Stepper, frozen_copy
from pipelines.table.data import Fold
from serving import network as net
from serving.features import Matrix

EVALUATIONS = 50
EVALUATION_SHARE = 0.15

_SCHEMA = 1
_STATE = "state.pt"
_MANIFEST = "state.json"


class MLP:
    """All networks of a worker on one fold, which is preprocessed and moved to the device once."""

    budget_unit: ClassVar[str] = "steps"
    name = "mlp"

    def __init__(self, fold: Fold, options: FamilyOptions) -> None:
        """Preprocess a fold.

        The fidelity is not used: schedules are functions of step and horizon anyway.
        """
        torch.set_num_threads(options.threads)
        self.fold = fold
        self.watch = Watch(fold, options.metric)
        self.horizon = options.horizon or single_family(self.name).budget.max
        self.device = torch.device(options.device)
        self.data = Data.of(fold, self.device)

    @staticmethod
    def has_cuda() -> bool:
        """Whether this build of torch can train on a GPU."""
        return torch.cuda.is_available()

    def start(self, params: Params, seed: int) -> Training:
        """A network at step 0."""
        return Training(self, params, seed)

    def resume(self, params: Params, seed: int, directory: Path) -> Training:
        """The network saved in `directory`, ready for its next step.

        Raises:
            CheckpointError: if the checkpoint is missing, damaged or of another trial.
        """
        facts, files = read_files(directory, _MANIFEST, self.identity(params, seed))
        training = Training(self, params, seed)
        training.restore(facts, files[_STATE])
        return training

    def identity(self, params: Params, seed: int) -> dict[str, Any]:
        """The facts that a checkpoint must match."""
        data = self.data
        return {
            "schema": _SCHEMA,
            "family": self.name,
            "params": dict(params),
            "seed": seed,
            "horizon": self.horizon,
            "data": [*data.dense.shape, *data.lookup.shape, data.n_outputs, self.fold.index],
        }


class Training:
    """The network of one trial: its steps, its evaluations and the best weights so far."""

    def __init__(self, family: MLP, params: Params, seed: int) -> None:
        """Build and initialise the network.

        Raises:
            ParameterError: if a parameter is unknown or has an invalid value.
        """
        self._family = family
        self._params = dict(params)
        self._settings = Hyperparameters.of(params)
        self._seed = seed
        self._stepper = Stepper(family.data, self._settings, seed, family.horizon)
        self._best = frozen_copy(self._stepper.network)
        self._best_prediction: FloatArray | None = None
        self._stopping = self._patience()
        self.steps = 0  # fewer than `reached` after early stopping
        self.reached = 0
        self.stopped = False

    @property
    def horizon(self) -> int:
        """The step at which the schedule ends, given by the budget or by `max_epochs`."""
        return self._stepper.horizon

    @property
    def best(self) -> int:
        """The step with the weights that `predict` uses."""
        return self._stopping.best_round

    def change(self, params: Params) -> None:
        """Take the next steps with other values of parameters; the network stays as it is.

        Raises:
            ParameterError: if a parameter is unknown or has an invalid value.
        """
        self._params = dict(params)
        self._settings = Hyperparameters.of(params)
        self._stepper.change(self._settings)

    def train(self, to: int) -> Curve:
        """Train until step `to`.

        Returns:
            At most 50 points (step, validation metric) of this leg.

        Raises:
            TrainingError: if training diverges before its first evaluation.
        """
        points: list[tuple[float, float]] = []
        last = min(to, self.horizon)
        stride = self._stride()
        while self.steps < last and not self.stopped:
            self._stepper.take(self.steps)
            self.steps += 1
            if self.steps % stride == 0 or self.steps == last:
                points.append((float(self.steps), self._evaluate()))
        self.stopped = self.stopped or self.steps >= self.horizon
        self.reached = max(self.reached, to)
        return _thinned(points)

    def predict(self, rows: Matrix) -> FloatArray:
        """`(n, k)` probabilities or `(n,)` standardised values at the best step so far.

        Predictions for the fold's own validation matrix are stored.
        """
        if rows is self._family.fold.valid and self._best_prediction is not None:
            return self._best_prediction
        return self._member().predict(rows.numeric, rows.categorical)

    def save(self, directory: Path) -> None:
        """Write everything that the next leg needs, atomically."""
        facts = {
            **self._family.identity(self._params, self._seed),
            "reached": self.reached,
            "steps": self.steps,
            "stopped": self.stopped,
            "stopping": self._stopping.to_dict(),
        }
        prediction = self._best_prediction
        state = {
            **self._stepper.state(),
            "best": self._best.state_dict(),
            "prediction": None if prediction is None else torch.from_numpy(prediction),
        }
        content = io.BytesIO()
        torch.save(state, content)
        write_files(directory, {_STATE: content.getvalue()}, _MANIFEST, facts)

    def restore(self, facts: Mapping[str, Any], content: bytes) -> None:
        """Continue from the verified content of a checkpoint."""
        state = torch.load(io.BytesIO(content), map_location=self._family.device, weights_only=True)
        self._stepper.restore(state)
        self._best.load_state_dict(state["best"])
        prediction = state["prediction"]
        self._best_prediction = None if prediction is None else prediction.cpu().numpy()
        self.steps, self.reached, self.stopped = facts["steps"], facts["reached"], facts["stopped"]
        self._stopping = Stopping.from_dict(facts["stopping"])

    def export(self, directory: Path) -> None:
        """Write the best network for `serving.network.load`."""
        files, facts = net.pack(self._member())
        write_files(directory, files, net.MEMBER, {**facts, "kind": self._family.fold.task.kind})

    def _member(self) -> net.NetworkMember:
        data = self._family.data
        return net.NetworkMember(self._best, data.preprocessing, data.bounds)

    def _patience(self) -> Stopping:
        """Early stopping at step 0; `min_delta` of a regression is in target scales."""
        fold = self._family.fold
        unit = fold.target.scale if fold.task.kind == "regression" else 1.0
        patience = math.ceil(self._settings.patience * self.horizon)
        return Stopping(patience, self._settings.min_delta * unit, fixed=fold.fixed)

    def _stride(self) -> int:
        """The steps between two evaluations.

        There are at most `EVALUATIONS`, which take at most `EVALUATION_SHARE` of the arithmetic.
        """
        # In steps: a step takes about three times as long per row, because it also goes backward.
        cost = len(self._family.fold.y_valid) / (3 * self._stepper.rows_per_step)
        return max(1, math.ceil(self.horizon / EVALUATIONS), math.ceil(cost / EVALUATION_SHARE))

    def _evaluate(self) -> float:
        """The validation metric of the averaged weights, which are stored if they are the best."""
        prediction = self._stepper.outputs()
        if not np.isfinite(prediction).all():
            return self._diverged()
        watch = self._family.watch
        loss = watch.loss(prediction)
        tie = loss == self._stopping.best
        self._stopping = self._stopping.observe(self.steps, loss)
        if tie:  # as in RealMLP, the later of equals wins, because it is trained longer
            self._stopping = replace(self._stopping, best_round=self.steps)
        if self._stopping.best_round == self.steps:
            self._best_prediction = prediction
            with torch.no_grad():
                best, average = self._best.parameters(), self._stepper.average.parameters()
                torch._foreach_copy_(list(best), list(average))
        self.stopped = self._stopping.over(self.steps)
        return watch.value(prediction, loss)

    def _diverged(self) -> float:
        """Stop training; nan as the metric.

        Raises:
            TrainingError: if there are no earlier weights to use.
        """
        if self._stopping.best_round == 0:
            raise TrainingError(
                f"training diverged within {self.steps} steps; lower the learning rate"
            )
        self.stopped = True
        return math.nan


def _thinned(points: Iterable[tuple[float, float]]) -> Curve:
    """At most 50 of the finite points, the last one included."""
    found = [point for point in points if math.isfinite(point[1])]
    if len(found) <= CURVE_POINTS:
        return tuple(found)
    picks = np.unique(np.linspace(0, len(found) - 1, CURVE_POINTS).round().astype(int))
    return tuple(found[i] for i in picks)
