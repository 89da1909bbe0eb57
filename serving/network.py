"""The tabular network: architecture, inference, and files. Training is in `pipelines.models`.

The architecture follows RealMLP (Holzmüller, Grinsztajn and Steinwart, "Better by Default", NeurIPS
2024). The numeric embeddings are theirs (PBLD) and those of Gorishniy, Rubachev and Babenko, "On
Embeddings for Numerical Features in Tabular Deep Learning", NeurIPS 2022 (piecewise linear).

A saved network is a folder with `member.json` (family, architecture, SHA-256 checksums) and
`weights.pt` (tensors only).
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from serving.preprocessing import BATCH_ROWS, ONE_HOT_LEVELS, Preprocessing, blocks
from serving.values import CodeArray, FloatArray

__all__ = [
    "ACTIVATIONS",
    "BATCH_ROWS",
    "MEMBER",
    "ONE_HOT_LEVELS",
    "SCHEMA",
    "WEIGHTS",
    "Architecture",
    "Levels",
    "Linears",
    "Network",
    "NetworkMember",
    "Periodic",
    "Piecewise",
    "Preprocessing",
    "load",
    "outputs",
    "pack",
]

SCHEMA = 1
WEIGHTS = "weights.pt"
MEMBER = "member.json"


@dataclass(frozen=True)
class Architecture:
    """The shape of a network.

    Attributes:
        n_dense: number of dense columns.
        n_embedded: the first of these get a numeric embedding.
        levels: number of known levels of each embedded categorical column.
        n_outputs: number of classes; 1 for regression.
        layers: hidden layers.
        width: of a hidden layer.
        activation: one of `ACTIVATIONS`.
        numeric_embedding: "none", "periodic" or "piecewise".
        frequencies: features of a numeric embedding.
        embedding_size: outputs of a numeric embedding, including the column itself.
        level_size: outputs of a categorical embedding.
        scaling: whether each input has a learned factor.
        networks: that share the embeddings; the prediction is their mean.
    """

    n_dense: int
    n_embedded: int
    levels: tuple[int, ...]
    n_outputs: int
    layers: int = 3
    width: int = 256
    activation: str = "mish"
    numeric_embedding: str = "none"
    frequencies: int = 16
    embedding_size: int = 4
    level_size: int = 8
    scaling: bool = True
    networks: int = 1

    @property
    def n_inputs(self) -> int:
        """Columns that reach the first linear layer."""
        per_column = 0 if self.numeric_embedding == "none" else self.embedding_size - 1
        embedded = self.n_embedded * per_column + len(self.levels) * self.level_size
        return max(1, self.n_dense + embedded)


class Periodic(nn.Module):
    """PBLD without its shortcut: a linear map of cos(2 pi w x + b), per column.

    **Shape**: (n, p) -> (n, p * out).
    """

    def __init__(self, columns: int, frequencies: int, out: int) -> None:
        super().__init__()
        self.frequency = nn.Parameter(torch.zeros(columns, 1, frequencies))
        self.phase = nn.Parameter(torch.zeros(columns, 1, frequencies))
        self.weight = nn.Parameter(torch.zeros(columns, frequencies, out))
        self.bias = nn.Parameter(torch.zeros(columns, 1, out))

    def forward(self, x: Tensor) -> Tensor:
        """Embed the columns."""
        columns = x.t().unsqueeze(-1)
        angle = torch.addcmul(self.phase, columns, self.frequency, value=2 * math.pi)  # (p, n, f)
        return torch.baddbmm(self.bias, torch.cos(angle), self.weight).permute(1, 0, 2).flatten(1)


class Piecewise(nn.Module):
    """A linear map of the piecewise linear encoding over fixed bins, per column.

    **Shape**: (n, p) -> (n, p * out). `low` and `width` (p, 1, f) bound the bins.
    """

    def __init__(self, columns: int, bins: int, out: int) -> None:
        super().__init__()
        self.low: Tensor
        self.inverse_width: Tensor
        self.register_buffer("low", torch.zeros(columns, 1, bins))
        self.register_buffer("inverse_width", torch.zeros(columns, 1, bins))
        self.weight = nn.Parameter(torch.zeros(columns, bins, out))
        self.bias = nn.Parameter(torch.zeros(columns, 1, out))

    def forward(self, x: Tensor) -> Tensor:
        """Embed the columns."""
        filled = ((x.t().unsqueeze(-1) - self.low) * self.inverse_width).clamp(0, 1)  # (p, n, f)
        return torch.baddbmm(self.bias, filled, self.weight).permute(1, 0, 2).flatten(1)


class Levels(nn.Module):
    """Embeddings of all categorical columns in one table.

    An unknown level gets the mean embedding of the training rows; `shares` (e, levels) are their
    frequencies.

    **Shape**: (n, e) rows of the stacked table -> (n, e * out).
    """

    def __init__(self, levels: tuple[int, ...], out: int) -> None:
        super().__init__()
        self.shares: Tensor
        self.register_buffer("shares", torch.zeros(len(levels), sum(levels)))
        self.weight = nn.Parameter(torch.zeros(sum(levels), out))

    def forward(self, lookup: Tensor) -> Tensor:
        """Embed the levels."""
        table = torch.cat([self.shares @ self.weight, self.weight])
        return functional.embedding(lookup, table).flatten(1)


class Linears(nn.Module):
    """One linear layer in each of k networks.

    **Shape**: (k, n, in) -> (k, n, out). `weight` is (k, in, out), `bias` (k, 1, out).
    """

    def __init__(self, networks: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(networks, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(networks, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers."""
        return torch.baddbmm(self.bias, x, self.weight)


