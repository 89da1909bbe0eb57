import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo.errors import ParameterError
from hpo.history import History
from hpo.samplers.grid import Grid, GridSampler
from hpo.space import Categorical, Float, Integer, Parameter, SearchSpace, Value
from tests.strategies import spaces

TREE = SearchSpace(
    (
        Categorical("optimizer", ("sgd", "adam")),
        Float("momentum", 0.0, 1.0, when={"optimizer": ("sgd",)}),
        Categorical("nesterov", (True, False), when={"optimizer": ("sgd",)}),
        Float("dampening", 0.0, 1.0, when={"nesterov": (False,)}),
        Integer("layers", 1, 2),
    )
)


def all_points(space: SearchSpace, resolution: int) -> list[dict[str, Value] | None]:
    history, points = History(space), []
    for number in range(Grid(space, resolution).size + 1):
        history.n_sampled = number
        points.append(GridSampler(resolution).suggest(history, np.random.default_rng(0)))
    return points


def test_inactive_parameters_do_not_multiply() -> None:
    # layers x (adam + sgd x 3 momenta x (nesterov + no nesterov x 3 dampenings))
    assert Grid(TREE, 3).size == 2 * (1 + 3 * (1 + 3))


@settings(max_examples=40)
@given(space=spaces(max_size=5), resolution=st.integers(1, 3))
def test_visits_each_point_once_and_then_ends(space: SearchSpace, resolution: int) -> None:
    size = Grid(space, resolution).size
    if size > 400:
        return

    *points, end = all_points(space, resolution)

    assert end is None
    assert len({repr(point) for point in points}) == size
    for point in points:
        assert point is not None
        space.validate(point)


@settings(max_examples=40)
@given(space=spaces(max_size=4), resolution=st.integers(1, 3))
def test_has_every_active_combination(space: SearchSpace, resolution: int) -> None:
    grid = Grid(space, resolution)
    if grid.size > 200:
        return
    values = [
        [
            Grid(SearchSpace((_alone(p),)), resolution)[i][p.name]
            for i in range(_size(p, resolution))
        ]
        for p in space
    ]

    product = (dict(zip(space.names, row, strict=True)) for row in itertools.product(*values))
    expected = {repr({name: row[name] for name in space.active(row)}) for row in product}

    assert {repr(grid[i]) for i in range(grid.size)} == expected


def _alone(parameter: Parameter) -> Parameter:
    return replace(parameter, when={})


def _size(parameter: Parameter, resolution: int) -> int:
    return Grid(SearchSpace((_alone(parameter),)), resolution).size


def test_ranges_take_their_bounds_and_all_levels_when_there_are_few() -> None:
    space = SearchSpace((Float("rate", 1e-4, 1.0, log=True),))
    assert [Grid(space, 3)[i]["rate"] for i in range(3)] == pytest.approx([1e-4, 1e-2, 1.0])
    few = SearchSpace((Integer("n", 1, 4, log=True),))
    assert [Grid(few, 5)[i]["n"] for i in range(Grid(few, 5).size)] == [1, 2, 3, 4]
    many = SearchSpace((Integer("n", 10, 1000),))
    assert [Grid(many, 3)[i]["n"] for i in range(3)] == [10, 505, 1000]


@pytest.mark.parametrize(
    ("low", "high", "log", "expected"),
    [
        (1, 6, True, [1, 2, 3, 4, 6]),
        (1, 10, True, [1, 2, 3, 6, 10]),
        (1, 1000, True, [1, 6, 32, 178, 1000]),
        (1, 2**40, True, [1, 2**10, 2**20, 2**30, 2**40]),
        (0, 5, False, [0, 1, 2, 4, 5]),
        (0, 100, False, [0, 25, 50, 75, 100]),
    ],
)
def test_whole_numbers_are_spaced_from_bound_to_bound(
    low: int, high: int, log: bool, expected: list[int]
) -> None:
    grid = Grid(SearchSpace((Integer("x", low, high, log=log),)), 5)

    assert [grid[i]["x"] for i in range(grid.size)] == expected


@given(low=st.integers(1, 50), n=st.integers(1, 200), resolution=st.integers(1, 9))
def test_a_grid_has_its_resolution_wherever_there_are_enough_levels(
    low: int, n: int, resolution: int
) -> None:
    grid = Grid(SearchSpace((Integer("x", low, low + n, log=True),)), resolution)
    numbers = [grid[i]["x"] for i in range(grid.size)]

    assert len(set(numbers)) == min(resolution, n + 1)
    assert resolution == 1 or {low, low + n} <= set(numbers)


def test_a_grid_too_large_to_write_down() -> None:
    flags = [Categorical(f"use{i}", (True, False)) for i in range(60)]
    ranges = [Float(f"x{i}", 0.0, 1.0, when={f"use{i}": (True,)}) for i in range(60)]
    space = SearchSpace((*flags, *ranges))
    history = History(space)
    history.n_sampled = 10**30

    assert Grid(space, 4).size == 5**60
    params = GridSampler(4).suggest(history, np.random.default_rng(0))
    assert params is not None
    space.validate(params)


def test_a_study_shorter_than_the_grid_sees_all_values() -> None:
    space = SearchSpace(tuple(Categorical(f"c{i}", tuple(range(5))) for i in range(4)))
    history, seen = History(space), []
    for number in range(25):  # of 625
        history.n_sampled = number
        seen.append(GridSampler().suggest(history, np.random.default_rng(0)) or {})

    for name in space.names:
        assert len({params[name] for params in seen}) == 5


def test_resolution_below_one() -> None:
    with pytest.raises(ParameterError, match="resolution=0 must be 1 or greater"):
        GridSampler(resolution=0)
