"""What a step is taken with: the optimiser and its rates for each kind of parameter, and dropout."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.models.network.settings import Hyperparameters
from serving import network as net

REFERENCE_WIDTH = 256

Dropout = Callable[[Tensor], Tensor] | None


def optimizer(network: net.Network, settings: Hyperparameters) -> torch.optim.Optimizer:
    """The chosen optimiser over groups that carry their own factors on learning rate (`speed`) and decay (`decay`).

    Under "ntk" the factors are those that RealMLP's parametrisation means for Adam-like optimisers,
    at a fan-in of 256: weights 16 / sqrt(fan-in), embeddings of levels 16, the inputs' factors 96,
    numeric embeddings and biases 1.6. A step shrinks weights and embeddings of levels by learning
    rate x weight decay, the inputs' factors by 6 times and numeric embeddings by a tenth of that,
    biases not at all. Under "standard", and for SGD, all are alike.
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
    return torch.optim.AdamW(
        groups, lr=1.0, betas=(0.9, settings.beta2), weight_decay=0.0, fused=True
    )


def _groups(network: net.Network, settings: Hyperparameters) -> Iterator[dict[str, Any]]:
    by_factors: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        speed, pace = 1.0, 1.0
        if settings.parametrization == "ntk" and settings.optimizer != "sgd":
            pace = _pace(name)
            fan_in = (
                parameter.shape[1] if name.startswith("linears") and name.endswith("weight") else 1
            )
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


def set_rates(optimizer: torch.optim.Optimizer, rate: float, weight_decay: float) -> None:
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

    The rate comes in steps of 1/256, because one random byte decides about one value: drawing
    floats costs as much as a layer.
    """
    kept = 256 - min(round(256 * rate), 255)
    if kept == 256:
        return None

    def factors(x: Tensor) -> Tensor:
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device)
        random = words.random_(-(2**63), None, generator=generator).view(torch.uint8)[: x.numel()]
        return (random < kept).view(x.shape).to(x.dtype).mul_(256 / kept)

    return factors
