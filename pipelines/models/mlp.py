"""The torch MLP: a tabular network whose training can be continued exactly.

The defaults follow RealMLP-TD (Holzmüller, Grinsztajn and Steinwart, "Better by Default: Strong Pre-Tuned MLPs and
Boosted Trees on Tabular Data", NeurIPS 2024); `mlp.yaml` says where they differ. The budget is counted in optimiser
steps. Schedules run over a horizon, the largest budget of the study, so that every leg goes on along the same curve
whatever rung it stops at.
"""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.errors import ParameterError, closest, raise_all
from hpo.parameters import Params
from pipelines.data import Fold
from pipelines.metrics import Metric
from pipelines.models import catalog
from pipelines.models.checkpoint import read_files, write_files
from pipelines.models.errors import TrainingError
from pipelines.models.legs import CURVE_POINTS, Curve, Stopping, Watch
from serving import network as net
from serving.features import Matrix

REFERENCE_BATCH = 256
REFERENCE_WIDTH = 256
EVALUATIONS = 50
EVALUATION_SHARE = 0.15
INITIAL_ROWS = 2048
FITTED_ROWS = 200_000
FREQUENCIES = 16

Array = npt.NDArray[np.float64]
Dropout = Callable[[Tensor], Tensor] | None

_SCHEMA = 1
_STATE = "state.pt"
_MANIFEST = "state.json"


@dataclass(frozen=True)
class Hyperparameters:
    """The parameters of a trial; what a space leaves out keeps the value given here.

    `learning_rate` holds for 256 rows a step and scales linearly with the rows of a step. `weight_decay` is
    decoupled: a step shrinks weights by learning rate x weight decay. `warmup` and `patience` are shares of the
    horizon. `min_delta` is in units of what decides when to stop, of a regression in scales of the target.
    `max_epochs` ends training on small tables before the study's largest budget.
    """

    networks: int = 1
    layers: int = 3
    width: int = 256
    activation: str = "silu"
    dropout: float = 0.15
    anneal: bool = True
    numeric_embedding: str = "periodic"
    sigma: float = 0.1
    bins: int = 16
    optimizer: str = "adamw"
    learning_rate: float = 6e-3
    beta2: float = 0.95
    smoothing: float = 0.99
    sgd_learning_rate: float = 3e-2
    momentum: float = 0.9
    nesterov: bool = True
    parametrization: str = "ntk"
    weight_decay: float = 0.3
    schedule: str = "cosine"
    warmup: float = 0.05
    drops: int = 3
    drop_factor: float = 0.3
    batch_size: int = 256
    accumulation: int = 1
    clipping: bool = False
    max_norm: float = 1.0
    label_smoothing: float = 0.1
    ema: bool = True
    ema_decay: float = 0.99
    max_epochs: int = 100
    patience: float = 0.5
    min_delta: float = 0.0

    @classmethod
    def of(cls, params: Params) -> Hyperparameters:
        """The settings with `params` put in.

        Raises:
            ParameterError: naming every unknown name and every value that cannot be.
        """
        names = [field.name for field in fields(cls)]
        unknown = [n for n in params if n not in names]
        raise_all(ParameterError, (f"mlp has no parameter {n!r}{closest(n, names)}" for n in unknown))
        found = cls(**params)  # type: ignore[arg-type]
        raise_all(ParameterError, found._mistakes())
        return found

    def _mistakes(self) -> Iterator[str]:
        for name, known in CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                yield f"{name}={value!r} must be one of {', '.join(known)}{closest(str(value), known)}"
        for name, (low, high) in _RANGES.items():
            value, whole = getattr(self, name), isinstance(getattr(Hyperparameters, name), int)
            if isinstance(value, str) or not low <= value <= high:
                yield f"{name}={value!r} must lie in [{low}, {high}]"
            elif whole and not isinstance(value, int):
                yield f"{name}={value!r} must be a whole number; give it whole bounds in the space"

    @property
    def rate(self) -> float:
        """The learning rate of the chosen optimiser."""
        return self.sgd_learning_rate if self.optimizer == "sgd" else self.learning_rate


