"""The torch MLP: a tabular network whose training can be continued exactly.

The defaults follow RealMLP-TD (Holzmüller, Grinsztajn and Steinwart, "Better by Default: Strong
Pre-Tuned MLPs and Boosted Trees on Tabular Data", NeurIPS 2024); `mlp.yaml` says where they differ.
The budget is counted in optimiser steps. Schedules run over a horizon, the largest budget of the
study, so that every leg goes on along the same curve whatever rung it stops at.
"""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.arrays import FloatArray
from hpo.space.parameters import Params
from pipelines.models import catalog
from pipelines.models.checkpoint import read_files, write_files
from pipelines.models.errors import TrainingError
from pipelines.models.legs import CURVE_POINTS, Curve, Stopping, Watch
from pipelines.models.network.data import Data
from pipelines.models.network.initial import initialise
from pipelines.models.network.optimizer import Dropout, dropout, optimizer, set_rates
from pipelines.models.network.settings import (
    Hyperparameters,
    anneal_factor,
    ema_decay,
    schedule_factor,
)
from pipelines.table.data import Fold
from pipelines.table.metrics import Metric
from serving import network as net
from serving.features import Matrix

REFERENCE_BATCH = 256
EVALUATIONS = 50
EVALUATION_SHARE = 0.15


_SCHEMA = 1
_STATE = "state.pt"
_MANIFEST = "state.json"


class MLP:
    """All networks of one worker on one fold: the table is preprocessed and moved to the device once."""

    budget_unit: ClassVar[str] = "steps"

    def __init__(
        self,
        fold: Fold,
        metric: Metric,
        threads: int,
        *,
        horizon: int | None = None,
        fidelity: str = "rounds",
        device: str | None = None,
    ) -> None:
        """`horizon` is the study's largest budget in steps (that of `mlp.yaml` if not given).

        `fidelity` changes nothing: the schedules are functions of step and horizon anyway.
        CUDA is used when there is one and `device` names no other.
        """
        torch.set_num_threads(threads)
        self.fold = fold
        self.watch = Watch(fold, metric)
        self.horizon = catalog.settings("mlp").budget.max if horizon is None else horizon
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.data = Data.of(fold, self.device)

    def start(self, params: Params, seed: int) -> Training:
        """A network at step 0."""
        return Training(self, params, seed)

    def resume(self, params: Params, seed: int, directory: Path) -> Training:
        """The network saved in `directory`, ready for its next step.

        Raises:
            CheckpointError: when the files are missing, damaged, or of another trial.
        """
        facts, files = read_files(directory, _MANIFEST, self.identity(params, seed))
        training = Training(self, params, seed)
        training.restore(facts, files[_STATE])
        return training

    def identity(self, params: Params, seed: int) -> dict[str, Any]:
        """What a checkpoint must agree with."""
        shape = [
            *self.data.dense.shape,
            *self.data.lookup.shape,
            self.data.n_outputs,
            self.fold.index,
        ]
        identity = {"schema": _SCHEMA, "family": "mlp", "params": dict(params), "seed": seed}
        return {**identity, "horizon": self.horizon, "data": shape}