class Network(nn.Module):
    """Embeddings, a learned factor per input, and k stacks of fully connected layers."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = architecture
        self.architecture = a
        embedding = _EMBEDDINGS.get(a.numeric_embedding) if a.n_embedded else None
        self.numeric = (
            embedding(a.n_embedded, a.frequencies, a.embedding_size - 1) if embedding else None
        )
        self.levels = Levels(a.levels, a.level_size) if a.levels else None
        self.factor = nn.Parameter(torch.ones(a.networks, 1, a.n_inputs)) if a.scaling else None
        sizes = [a.n_inputs, *[a.width] * a.layers, a.n_outputs]
        self.linears = nn.ModuleList(Linears(a.networks, m, n) for m, n in pairwise(sizes))
        self.activation = ACTIVATIONS[a.activation]

    def inputs(self, dense: Tensor, lookup: Tensor) -> Tensor:
        """The inputs `(k, n, n_inputs)` of the first linear layers."""
        blocks = [dense]
        if self.numeric is not None:
            blocks.append(self.numeric(dense[:, : self.architecture.n_embedded]))
        if self.levels is not None:
            blocks.append(self.levels(lookup))
        x = torch.cat(blocks, dim=1) if len(blocks) > 1 else dense
        if x.shape[1] == 0:
            x = x.new_zeros(len(x), 1)
        if self.factor is None:
            return x.expand(self.architecture.networks, *x.shape)
        return x * self.factor

    def forward(
        self, dense: Tensor, lookup: Tensor, drop: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """Logits or standardised values `(k, n, n_outputs)`.

        Args:
            dense: `(n, d)` dense columns.
            lookup: `(n, e)` rows of the stacked embedding table.
            drop: from a hidden activation to the factors of a dropout.
        """
        x = self.inputs(dense, lookup)
        for linear in self.linears[:-1]:
            x = self.activation(linear(x))
            if drop is not None:
                x = x * drop(x)
        out: Tensor = self.linears[-1](x)
        return out


ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "selu": functional.selu,
    "silu": functional.silu,
    "mish": functional.mish,
}
_EMBEDDINGS: Mapping[str, Callable[[int, int, int], nn.Module]] = {
    "periodic": Periodic,
    "piecewise": Piecewise,
}


@dataclass(frozen=True)
class NetworkMember:
    """A trained network with its preprocessing.

    Attributes:
        network: the trained network.
        preprocessing: of its inputs.
        bounds: range of the training targets, to which a regression is clipped.
    """

    network: Network
    preprocessing: Preprocessing
    bounds: tuple[float, float] | None

    def predict(self, numeric: FloatArray, categorical: CodeArray) -> FloatArray:
        """Predict `BATCH_ROWS` rows at a time, so that the memory does not grow with n.

        Args:
            numeric: `(n, p)` numbers, `nan` where missing.
            categorical: `(n, q)` codes.

        Returns:
            `(n, k)` probabilities, or `(n,)` standardised values.
        """
        return np.concatenate(
            [self._predict(numeric[b], categorical[b]) for b in blocks(len(numeric))]
        )

    def _predict(self, numeric: FloatArray, categorical: CodeArray) -> FloatArray:
        dense, lookup = self.preprocessing.transform(numeric, categorical)
        device = next(self.network.parameters()).device
        return outputs(self.network, dense.to(device), lookup.to(device), self.bounds)


def outputs(
    network: Network,
    dense: Tensor,
    lookup: Tensor,
    bounds: tuple[float, float] | None,
) -> FloatArray:
    """`(n, k)` probabilities or `(n,)` standardised values for preprocessed rows."""
    with torch.inference_mode():
        parts = [network(dense[b], lookup[b]).double().cpu() for b in blocks(len(dense))]
        raw = torch.cat(parts, dim=1)
    if bounds is None:
        return np.asarray(torch.softmax(raw, dim=2).mean(dim=0).numpy(), dtype=np.float64)
    return np.asarray(raw[:, :, 0].mean(dim=0).clamp(*bounds).numpy(), dtype=np.float64)


def pack(member: NetworkMember) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of a saved network by name, and the keys of `member.json` but the checksums."""
    weights = {name: tensor.detach().cpu() for name, tensor in member.network.state_dict().items()}
    content = io.BytesIO()
    torch.save({"weights": weights, "preprocessing": member.preprocessing.to_tensors()}, content)
    facts = {
        "schema": SCHEMA,
        "family": "mlp",
        "architecture": asdict(member.network.architecture),
        "bounds": member.bounds,
    }
    return {WEIGHTS: content.getvalue()}, facts


