"""The hyperparameters of a network with their valid values, and its schedules."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

from hpo.errors import ParameterError, closest, raise_all
from hpo.space.parameters import Params
from serving import network as net


@dataclass(frozen=True)
class Hyperparameters:
    """The hyperparameters of a trial, with the defaults for those that a space leaves out.

    `learning_rate` is for 256 rows a step and scales linearly with the rows of a step.
    `weight_decay` is decoupled: a step shrinks weights by learning rate x weight decay. `warmup`
    and `patience` are shares of the horizon. `min_delta` is in units of the metric that decides
    when to stop, for a regression in scales of the target. `max_epochs` ends training on small
    tables before the study's largest budget.
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
        """The defaults with `params` in their place.

        Raises:
            ParameterError: lists every unknown name, or every invalid value.
        """
        names = [field.name for field in fields(cls)]
        unknown = [name for name in params if name not in names]
        mistakes = (f"mlp has no parameter {name!r}{closest(name, names)}" for name in unknown)
        raise_all(ParameterError, mistakes)
        found = cls(**params)  # type: ignore[arg-type]
        raise_all(ParameterError, found._mistakes())
        return found

    def _mistakes(self) -> Iterator[str]:
        for name, known in CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                options = ", ".join(known)
                yield f"{name}={value!r} must be one of {options}{closest(str(value), known)}"
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

    A linear warm-up over the first `warmup` share of the horizon, then, where t is the share of the
    rest that has passed:

    - "constant": 1
    - "step": `drop_factor` ^ floor(t (`drops` + 1))
    - "cosine": (1 + cos(pi t)) / 2

    "coslog" is RealMLP's (1 - cos(2 pi log2(1 + 15 t))) / 2 over the whole horizon: four cycles,
    each with its own warm-up.
    """
    if settings.schedule == "coslog":
        return 0.5 * (1 - math.cos(2 * math.pi * math.log2(1 + 15 * min(step / horizon, 1.0))))
    rise = round(settings.warmup * horizon)
    if step < rise:
        return (step + 1) / (rise + 1)
    t = min((step - rise) / max(horizon - rise, 1), 1.0)
    if settings.schedule == "step":
        drops = min(math.floor(t * (settings.drops + 1)), settings.drops)
        return float(settings.drop_factor**drops)
    return 0.5 * (1 + math.cos(math.pi * t)) if settings.schedule == "cosine" else 1.0


def anneal_factor(step: int, horizon: int) -> float:
    """RealMLP's "flat_cos" for dropout and weight decay: 1 for half the horizon, then a cosine."""
    t = min(step / horizon, 1.0)
    return 1.0 if t <= 0.5 else 0.5 * (1 + math.cos(math.pi * (2 * t - 1)))


def ema_decay(limit: float, step: int) -> float:
    """The decay of the weights' average after t = `step` steps: min(limit, (1 + t) / (10 + t))."""
    return min(limit, (1 + step) / (10 + step))
