"""The initial parameters of a network, from random numbers and from rows of its data."""

import math

import torch
from torch import Tensor

from pipelines.models.network.data import Data
from pipelines.models.network.settings import Hyperparameters
from serving import network as net

INITIAL_ROWS = 2048
BINNED_ROWS = 40_000


def initialise(
    network: net.Network, data: Data, settings: Hyperparameters, generator: torch.Generator
) -> None:
    """Fill the parameters from `generator` and from training rows.

    With "ntk", linear layers start as in RealMLP: their outputs have unit deviation on the data,
    and the biases put the kink of each unit at a random convex combination of five rows. With
    "standard" they start as torch's `nn.Linear`.
    """
    sample = torch.randperm(len(data.target), generator=generator)[:INITIAL_ROWS]
    sample = sample.to(data.dense.device)
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
    normal = torch.randn(linears.weight.shape, generator=generator)
    _fill(linears.weight, normal / math.sqrt(fan_in))
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
        normal = torch.randn(numeric.frequency.shape, generator=generator)
        _fill(numeric.frequency, settings.sigma * normal)
        uniform = torch.rand(numeric.phase.shape, generator=generator)
        _fill(numeric.phase, math.pi * (2 * uniform - 1))
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
    """`(e, levels)`: the share of rows with each known level of a column."""
    sizes = data.preprocessing.levels
    shares = torch.zeros(len(sizes), sum(sizes))
    # The first indices are the unknown levels, one for each column.
    counts = torch.bincount(data.lookup.flatten().cpu(), minlength=len(sizes) + sum(sizes))
    counts = counts[len(sizes) :]
    start = 0
    for column, size in enumerate(sizes):
        part = counts[start : start + size].double()
        shares[column, start : start + size] = (part / part.sum()).float()
        start += size
    return shares


def bins(columns: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The quantile bins of each column: lower ends and inverse widths, both `(p, 1, count)`.

    Empty bins have the inverse width 0. Long columns `(n, p)` are thinned to about 40,000 rows.
    """
    stride = -(-len(columns) // BINNED_ROWS)
    shares = torch.linspace(0, 1, count + 1, device=columns.device)
    edges = torch.quantile(columns[::stride], shares, dim=0)  # (count + 1, p)
    low, width = edges[:-1].t(), edges.diff(dim=0).t()
    inverse = torch.where(width > 0, 1 / width.clamp(min=1e-6), torch.zeros_like(width))
    return low.unsqueeze(1), inverse.unsqueeze(1)


def _uniform(parameter: Tensor, fan_in: int, generator: torch.Generator) -> None:
    """Uniform in ±1 / sqrt(fan-in), as in torch's `nn.Linear`."""
    _fill(parameter, (2 * torch.rand(parameter.shape, generator=generator) - 1) / math.sqrt(fan_in))


def _fill(parameter: Tensor, values: Tensor) -> None:
    parameter.copy_(values.to(parameter.device))