def load(directory: Path | str) -> NetworkMember:
    """The network saved in `directory`, on the CPU.

    Raises:
        ValueError: if files are missing or changed, and for another schema.
    """
    facts, weights = _checked(Path(directory))
    content = torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True)
    shape = facts["architecture"]
    network = Network(Architecture(**{**shape, "levels": tuple(shape["levels"])}))
    network.load_state_dict(content["weights"])
    bounds = facts["bounds"]
    return NetworkMember(
        network.eval().requires_grad_(False),
        Preprocessing.from_tensors(content["preprocessing"]),
        None if bounds is None else (float(bounds[0]), float(bounds[1])),
    )


def _checked(directory: Path) -> tuple[dict[str, Any], bytes]:
    """The manifest, and the weights if they match the recorded checksum."""
    try:
        facts: dict[str, Any] = json.loads((directory / MEMBER).read_text(encoding="utf-8"))
        content = (directory / WEIGHTS).read_bytes()
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{directory} holds no network that can be read ({error}); export it again"
        ) from error
    if facts.get("family") != "mlp" or facts.get("schema") != SCHEMA:
        found = f"family {facts.get('family')!r}, schema {facts.get('schema')!r}"
        raise ValueError(
            f"{directory} holds {found}, but family 'mlp', schema {SCHEMA} is needed; export it "
            "again"
        )
    if hashlib.sha256(content).hexdigest() != facts.get("sha256", {}).get(WEIGHTS):
        raise ValueError(
            f"{directory / WEIGHTS} is damaged: its SHA-256 is not the recorded one; export it "
            "again"
        )
    return facts, content