CHOICES: Mapping[str, tuple[str, ...]] = {
    "activation": tuple(net.ACTIVATIONS),
    "numeric_embedding": ("none", "periodic", "piecewise"),
    "optimizer": ("adamw", "sgd", "rmsprop"),
    "parametrization": ("ntk", "standard"),
    "schedule": ("constant", "step", "cosine", "coslog"),
}
_RANGES: Mapping[str, tuple[float, float]] = {
    "networks": (1, 64),
    "layers": (1, 64),
    "width": (1, 65536),
    "dropout": (0.0, 0.99),
    "sigma": (1e-9, 1e9),
    "bins": (1, 4096),
    "learning_rate": (0.0, math.inf),
    "sgd_learning_rate": (0.0, math.inf),
    "beta2": (0.0, 0.999999),
    "smoothing": (0.0, 0.999999),
    "momentum": (0.0, 0.999999),
    "weight_decay": (0.0, math.inf),
    "warmup": (0.0, 1.0),
    "drops": (0, 1000),
    "drop_factor": (0.0, 1.0),
    "batch_size": (1, 1 << 30),
    "accumulation": (1, 1 << 20),
    "max_norm": (1e-12, math.inf),
    "label_smoothing": (0.0, 0.99),
    "ema_decay": (0.0, 0.9999999),
    "max_epochs": (1, 1 << 30),
    "patience": (0.0, 1.0),
    "min_delta": (0.0, math.inf),
}


def schedule_factor(settings: Hyperparameters, step: int, horizon: int) -> float:
    """The factor on the learning rate at `step` (from 0) of `horizon`.

    Linear warm-up over the first `warmup` share, then with t the share of the rest that is over: constant 1; step
    `drop_factor` ^ floor(t (`drops` + 1)); cosine (1 + cos(pi t)) / 2. "coslog" is RealMLP's
    (1 - cos(2 pi log2(1 + 15 t))) / 2 over the whole horizon, four cycles that bring their own warm-ups.
    """
    if settings.schedule == "coslog":
        return 0.5 * (1 - math.cos(2 * math.pi * math.log2(1 + 15 * min(step / horizon, 1.0))))
    rise = round(settings.warmup * horizon)
    if step < rise:
        return (step + 1) / (rise + 1)
    t = min((step - rise) / max(horizon - rise, 1), 1.0)
    if settings.schedule == "step":
        return float(settings.drop_factor ** min(math.floor(t * (settings.drops + 1)), settings.drops))
    return 0.5 * (1 + math.cos(math.pi * t)) if settings.schedule == "cosine" else 1.0


def anneal_factor(step: int, horizon: int) -> float:
    """RealMLP's "flat_cos" for dropout and weight decay: 1 over the first half, then a cosine down to 0."""
    t = min(step / horizon, 1.0)
    return 1.0 if t <= 0.5 else 0.5 * (1 + math.cos(math.pi * (2 * t - 1)))


def ema_decay(limit: float, step: int) -> float:
    """The decay of the weights' average after `step` steps: short at first, min(limit, (1 + t) / (10 + t))."""
    return min(limit, (1 + step) / (10 + step))


