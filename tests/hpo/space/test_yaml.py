"""YAML whose values would not fit into memory, or into the stack."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from hpo.errors import SpaceError
from hpo.space import SearchSpace
from hpo.space.checks import MAX_DEPTH
from hpo.space.hyperopt import from_hyperopt
from hpo.space.yaml import MAX_VALUES, load

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)
MERGES = "a0: &a0 {k: 1}\n" + "".join(
    f"a{i}: &a{i} {{x: *a{i - 1}, y: *a{i - 1}, <<: *a{i - 1}}}\n" for i in range(1, 40)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LAUGHS, f"more than {MAX_VALUES:,} values"),
        (MERGES, f"more than {MAX_VALUES:,} values"),
        (f"x: [{'1, ' * MAX_VALUES}1]", f"more than {MAX_VALUES:,} values"),
        ("[" * 20_000, f"more than {MAX_DEPTH} deep"),
        ("{a: " * 20_000, f"more than {MAX_DEPTH} deep"),
        ("".join(" " * i + f"k{i}:\n" for i in range(500)), f"more than {MAX_DEPTH} deep"),
        ("- " * 20_000, f"more than {MAX_DEPTH} deep"),
        ("a: &a [1, *a]", "within the value that it names"),
        ("x: " + "9" * 5_000, "not valid YAML"),
    ],
)
def test_what_is_too_large_is_refused_before_it_is_built(text: str, said: str) -> None:
    began = time.monotonic()
    with pytest.raises(SpaceError, match=said):
        load(text, "space.yaml")
    assert time.monotonic() - began < 30


def nested(wrap: Callable[[Any], Any]) -> Any:
    value: Any = 1
    for _ in range(20_000):
        value = wrap(value)
    return value


@pytest.mark.parametrize("read", [SearchSpace.from_dict, from_hyperopt])
@pytest.mark.parametrize(
    "space",
    [
        nested(lambda inner: [inner]),
        {"x": nested(lambda inner: {"a": inner})},
        {"x": {"choices": nested(lambda inner: [inner, inner])}},
        {"x": {"when": nested(lambda inner: (inner,))}},
    ],
    ids=["lists", "mappings", "shared", "tuples"],
)
def test_values_of_python_are_bounded_as_well(read: Callable[[Any], Any], space: Any) -> None:
    with pytest.raises(SpaceError, match=f"more than {MAX_DEPTH} deep"):
        read(space)


def test_aliases_of_an_ordinary_size_are_read() -> None:
    text = "a: &range {low: 1, high: 9}\nb: *range\nc: {<<: *range, high: 5}\nd: &d 3\ne: *d"
    assert load(text, "space.yaml") == {
        "a": {"low": 1, "high": 9},
        "b": {"low": 1, "high": 9},
        "c": {"low": 1, "high": 5},
        "d": 3,
        "e": 3,
    }
