"""The shipped network: what it computes, and what it refuses to load."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.models.checkpoint import write_files
from serving.network import (
    BATCH_ROWS,
    MEMBER,
    WEIGHTS,
    Architecture,
    Network,
    NetworkMember,
    Periodic,
    Preprocessing,
    load,
    pack,
)


def preprocessing() -> Preprocessing:
    """Two numeric columns (the second may be missing), one of two levels, one of twelve."""
    return Preprocessing(
        order=np.array([1, 0]),
        medians=np.array([10.0, 0.0]),
        indicators=np.array([0]),
        tables=(np.array([1, 2]), np.arange(1, 13)),
        centre=np.zeros(4),
        scale=np.ones(4),
    )


def member(kind: str = "multiclass", embedding: str = "periodic") -> NetworkMember:
    outputs = 1 if kind == "regression" else 3
    network = Network(
        Architecture(4, 2, (12,), outputs, 2, 8, numeric_embedding=embedding, networks=2)
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
    bounds = (-1.0, 1.5) if kind == "regression" else None
    return NetworkMember(network.eval().requires_grad_(False), preprocessing(), bounds)


def table(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    numeric = rng.normal(size=(n, 2)) * 5
    numeric[rng.random(n) < 0.3, 1] = np.nan
    codes = np.column_stack([rng.integers(-1, 2, n), rng.integers(-1, 14, n)]).astype(np.int32)
    return numeric, codes


def save(model: NetworkMember, directory: Path) -> Path:
    files, facts = pack(model)
    write_files(directory, files, MEMBER, facts)
    return directory


@pytest.mark.parametrize("kind", ["multiclass", "regression"])
@pytest.mark.parametrize("embedding", ["none", "periodic", "piecewise"])
def test_a_saved_network_predicts_the_same(kind: str, embedding: str, tmp_path: Path) -> None:
    model = member(kind, embedding)
    loaded = load(save(model, tmp_path / "member"))
    assert np.array_equal(loaded.predict(*table(50)), model.predict(*table(50)))
    assert loaded.network.architecture == model.network.architecture
    assert not any(p.requires_grad for p in loaded.network.parameters())


def test_the_answer_is_the_mean_of_the_networks() -> None:
    for kind in ("multiclass", "regression"):
        both = member(kind)
        found = both.network.architecture
        single = []
        for i in range(2):
            network = Network(replace(found, networks=1))
            state = both.network.state_dict()
            own = {
                n: t[i : i + 1] if n.startswith(("linears", "factor")) else t
                for n, t in state.items()
            }
            network.load_state_dict(own)
            wide = None if kind == "multiclass" else (-1e9, 1e9)
            single.append(NetworkMember(network, both.preprocessing, wide).predict(*table(30)))
        mean = np.mean(single, axis=0)
        np.testing.assert_allclose(both.predict(*table(30)), np.clip(mean, -1.0, 1.5), atol=1e-6)


def test_probabilities_and_bounds() -> None:
    probabilities = member().predict(*table(200))
    assert probabilities.shape == (200, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-12)
    values = member("regression").predict(*table(200))
    assert values.shape == (200,)
    assert (values.min(), values.max()) == (-1.0, 1.5)


def test_many_rows_are_taken_in_blocks() -> None:
    numeric, codes = table(2 * BATCH_ROWS + 5)
    model = member()
    whole = model.predict(numeric, codes)
    assert len(whole) == len(numeric)
    for block in (slice(0, 3), slice(BATCH_ROWS - 2, BATCH_ROWS + 2), slice(2 * BATCH_ROWS, None)):
        np.testing.assert_allclose(
            model.predict(numeric[block], codes[block]), whole[block], atol=1e-6
        )


def test_no_rows() -> None:
    numeric, codes = table(0)
    assert member().predict(numeric, codes).shape == (0, 3)
    assert member("regression").predict(numeric, codes).shape == (0,)


def test_a_table_without_usable_columns_gets_one_answer() -> None:
    nothing = np.empty(0)
    empty = Preprocessing(nothing.astype(int), nothing, nothing.astype(int), (), nothing, nothing)
    network = Network(Architecture(0, 0, (), 2, layers=1, width=4))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.5)
    answer = NetworkMember(network, empty, None).predict(
        np.empty((3, 0)), np.empty((3, 0), np.int32)
    )
    assert np.array_equal(answer, np.full((3, 2), 0.5))


def test_preprocessing_survives_its_tensors() -> None:
    found = preprocessing()
    again = Preprocessing.from_tensors(found.to_tensors())
    for name in ("order", "medians", "indicators", "centre", "scale"):
        assert np.array_equal(getattr(again, name), getattr(found, name))
    assert [t.tolist() for t in again.tables] == [t.tolist() for t in found.tables]
    assert (
        Preprocessing.from_tensors(
            {**found.to_tensors(), "tables": torch.empty(0), "lengths": torch.empty(0)}
        ).tables
        == ()
    )


def test_periodic_embedding_is_the_formula() -> None:
    module = Periodic(2, 3, 4)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    x = torch.randn(5, 2, generator=generator)
    for column in range(2):
        angle = 2 * torch.pi * x[:, column, None] * module.frequency[column] + module.phase[column]
        expected = torch.cos(angle) @ module.weight[column] + module.bias[column]
        torch.testing.assert_close(module(x)[:, 4 * column : 4 * column + 4], expected)


def test_unknown_levels_share_the_mean() -> None:
    model = member()
    numeric = np.zeros((3, 2))
    codes = np.array([[0, -1], [0, 12], [0, 2**30]], dtype=np.int32)
    predictions = model.predict(numeric, codes)
    assert np.array_equal(predictions[0], predictions[1])
    assert np.array_equal(predictions[0], predictions[2])


@pytest.mark.parametrize("name", [WEIGHTS, MEMBER])
def test_damaged_and_missing_files_are_refused(name: str, tmp_path: Path) -> None:
    path = save(member(), tmp_path / "member") / name
    whole = path.read_bytes()
    for damaged in (
        whole[: len(whole) // 2],
        whole.replace(b"256", b"257") if name == MEMBER else whole + b"x",
    ):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="export it again"):
            load(path.parent)
    path.unlink()
    with pytest.raises(ValueError, match="holds no network"):
        load(path.parent)


def test_another_family_or_schema_is_refused(tmp_path: Path) -> None:
    directory = save(member(), tmp_path / "member")
    facts = json.loads((directory / MEMBER).read_text())
    for change in ({"family": "lightgbm"}, {"schema": 99}):
        (directory / MEMBER).write_text(json.dumps({**facts, **change}))
        with pytest.raises(ValueError, match="family 'mlp', schema 1 is needed"):
            load(directory)