class Training:
    """One network in training. All randomness comes from (seed, step) and one generator that is saved with it."""

    def __init__(self, family: MLP, params: Params, seed: int) -> None:
        """Build and initialise the network."""
        self._family = family
        self._params = dict(params)
        self._settings = Hyperparameters.of(params)
        self._seed = seed
        self._data = family.data
        self._batch = min(self._settings.batch_size, len(self._data.target))
        self._network = net.Network(self._data.architecture(self._settings)).to(family.device)
        initialise(
            self._network, self._data, self._settings, torch.Generator().manual_seed(_mix(seed, 0))
        )
        self._average = (
            copy.deepcopy(self._network).requires_grad_(False)
            if self._settings.ema
            else self._network
        )
        self._trained: list[Tensor] = [
            parameter.detach() for parameter in self._network.parameters()
        ]
        self._averaged: list[Tensor] = list(self._average.parameters())
        self._best = copy.deepcopy(self._network).requires_grad_(False)
        self._best_prediction: FloatArray | None = None
        self._optimizer = optimizer(self._network, self._settings)
        self._precision = _Precision(family.device)
        self._generator = torch.Generator(family.device).manual_seed(_mix(seed, 1))
        self._epoch = (-1, torch.empty(0, dtype=torch.int64))
        self._stopping = self._patience()
        self._steps = 0
        self.reached = 0
        self.stopped = False

    @property
    def horizon(self) -> int:
        """The step at which the schedule ends: the study's largest budget, or `max_epochs` on a small table."""
        per_epoch = max(1, len(self._data.target) // (self._batch * self._settings.accumulation))
        return min(self._family.horizon, self._settings.max_epochs * per_epoch)

    def _patience(self) -> Stopping:
        """The state of early stopping at step 0; `min_delta` of a regression is in target scales."""
        fold = self._family.fold
        unit = fold.target.scale if fold.task.kind == "regression" else 1.0
        patience, delta = (
            math.ceil(self._settings.patience * self.horizon),
            self._settings.min_delta * unit,
        )
        return Stopping(patience, delta, fixed=fold.fixed)

    @property
    def steps(self) -> int:
        """The steps really taken; fewer than `reached` after early stopping."""
        return self._steps

    @property
    def best(self) -> int:
        """The step whose weights `predict` uses."""
        return self._stopping.best_round

    def train(self, to: int) -> Curve:
        """Train up to step `to`; the (step, validation metric) points of this leg, at most 50.

        Raises:
            TrainingError: when training diverged before the first useful evaluation.
        """
        points: list[tuple[float, float]] = []
        last = min(to, self.horizon)
        stride = self._stride()
        while self._steps < last and not self.stopped:
            self._step()
            self._steps += 1
            if self._steps % stride == 0 or self._steps == last:
                points.append((float(self._steps), self._evaluate()))
        self.stopped = self.stopped or self._steps >= self.horizon
        self.reached = max(self.reached, to)
        return _thinned(points)

    def predict(self, rows: Matrix) -> FloatArray:
        """(n, k) probabilities or (n,) standardised values at the best step so far; kept for the validation rows."""
        if rows is self._family.fold.valid and self._best_prediction is not None:
            return self._best_prediction
        return self._member().predict(rows.numeric, rows.categorical)

    def save(self, directory: Path) -> None:
        """Write everything that the next leg needs, all or nothing."""
        facts = {
            **self._family.identity(self._params, self._seed),
            "reached": self.reached,
            "steps": self._steps,
            "stopped": self.stopped,
            "stopping": self._stopping.to_dict(),
        }
        content = io.BytesIO()
        torch.save(self._tensors(), content)
        write_files(directory, {_STATE: content.getvalue()}, _MANIFEST, facts)

    def restore(self, facts: Mapping[str, Any], content: bytes) -> None:
        """Take over the verified content of a checkpoint."""
        state = torch.load(io.BytesIO(content), map_location=self._family.device, weights_only=True)
        self._network.load_state_dict(state["network"])
        self._best.load_state_dict(state["best"])
        if self._settings.ema:
            self._average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._precision.scaler.load_state_dict(state["scaler"])
        self._generator.set_state(state["generator"].cpu())
        prediction = state["prediction"]
        self._best_prediction = None if prediction is None else prediction.cpu().numpy()
        self._steps, self.reached, self.stopped = facts["steps"], facts["reached"], facts["stopped"]
        self._stopping = Stopping.from_dict(facts["stopping"])

    def export(self, directory: Path) -> None:
        """Write the best network for `serving.network.load`."""
        files, facts = net.pack(self._member())
        write_files(directory, files, net.MEMBER, {**facts, "kind": self._family.fold.task.kind})

    def _member(self) -> net.NetworkMember:
        return net.NetworkMember(self._best, self._data.preprocessing, self._data.bounds)

    def _tensors(self) -> dict[str, Any]:
        prediction = self._best_prediction
        return {
            "network": self._network.state_dict(),
            "average": self._average.state_dict() if self._settings.ema else {},
            "best": self._best.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._precision.scaler.state_dict(),
            "generator": self._generator.get_state(),
            "prediction": None if prediction is None else torch.from_numpy(prediction),
        }

    def _step(self) -> None:
        """One optimiser step over `accumulation` batches."""
        settings, step = self._settings, self._steps
        anneal = anneal_factor(step, self.horizon) if settings.anneal else 1.0
        rate = settings.rate * self._batch * settings.accumulation / REFERENCE_BATCH
        rate *= schedule_factor(settings, step, self.horizon)
        set_rates(self._optimizer, rate, anneal * settings.weight_decay)
        drop = dropout(settings.dropout * anneal, self._generator)
        self._optimizer.zero_grad(set_to_none=True)
        for part in range(settings.accumulation):
            loss = self._loss(self._rows(step * settings.accumulation + part), drop)
            self._precision.scaler.scale(loss / settings.accumulation).backward()  # type: ignore[no-untyped-call]
        if settings.clipping:
            self._precision.scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self._network.parameters(), settings.max_norm)
        self._precision.scaler.step(self._optimizer)
        self._precision.scaler.update()
        if settings.ema:
            weight = 1 - ema_decay(settings.ema_decay, step)
            with torch.no_grad():
                torch._foreach_lerp_(self._averaged, self._trained, weight)

    def _loss(self, rows: Tensor, drop: Dropout) -> Tensor:
        """The sum over the networks of each one's mean loss, so that each learns as it would alone."""
        data = self._data
        with self._precision.autocast():
            out = self._network(data.dense[rows], data.lookup[rows], drop).float()
        target = data.target[rows].expand(len(out), -1)  # (k, n)
        if data.bounds is not None:
            return functional.mse_loss(out[:, :, 0], target) * len(out)
        smoothing = self._settings.label_smoothing
        return functional.cross_entropy(
            out.flatten(0, 1), target.flatten(), label_smoothing=smoothing
        ) * len(out)

    def _rows(self, batch: int) -> Tensor:
        """The rows of the `batch`-th batch: epochs are permutations drawn from (seed, epoch), the remainder is left."""
        per_epoch = max(1, len(self._data.target) // self._batch)
        epoch, position = divmod(batch, per_epoch)
        if self._epoch[0] != epoch:
            shuffle = torch.Generator().manual_seed(_mix(self._seed, 2 + epoch))
            order = torch.randperm(len(self._data.target), generator=shuffle)
            self._epoch = (epoch, order.to(self._family.device))
        return self._epoch[1][position * self._batch : (position + 1) * self._batch]

    def _stride(self) -> int:
        """Steps between evaluations: at most `EVALUATIONS`, and at most a share of the training's arithmetic."""
        rows = self._batch * self._settings.accumulation
        cost = len(self._family.fold.y_valid) / (3 * rows)  # in steps, which also go backward
        return max(1, math.ceil(self.horizon / EVALUATIONS), math.ceil(cost / EVALUATION_SHARE))

    def _evaluate(self) -> float:
        """The validation metric of the averaged weights; keeps them when they are the best so far."""
        data, watch = self._data, self._family.watch
        prediction = net.outputs(self._average, data.valid_dense, data.valid_lookup, data.bounds)
        if not np.isfinite(prediction).all():
            if self._stopping.best_round == 0:
                raise TrainingError(
                    f"training diverged within {self._steps} steps; lower the learning rate"
                )
            self.stopped = True
            return math.nan
        loss = watch.loss(prediction)
        tie = loss == self._stopping.best  # the later of equals is the better trained, says RealMLP
        self._stopping = self._stopping.observe(self._steps, loss)
        if tie:
            self._stopping = replace(self._stopping, best_round=self._steps)
        if self._stopping.best_round == self._steps:
            self._best_prediction = prediction
            with torch.no_grad():
                torch._foreach_copy_(
                    list(self._best.parameters()), list(self._average.parameters())
                )
        self.stopped = self._stopping.over(self._steps)
        return watch.value(prediction, loss)


class _Precision:
    """bfloat16 autocast on CUDA where supported, else float16 with a scaled loss; plain float32 on the CPU."""

    def __init__(self, device: torch.device) -> None:
        cuda = device.type == "cuda"
        brain = cuda and torch.cuda.is_bf16_supported()
        dtype = torch.bfloat16 if brain else torch.float16
        self.scaler = torch.amp.GradScaler(device.type, enabled=cuda and not brain)
        self.autocast = partial(
            torch.autocast, device.type, dtype=dtype if cuda else torch.bfloat16, enabled=cuda
        )


def _mix(seed: int, stream: int) -> int:
    """A 64-bit seed of stream number `stream` of `seed`."""
    return int(
        np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0] >> np.uint64(1)
    )


def _thinned(points: Iterable[tuple[float, float]]) -> Curve:
    """At most 50 of the finite points, the last among them."""
    found = [point for point in points if math.isfinite(point[1])]
    if len(found) <= CURVE_POINTS:
        return tuple(found)
    keep = np.unique(np.linspace(0, len(found) - 1, CURVE_POINTS).round().astype(int))
    return tuple(found[i] for i in keep)
