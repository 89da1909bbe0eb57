"""The tabular network: preprocessing, architecture and inference; training lives elsewhere.

Preprocessing and architecture follow RealMLP (Holzmüller, Grinsztajn and Steinwart, "Better by
Default", NeurIPS 2024); the numeric embeddings are theirs (PBLD) and those of Gorishniy, Rubachev
and Babenko, "On Embeddings for Numerical Features in Tabular Deep Learning", NeurIPS 2022
(piecewise linear).

A saved network is a directory of `member.json` (family, architecture, SHA-256 sums) and
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
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from serving.values import FloatArray, IntArray

SCHEMA = 1
WEIGHTS = "weights.pt"
MEMBER = "member.json"
ONE_HOT_LEVELS = 9
CLIP = 3.0
BATCH_ROWS = 8192

CodeArray = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Preprocessing:
    """What the training rows taught about the columns.

    The dense matrix holds, in this order: the numeric columns in the order of `order` (those worth
    an embedding first), one 0/1 column per numeric column of `indicators` (its value was missing),
    and the one-hot columns of the categoricals with up to `ONE_HOT_LEVELS` known levels (a single
    -1/+1 column when there are two). All of it is centred by the median, divided by the
    interquartile range and squashed by x / sqrt(1 + (x / 3)^2).

    `tables[j][code]` is 0 for a level of column j that no training row had, else its rank from 1.
    """

    order: IntArray  # (p,) columns of the numeric matrix
    medians: FloatArray  # (p,) imputed where missing, in that order
    indicators: IntArray  # (m,) positions within `order`
    tables: tuple[IntArray, ...]  # q arrays of (cardinality,)
    centre: FloatArray  # (d,)
    scale: FloatArray  # (d,)

    @property
    def embedded(self) -> tuple[int, ...]:
        """The categorical columns with too many levels for one-hot columns."""
        return tuple(j for j, table in enumerate(self.tables) if _n_known(table) > ONE_HOT_LEVELS)

    @property
    def levels(self) -> tuple[int, ...]:
        """The number of known levels of each embedded column."""
        return tuple(_n_known(self.tables[j]) for j in self.embedded)

    def raw(self, numeric: FloatArray, categorical: CodeArray) -> FloatArray:
        """(n, d) dense columns before centring and scaling."""
        ordered = numeric[:, self.order]
        missing = np.isnan(ordered)
        filled = np.where(missing, self.medians, ordered)
        blocks = [filled, missing[:, self.indicators].astype(np.float64)]
        for j, table in enumerate(self.tables):
            if _n_known(table) <= ONE_HOT_LEVELS:
                blocks.append(_one_hot(_ranks(table, categorical[:, j]), _n_known(table)))
        return np.concatenate(blocks, axis=1)

    def transform(self, numeric: FloatArray, categorical: CodeArray) -> tuple[Tensor, Tensor]:
        """(n, d) float32 dense columns and (n, e) int64 rows of the stacked embedding table."""
        dense = np.empty((len(numeric), len(self.centre)), dtype=np.float32)
        for block in _blocks(len(numeric)):
            raw = self.raw(numeric[block], categorical[block])
            scaled = np.clip((raw - self.centre) * self.scale, -1e6, 1e6)
            dense[block] = scaled / np.sqrt(1 + (scaled / CLIP) ** 2)
        return torch.from_numpy(dense), torch.from_numpy(self._lookup(categorical))

    def _lookup(self, categorical: CodeArray) -> IntArray:
        """Rows of the table that stacks one unknown bucket per column and then every column's known levels."""
        out = np.empty((len(categorical), len(self.embedded)), dtype=np.int64)
        offset = len(self.embedded) - 1
        for position, (j, levels) in enumerate(zip(self.embedded, self.levels, strict=True)):
            ranks = _ranks(self.tables[j], categorical[:, j])
            out[:, position] = np.where(ranks == 0, position, offset + ranks)
            offset += levels
        return out

    def to_tensors(self) -> dict[str, Tensor]:
        """Everything as tensors, the tables end to end."""
        flat = np.concatenate([np.empty(0, np.int64), *self.tables])
        lengths = np.array([len(table) for table in self.tables], dtype=np.int64)
        named = {
            "order": self.order,
            "medians": self.medians,
            "indicators": self.indicators,
            "centre": self.centre,
        }
        arrays = {**named, "scale": self.scale, "tables": flat, "lengths": lengths}
        return {
            name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Preprocessing:
        """The inverse of `to_tensors`."""
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        flat, lengths = arrays.pop("tables"), arrays.pop("lengths")
        return cls(
            tables=tuple(np.split(flat, np.cumsum(lengths)[:-1])) if len(lengths) else (), **arrays
        )


@dataclass(frozen=True)
class Architecture:
    """The shape of a network.

    The first `n_embedded` of `n_dense` columns get a numeric embedding ("none", "periodic" or
    "piecewise") of `frequencies` features each, mapped to `embedding_size` - 1 outputs beside the
    column itself. `levels` are the known levels of the categorical embeddings. `n_outputs` is the
    number of classes, or 1 for regression. `networks` of this shape share the embeddings and answer
    with their mean.
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
        extra = (
            self.n_embedded * (self.embedding_size - 1) if self.numeric_embedding != "none" else 0
        )
        return max(1, self.n_dense + extra + len(self.levels) * self.level_size)


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
        angle = torch.addcmul(
            self.phase, x.t().unsqueeze(-1), self.frequency, value=2 * math.pi
        )  # (p, n, f)
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
    """Embeddings of all categorical columns in one table; an unknown level gets the mean over the training rows.

    **Shape**: (n, e) rows of the stacked table -> (n, e * out). `shares` (e, levels) are the
    frequencies.
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
        """(k, n, n_inputs) what reaches the first linear layers."""
        blocks = [dense]
        if self.numeric is not None:
            blocks.append(self.numeric(dense[:, : self.architecture.n_embedded]))
        if self.levels is not None:
            blocks.append(self.levels(lookup))
        x = torch.cat(blocks, dim=1) if len(blocks) > 1 else dense
        if x.shape[1] == 0:
            x = x.new_zeros(len(x), 1)
        return (
            x.expand(self.architecture.networks, *x.shape)
            if self.factor is None
            else x * self.factor
        )

    def forward(
        self, dense: Tensor, lookup: Tensor, drop: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """(k, n, n_outputs) logits or standardised values; `drop` gives factors for a hidden activation."""
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
    """A trained network with its preprocessing; `bounds` clip a regression to the training targets' range."""

    network: Network
    preprocessing: Preprocessing
    bounds: tuple[float, float] | None

    def predict(self, numeric: FloatArray, categorical: CodeArray) -> FloatArray:
        """(n, k) probabilities, or (n,) standardised values, for (n, p) numbers (nan: missing) and (n, q) codes.

        Rows are taken `BATCH_ROWS` at a time, so that the memory needed does not grow with n.
        """
        return np.concatenate(
            [self._predict(numeric[b], categorical[b]) for b in _blocks(len(numeric))]
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
    """(n, k) probabilities or (n,) standardised values for preprocessed rows."""
    with torch.inference_mode():
        parts = [
            network(dense[block], lookup[block]).double().cpu() for block in _blocks(len(dense))
        ]
        raw = torch.cat(parts, dim=1)
    if bounds is None:
        return np.asarray(torch.softmax(raw, dim=2).mean(dim=0).numpy(), dtype=np.float64)
    return np.asarray(raw[:, :, 0].mean(dim=0).clamp(*bounds).numpy(), dtype=np.float64)


def pack(member: NetworkMember) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of a saved network by name, and what `member.json` says beside their sums."""
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
        ValueError: when the files are incomplete, altered, or of another schema.
    """
    facts, weights = _checked(Path(directory))
    content = torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True)
    network = Network(
        Architecture(**{**facts["architecture"], "levels": tuple(facts["architecture"]["levels"])})
    )
    network.load_state_dict(content["weights"])
    bounds = facts["bounds"]
    return NetworkMember(
        network.eval().requires_grad_(False),
        Preprocessing.from_tensors(content["preprocessing"]),
        None if bounds is None else (float(bounds[0]), float(bounds[1])),
    )


def _checked(directory: Path) -> tuple[dict[str, Any], bytes]:
    """The manifest, and the weights once their sum is known to be the recorded one."""
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
            f"{directory} holds {found}, but family 'mlp', schema {SCHEMA} is needed; export it again"
        )
    if hashlib.sha256(content).hexdigest() != facts.get("sha256", {}).get(WEIGHTS):
        raise ValueError(
            f"{directory / WEIGHTS} is damaged: its SHA-256 is not the recorded one; export it again"
        )
    return facts, content


def _blocks(n: int) -> list[slice]:
    """Slices of `BATCH_ROWS` rows; one of no rows when there are none."""
    return [slice(start, start + BATCH_ROWS) for start in range(0, max(n, 1), BATCH_ROWS)]


def _n_known(table: IntArray) -> int:
    return int(table.max(initial=0))


def _ranks(table: IntArray, codes: npt.NDArray[np.int32]) -> IntArray:
    """0 where the code is unknown (negative, beyond the table, or unseen in training), else the rank."""
    known = (codes >= 0) & (codes < len(table))
    return np.where(known, np.append(table, 0)[np.where(known, codes, len(table))], 0)


def _one_hot(ranks: IntArray, known: int) -> FloatArray:
    """(n, known) columns of 0 and 1; one column of -1, 0 (unknown), +1 for two levels; none for fewer."""
    if known < 2:
        return np.empty((len(ranks), 0))
    if known == 2:
        return np.array([0.0, -1.0, 1.0])[ranks][:, None]
    return np.eye(known + 1)[ranks][:, 1:]
