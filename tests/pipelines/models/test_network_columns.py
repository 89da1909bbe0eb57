"""What the network makes of columns: scaling, missing values, levels, bins."""

import math

import numpy as np
import torch

from pipelines.models.network.data import fit_preprocessing
from pipelines.models.network.initial import bins
from serving.features import Matrix
from serving.network import Levels, Piecewise
from tests.networks import family, network_of, start


def rows(*numeric: list[float], codes: list[list[int]] | None = None) -> Matrix:
    table = np.array(numeric, dtype=np.float64).T
    coded = np.array(codes or [[] for _ in table], dtype=np.int32).reshape(len(table), -1)
    return Matrix(table, coded)


def test_columns_are_centred_scaled_and_squashed() -> None:
    column = [0.0, 1.0, 2.0, 3.0, 4.0]
    found = fit_preprocessing(rows(column), ())
    assert (found.centre.tolist(), found.scale.tolist()) == (
        [2.0],
        [0.5],
    )  # the quartiles are 1 and 3
    dense, _ = found.transform(np.array([[2.0], [4.0], [1e300]]), np.empty((3, 0), np.int32))
    np.testing.assert_allclose(dense[:, 0], [0, 1 / math.sqrt(1 + 1 / 9), 3.0], rtol=1e-6)


def test_without_a_quartile_range_half_the_range_scales_and_a_constant_vanishes() -> None:
    found = fit_preprocessing(rows([5.0] * 8 + [5.0, 9.0], [7.0] * 10), ())
    dense, _ = found.transform(np.array([[9.0, 7.0], [5.0, 8.0]]), np.empty((2, 0), np.int32))
    np.testing.assert_allclose(dense[:, 0], [2 / math.sqrt(1 + 4 / 9), 0.0], rtol=1e-6)
    assert dense[:, 1].tolist() == [0.0, 0.0]


def test_missing_values_become_the_median_and_a_column() -> None:
    nan = math.nan
    found = fit_preprocessing(rows([1.0, nan, 3.0, 2.0], [4.0, 5.0, 6.0, 9.0], [nan] * 4), ())
    raw = found.raw(np.array([[nan, nan, 1.0]]), np.empty((1, 0), np.int32))
    assert sorted(found.order.tolist()) == [0, 1, 2]
    by_column = dict(zip(found.order.tolist(), raw[0, :3].tolist(), strict=True))
    assert by_column == {0: 2.0, 1: 5.5, 2: 1.0}
    assert [int(found.order[i]) for i in found.indicators] == [0, 2]
    assert raw[0, 3:].tolist() == [1.0, 0.0]


def test_few_levels_are_columns_and_many_an_embedding() -> None:
    n = 40
    codes = [[i % 2, i % 3, i % 20, 0] for i in range(n)]
    found = fit_preprocessing(rows([float(i) for i in range(n)], codes=codes), (2, 5, 30, 1))
    assert found.embedded == (2,)
    assert found.levels == (20,)
    raw = found.raw(
        np.zeros((3, 1)), np.array([[1, 2, 0, 0], [-1, 4, 29, 0], [0, -1, 7, 5]], np.int32)
    )
    assert raw[:, 1:].tolist() == [[1, 0, 0, 1], [0, 0, 0, 0], [-1, 0, 0, 0]]
    lookup = found.transform(
        np.zeros((4, 1)), np.array([[0, 0, c, 0] for c in (0, 19, 29, -1)], np.int32)
    )[1]
    assert lookup[:, 0].tolist() == [1, 20, 0, 0]  # row 0 is the bucket of the unknown


def test_an_unknown_level_gets_the_average_level() -> None:
    owner = family()
    levels = network_of(start(owner)).levels
    assert isinstance(levels, Levels)
    codes = owner.fold.train.categorical[:, 1]
    known = owner.data.preprocessing.tables[1][codes]
    mean = levels.weight[torch.from_numpy(known - 1)].mean(dim=0)
    torch.testing.assert_close(levels(torch.tensor([[0]]))[0], mean)


def test_bins_hold_equal_shares() -> None:
    column = torch.arange(101.0)[:, None]
    low, inverse = bins(column, 4)
    assert low.flatten().tolist() == [0.0, 25.0, 50.0, 75.0]
    module = Piecewise(1, 4, 1)
    module.low.copy_(low)
    module.inverse_width.copy_(inverse)
    torch.nn.init.ones_(module.weight)
    assert module(torch.tensor([[0.0], [25.0], [62.5], [1e9]])).flatten().tolist() == [
        0.0,
        1.0,
        2.5,
        4.0,
    ]
