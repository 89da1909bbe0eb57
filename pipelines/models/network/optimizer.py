"""The optimiser with its rates for each kind of parameter, and dropout."""

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
    """The chosen optimiser, with parameter groups that have their own rates.

    Each group has a factor on the learning rate (`speed`) and on the weight decay (`decay`). With
    "ntk", the speeds are those of RealMLP's parametrisation for Adam-like optimisers, relative to a
    fan-in of 256: 16 / sqrt(fan-in) for weights, 16 for embeddings of levels, 96 for the factors of
    the inputs, 1.6 for numeric embeddings and biases. A step shrinks weights and embeddings of
    levels by learning rate x weight decay, the factors of the inputs by 6 times that, numeric
    embeddings by a tenth of that, and biases not at all. With "standard", and for SGD, all speeds
    are 1.
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
    """One group for each pair of factors."""
    ntk = settings.parametrization == "ntk" and settings.optimizer != "sgd"
    by_factors: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        pace = _pace(name) if ntk else 1.0
        speed = pace * math.sqrt(REFERENCE_WIDTH / _fan_in(name, parameter)) if ntk else 1.0
        decay = 0.0 if _is_bias(name) else pace / speed
        by_factors.setdefault((speed, decay), []).append(parameter)
    for (speed, decay), parameters in by_factors.items():
        yield {"params": parameters, "speed": speed, "decay": decay}


def _is_bias(name: str) -> bool:
    return name.startswith("linears") and name.endswith("bias")


def _fan_in(name: str, parameter: nn.Parameter) -> int:
    """The inputs of a unit of a linear layer; 1 for all other parameters."""
    is_weight = name.startswith("linears") and name.endswith("weight")
    return parameter.shape[1] if is_weight else 1


def _pace(name: str) -> float:
    """RealMLP's factor on the learning rate."""
    if name == "factor":
        return 6.0
    return 0.1 if name.startswith("numeric") or _is_bias(name) else 1.0


def set_rates(optimizer: torch.optim.Optimizer, rate: float, weight_decay: float) -> None:
    """Set the learning rate and the decay of the next step; every optimiser decouples decay."""
    native = isinstance(optimizer, torch.optim.AdamW)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["speed"]
        decay = weight_decay * group["decay"]
        if native:
            group["weight_decay"] = decay
        elif decay > 0:
            with torch.no_grad():
                torch._foreach_mul_(group["params"], 1 - group["lr"] * decay)


def set_moments(optimizer: torch.optim.Optimizer, settings: Hyperparameters) -> None:
    """Set how the next steps average the gradients of those before."""
    for group in optimizer.param_groups:
        if isinstance(optimizer, torch.optim.SGD):
            group["momentum"] = settings.momentum
            group["nesterov"] = settings.nesterov and settings.momentum > 0
        elif isinstance(optimizer, torch.optim.RMSprop):
            group["alpha"] = settings.smoothing
        else:
            group["betas"] = (0.9, settings.beta2)


def dropout(rate: float, generator: torch.Generator) -> Dropout:
    """A function from activations to the factors of inverted dropout, 0 or 1 / (1 - rate).

    The rate is rounded to multiples of 1/256, because each value gets one random byte: drawing
    floats costs as much as a layer. A rate that is rounded to 0 gives None.
    """
    survivors = 256 - min(round(256 * rate), 255)
    if survivors == 256:
        return None

    def factors(x: Tensor) -> Tensor:
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device)
        random = words.random_(-(2**63), None, generator=generator).view(torch.uint8)[: x.numel()]
        return (random < survivors).view(x.shape).to(x.dtype).mul_(256 / survivors)

    return factors
