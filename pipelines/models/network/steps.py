"""The optimiser steps of a network: batches, schedules, mixed precision, the average of weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.arrays import FloatArray
from pipelines.models.network.data import Data
from pipelines.models.network.initial import initialise
from pipelines.models.network.optimizer import Dropout, dropout, optimizer, set_moments, set_rates
from pipelines.models.network.settings import (
    Hyperparameters,
    anneal_factor,
    ema_decay,
    schedule_factor,
)
from serving import network as net

REFERENCE_BATCH = 256  # the rows of a step that `learning_rate` is for

# The random streams of a seed; that of epoch e is `_EPOCHS` + e.
_INITIAL, _DROPOUT, _EPOCHS = 0, 1, 2


class Stepper:
    """A network in training, which takes one optimiser step at a time.

    All randomness comes from (seed, step) and from one generator that is part of the state.
    """

    def __init__(self, data: Data, settings: Hyperparameters, seed: int, horizon: int) -> None:
        """Build and initialise the network.

        Args:
            data: The training rows, on the device to train on.
            settings: The hyperparameters.
            seed: The seed of the trial.
            horizon: The study's largest budget in steps; `max_epochs` can end training earlier.
        """
        self.data = data
        self.settings = settings
        self.batch = min(settings.batch_size, len(data.target))
        per_epoch = max(1, len(data.target) // self.rows_per_step)
        self.horizon = min(horizon, settings.max_epochs * per_epoch)
        device = data.dense.device
        self.network = net.Network(data.architecture(settings)).to(device)
        initial = torch.Generator().manual_seed(_stream(seed, _INITIAL))
        initialise(self.network, data, settings, initial)
        self.average = frozen_copy(self.network) if settings.ema else self.network
        self.optimizer = optimizer(self.network, settings)
        self._trained: list[Tensor] = [p.detach() for p in self.network.parameters()]
        self._averaged: list[Tensor] = list(self.average.parameters())
        self._precision = _Precision(device)
        self._generator = torch.Generator(device).manual_seed(_stream(seed, _DROPOUT))
        self._seed = seed
        self._epoch = (-1, torch.empty(0, dtype=torch.int64))

    @property
    def rows_per_step(self) -> int:
        """The rows of one optimiser step."""
        return self.batch * self.settings.accumulation

    def change(self, settings: Hyperparameters) -> None:
        """Take the next steps with other settings of the optimiser, of dropout and of the loss."""
        self.settings = settings
        set_moments(self.optimizer, settings)

    def take(self, step: int) -> None:
        """Take the step with this number, from 0, over `accumulation` batches."""
        settings = self.settings
        anneal = anneal_factor(step, self.horizon) if settings.anneal else 1.0
        rate = settings.rate * self.batch * settings.accumulation / REFERENCE_BATCH
        rate *= schedule_factor(settings, step, self.horizon)
        set_rates(self.optimizer, rate, anneal * settings.weight_decay)
        drop = dropout(settings.dropout * anneal, self._generator)
        scaler = self._precision.scaler
        self.optimizer.zero_grad(set_to_none=True)
        for part in range(settings.accumulation):
            loss = self._loss(self.rows(step * settings.accumulation + part), drop)
            scaler.scale(loss / settings.accumulation).backward()  # type: ignore[no-untyped-call]
        if settings.clipping:
            scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), settings.max_norm)
        scaler.step(self.optimizer)
        scaler.update()
        if settings.ema:
            weight = 1 - ema_decay(settings.ema_decay, step)
            with torch.no_grad():
                torch._foreach_lerp_(self._averaged, self._trained, weight)

    def rows(self, batch: int) -> Tensor:
        """The rows of a batch, by its number from 0 over all epochs.

        Epochs are permutations drawn from (seed, epoch); the last incomplete batch is left out.
        """
        per_epoch = max(1, len(self.data.target) // self.batch)
        epoch, position = divmod(batch, per_epoch)
        if self._epoch[0] != epoch:
            shuffle = torch.Generator().manual_seed(_stream(self._seed, _EPOCHS + epoch))
            order = torch.randperm(len(self.data.target), generator=shuffle)
            self._epoch = (epoch, order.to(self.data.dense.device))
        return self._epoch[1][position * self.batch : (position + 1) * self.batch]

    def outputs(self) -> FloatArray:
        """The predictions of the averaged weights for the validation rows."""
        data = self.data
        return net.outputs(self.average, data.valid_dense, data.valid_lookup, data.bounds)

    def state(self) -> dict[str, Any]:
        """Everything that the next step needs, for `restore`."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict() if self.settings.ema else {},
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._precision.scaler.state_dict(),
            "generator": self._generator.get_state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state` of the same trial."""
        self.network.load_state_dict(state["network"])
        if self.settings.ema:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._precision.scaler.load_state_dict(state["scaler"])
        self._generator.set_state(state["generator"].cpu())

    def _loss(self, rows: Tensor, drop: Dropout) -> Tensor:
        """The sum of the networks' mean losses, so that each learns as it would alone."""
        data = self.data
        with self._precision.autocast():
            out = self.network(data.dense[rows], data.lookup[rows], drop).float()  # (k, n, outputs)
        target = data.target[rows].expand(len(out), -1)  # (k, n)
        how = "mean" if data.weight is None else "none"
        if data.bounds is not None:
            losses = functional.mse_loss(out[:, :, 0], target, reduction=how)
        else:
            losses = functional.cross_entropy(
                out.flatten(0, 1),
                target.flatten(),
                label_smoothing=self.settings.label_smoothing,
                reduction=how,
            )
        if data.weight is not None:
            losses = (losses * data.weight[rows].expand(len(out), -1).reshape(losses.shape)).mean()
        return losses * len(out)


class _Precision:
    """Mixed precision on CUDA; float32 on the CPU.

    It is bfloat16 where the device supports that, else float16 with a scaled loss.
    """

    def __init__(self, device: torch.device) -> None:
        cuda = device.type == "cuda"
        half = cuda and not torch.cuda.is_bf16_supported()
        dtype = torch.float16 if half else torch.bfloat16
        self.scaler = torch.amp.GradScaler(device.type, enabled=half)
        self.autocast = partial(torch.autocast, device.type, dtype=dtype, enabled=cuda)


def frozen_copy(network: net.Network) -> net.Network:
    """A copy whose parameters are not trained."""
    return copy.deepcopy(network).requires_grad_(False)


def _stream(seed: int, stream: int) -> int:
    """The 63-bit seed of a random stream of `seed`."""
    state = np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))