def fit_preprocessing(rows: Matrix, cardinalities: tuple[int, ...]) -> net.Preprocessing:
    """Medians, scales and known levels of the training rows.

    The scale is 1 / interquartile range, else 2 / range, else 0, as in RealMLP; of very long tables it comes from
    every so many-th row.
    """
    numeric = rows.numeric
    present = [column[~np.isnan(column)] for column in numeric.T]
    medians = np.array([np.median(column) if len(column) else 0.0 for column in present])
    order = np.argsort([not _is_rich(column) for column in numeric.T], kind="stable").astype(np.int64)
    unscaled = net.Preprocessing(
        order=order,
        medians=medians[order],
        indicators=np.flatnonzero(np.isnan(numeric[:, order]).any(axis=0)).astype(np.int64),
        tables=tuple(_known(rows.categorical[:, j], n) for j, n in enumerate(cardinalities)),
        centre=np.zeros(0),
        scale=np.zeros(0),
    )
    some = slice(None, None, -(-len(numeric) // FITTED_ROWS))
    raw = unscaled.raw(numeric[some], rows.categorical[some])
    low, centre, high = np.quantile(raw, [0.25, 0.5, 0.75], axis=0)
    spread = np.where(high > low, high - low, 0.5 * np.ptp(raw, axis=0))
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    return replace(unscaled, centre=centre, scale=scale)


def _is_rich(column: Array) -> bool:
    """Whether a numeric column has more than two values, so that an embedding can bend it."""
    return len(np.unique(column[~np.isnan(column)])) > 2


def _known(codes: npt.NDArray[np.int32], cardinality: int) -> npt.NDArray[np.int64]:
    """The table from code to 0 (no training row has it) or rank from 1."""
    seen = np.bincount(codes[codes >= 0], minlength=cardinality) > 0
    return np.where(seen, np.cumsum(seen), 0).astype(np.int64)


@dataclass(frozen=True)
class Data:
    """One fold on the device, preprocessed once for all trials of a worker."""

    preprocessing: net.Preprocessing
    dense: Tensor
    lookup: Tensor
    target: Tensor
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
        valid_dense, valid_lookup = preprocessing.transform(fold.valid.numeric, fold.valid.categorical)
        regression = fold.task.kind == "regression"
        y = np.asarray(fold.y_train, dtype=np.float32 if regression else np.int64)
        return cls(
            preprocessing=preprocessing,
            dense=dense.to(device),
            lookup=lookup.to(device),
            target=torch.from_numpy(y).to(device),
            valid_dense=valid_dense.to(device),
            valid_lookup=valid_lookup.to(device),
            n_embedded=sum(_is_rich(column) for column in fold.train.numeric.T),
            n_outputs=1 if regression else fold.task.n_classes,
            bounds=(float(y.min()), float(y.max())) if regression else None,
        )

    def architecture(self, settings: Hyperparameters) -> net.Architecture:
        """The shape that `settings` ask for on this table."""
        return net.Architecture(
            n_dense=self.dense.shape[1],
            n_embedded=self.n_embedded,
            levels=self.preprocessing.levels,
            n_outputs=self.n_outputs,
            layers=settings.layers,
            width=settings.width,
            activation=settings.activation,
            numeric_embedding=settings.numeric_embedding,
            frequencies=settings.bins if settings.numeric_embedding == "piecewise" else FREQUENCIES,
            scaling=settings.parametrization == "ntk",
            networks=settings.networks,
        )


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
        shape = [*self.data.dense.shape, *self.data.lookup.shape, self.data.n_outputs, self.fold.index]
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
        initialise(self._network, self._data, self._settings, torch.Generator().manual_seed(_mix(seed, 0)))
        self._average = (
            copy.deepcopy(self._network).requires_grad_(False) if self._settings.ema else self._network
        )
        self._trained: list[Tensor] = [parameter.detach() for parameter in self._network.parameters()]
        self._averaged: list[Tensor] = list(self._average.parameters())
        self._best = copy.deepcopy(self._network).requires_grad_(False)
        self._best_prediction: Array | None = None
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
        patience, delta = math.ceil(self._settings.patience * self.horizon), self._settings.min_delta * unit
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

    def predict(self, rows: Matrix) -> Array:
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
        _set_rates(self._optimizer, rate, anneal * settings.weight_decay)
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
        return functional.cross_entropy(out.flatten(0, 1), target.flatten(), label_smoothing=smoothing) * len(
            out
        )

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
                raise TrainingError(f"training diverged within {self._steps} steps; lower the learning rate")
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
                torch._foreach_copy_(list(self._best.parameters()), list(self._average.parameters()))
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


def initialise(
    network: net.Network, data: Data, settings: Hyperparameters, generator: torch.Generator
) -> None:
    """Fill the parameters from `generator` and from training rows.

    Under "ntk" linear layers start as RealMLP's: outputs of unit deviation on the data, and biases that put the
    kink of each unit at a random convex combination of five rows; under "standard" as torch's `nn.Linear`.
    """
    sample = torch.randperm(len(data.target), generator=generator)[:INITIAL_ROWS].to(data.dense.device)
    dense, lookup = data.dense[sample], data.lookup[sample]
    with torch.no_grad():
        _initialise_embeddings(network, data, settings, generator)
        x = network.inputs(dense, lookup)
        for linears in network.linears:
            if isinstance(linears, net.Linears):
                _initialise_linears(linears, x, settings, generator)
            x = network.activation(linears(x))


def _initialise_linears(
    linears: net.Linears, x: Tensor, settings: Hyperparameters, generator: torch.Generator
) -> None:
    networks, fan_in, width = linears.weight.shape
    if settings.parametrization == "standard":
        _uniform(linears.weight, fan_in, generator)
        _uniform(linears.bias, fan_in, generator)
        return
    _fill(linears.weight, torch.randn(linears.weight.shape, generator=generator) / math.sqrt(fan_in))
    deviation = linears(x).std(dim=1, correction=0, keepdim=True)  # (k, 1, width)
    linears.weight.div_(torch.where(deviation > 1e-6, deviation, 1.0))
    out = linears(x)  # (k, n, width)
    rows = torch.randint(out.shape[1], (networks, 5, width), generator=generator).to(x.device)
    shares = torch.empty(networks, 5, width).exponential_(generator=generator).to(x.device)
    shares = shares / shares.sum(dim=1, keepdim=True)
    linears.bias.sub_((out.gather(1, rows) * shares).sum(dim=1, keepdim=True))


def _initialise_embeddings(
    network: net.Network, data: Data, settings: Hyperparameters, generator: torch.Generator
) -> None:
    numeric, levels = network.numeric, network.levels
    if isinstance(numeric, net.Periodic):
        _fill(numeric.frequency, settings.sigma * torch.randn(numeric.frequency.shape, generator=generator))
        _fill(numeric.phase, math.pi * (2 * torch.rand(numeric.phase.shape, generator=generator) - 1))
    if isinstance(numeric, net.Piecewise):
        low, inverse = bins(data.dense[:, : data.n_embedded], settings.bins)
        _fill(numeric.low, low)
        _fill(numeric.inverse_width, inverse)
    if isinstance(numeric, net.Periodic | net.Piecewise):
        _uniform(numeric.weight, numeric.weight.shape[1], generator)
        _uniform(numeric.bias, numeric.weight.shape[1], generator)
    if levels is not None:
        _fill(levels.weight, torch.randn(levels.weight.shape, generator=generator))
        levels.shares.copy_(_shares(data))


def _shares(data: Data) -> Tensor:
    """(e, levels) how often each known level stands in its column."""
    sizes = data.preprocessing.levels
    shares = torch.zeros(len(sizes), sum(sizes))
    counts = torch.bincount(data.lookup.flatten().cpu(), minlength=len(sizes) + sum(sizes))[len(sizes) :]
    start = 0
    for column, size in enumerate(sizes):
        part = counts[start : start + size].double()
        shares[column, start : start + size] = (part / part.sum()).float()
        start += size
    return shares


def bins(columns: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Lower ends and inverse widths, (p, 1, count), of each column's quantile bins; empty bins have inverse 0."""
    edges = torch.quantile(
        columns[:: -(-len(columns) // 40_000)], torch.linspace(0, 1, count + 1, device=columns.device), dim=0
    )
    low, width = edges[:-1].t(), edges.diff(dim=0).t()
    inverse = torch.where(width > 0, 1 / width.clamp(min=1e-6), torch.zeros_like(width))
    return low.unsqueeze(1), inverse.unsqueeze(1)


def _uniform(parameter: Tensor, fan_in: int, generator: torch.Generator) -> None:
    """Uniform in +-1 / sqrt(fan-in), as torch's `nn.Linear`."""
    _fill(parameter, (2 * torch.rand(parameter.shape, generator=generator) - 1) / math.sqrt(fan_in))


def _fill(parameter: Tensor, values: Tensor) -> None:
    parameter.copy_(values.to(parameter.device))


def optimizer(network: net.Network, settings: Hyperparameters) -> torch.optim.Optimizer:
    """The chosen optimiser over groups that carry their own factors on learning rate (`speed`) and decay (`decay`).

    Under "ntk" the factors are those that RealMLP's parametrisation means for Adam-like optimisers, at a fan-in of
    256: weights 16 / sqrt(fan-in), embeddings of levels 16, the inputs' factors 96, numeric embeddings and biases
    1.6. A step shrinks weights and embeddings of levels by learning rate x weight decay, the inputs' factors by 6
    times and numeric embeddings by a tenth of that, biases not at all. Under "standard", and for SGD, all are alike.
    """
    groups = list(_groups(network, settings))
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            groups,
            lr=1.0,
            momentum=settings.momentum,
            nesterov=settings.nesterov and settings.momentum > 0,
            fused=True,
        )
    if settings.optimizer == "rmsprop":
        return torch.optim.RMSprop(groups, lr=1.0, alpha=settings.smoothing, foreach=True)
    return torch.optim.AdamW(groups, lr=1.0, betas=(0.9, settings.beta2), weight_decay=0.0, fused=True)


def _groups(network: net.Network, settings: Hyperparameters) -> Iterator[dict[str, Any]]:
    by_factors: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        speed, pace = 1.0, 1.0
        if settings.parametrization == "ntk" and settings.optimizer != "sgd":
            pace = _pace(name)
            fan_in = parameter.shape[1] if name.startswith("linears") and name.endswith("weight") else 1
            speed = pace * math.sqrt(REFERENCE_WIDTH / fan_in)
        decay = 0.0 if _is_bias(name) else pace / speed
        by_factors.setdefault((speed, decay), []).append(parameter)
    for (speed, decay), parameters in by_factors.items():
        yield {"params": parameters, "speed": speed, "decay": decay}


def _is_bias(name: str) -> bool:
    return name.startswith("linears") and name.endswith("bias")


def _pace(name: str) -> float:
    """RealMLP's factor on the learning rate."""
    if name == "factor":
        return 6.0
    return 0.1 if name.startswith("numeric") or _is_bias(name) else 1.0


def _set_rates(optimizer: torch.optim.Optimizer, rate: float, weight_decay: float) -> None:
    """Put this step's learning rate and decay in; decay is decoupled for every optimiser."""
    native = isinstance(optimizer, torch.optim.AdamW)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["speed"]
        decay = weight_decay * group["decay"]
        if native:
            group["weight_decay"] = decay
        elif decay > 0:
            with torch.no_grad():
                torch._foreach_mul_(group["params"], 1 - group["lr"] * decay)


def dropout(rate: float, generator: torch.Generator) -> Dropout:
    """The factors of inverted dropout for an activation (0 or 1 / (1 - rate)), or None when nothing is dropped.

    The rate comes in steps of 1/256, because one random byte decides about one value: drawing floats costs as much
    as a layer.
    """
    kept = 256 - min(round(256 * rate), 255)
    if kept == 256:
        return None

    def factors(x: Tensor) -> Tensor:
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device)
        random = words.random_(-(2**63), None, generator=generator).view(torch.uint8)[: x.numel()]
        return (random < kept).view(x.shape).to(x.dtype).mul_(256 / kept)

    return factors


def _mix(seed: int, stream: int) -> int:
    """A 64-bit seed of stream number `stream` of `seed`."""
    return int(np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _thinned(points: Iterable[tuple[float, float]]) -> Curve:
    """At most 50 of the finite points, the last among them."""
    found = [point for point in points if math.isfinite(point[1])]
    if len(found) <= CURVE_POINTS:
        return tuple(found)
    keep = np.unique(np.linspace(0, len(found) - 1, CURVE_POINTS).round().astype(int))
    return tuple(found[i] for i in keep)
