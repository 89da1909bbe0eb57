from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hpo.errors import SpaceError
from hpo.space import Categorical, Float, Integer, SearchSpace
from hpo.space.narrowing import restricted
from hpo.space.yaml import from_yaml, load_file, to_yaml
from tests.strategies import params_of, spaces

SPACE = SearchSpace(
    (
        Float("drop", 0.0, 0.5, when={"boosting": ("dart",)}),
        Categorical("boosting", ("gbdt", "dart")),
        Integer("leaves", 2, 200, log=True),
        Categorical("skip", (True, False), when={"boosting": ("dart",)}),
        Float("share", 0.0, 1.0, step=0.25, when={"skip": (True,)}),
    )
)


@given(st.data())
def test_samples_validate_and_survive_encoding(data: st.DataObject) -> None:
    space = data.draw(spaces())
    params = data.draw(params_of(space))
    space.validate(params)
    unit = space.encode(params)
    assert np.all((unit >= 0) & (unit <= 1) | np.isnan(unit))
    again = space.decode(unit)
    space.validate(again)
    assert again.keys() == params.keys()
    for name, value in params.items():
        assert again[name] == (
            pytest.approx(value, rel=1e-12) if isinstance(value, float) else value
        )
        assert type(again[name]) is type(value)


@given(st.data())
def test_inactive_is_exactly_what_is_absent(data: st.DataObject) -> None:
    space = data.draw(spaces())
    params = data.draw(params_of(space))
    assert [
        name
        for name, code in zip(space.names, space.encode(params), strict=True)
        if not np.isnan(code)
    ] == list(space.active(params))
    assert set(params) == set(space.active(params))


@given(spaces())
def test_yaml_and_dict_round_trip(space: SearchSpace) -> None:
    assert from_yaml(to_yaml(space)) == space
    assert SearchSpace.from_dict(space.to_dict()) == space


@given(spaces(), st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_vectorised_codes_agree_with_single_ones(space: SearchSpace, seed: int) -> None:
    units = np.random.default_rng(seed).random((20, len(space)))
    rows = space.codes.deactivate(space.codes.snap(units))
    for unit, row in zip(units, rows, strict=True):
        np.testing.assert_allclose(space.encode(space.decode(unit)), row, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(space.codes.snap(rows), rows, rtol=1e-9)


def test_parents_stand_before_their_children() -> None:
    assert SPACE.names.index("boosting") < SPACE.names.index("drop")
    assert SPACE.names.index("skip") < SPACE.names.index("share")


def test_log_integers_are_log_uniform() -> None:
    leaves = SPACE["leaves"]
    codes = np.linspace(0, 1, 10_001)
    values = np.array([leaves.from_unit(code) for code in codes])
    share = np.mean((values >= 2) & (values <= 19))
    assert share == pytest.approx(np.log(19.5 / 1.5) / np.log(200.5 / 1.5), abs=1e-3)


def test_values_outside_the_bounds_are_clipped_when_encoded() -> None:
    assert Float("a", 0.1, 1.0, log=True).to_unit(0.0) == 0.0
    assert Integer("a", 1, 10).to_unit(99) == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: {low: 3, high: 1}", "a: `low < high` must hold, but got low=3, high=1; swap them"),
        ("a: {low: 3, high: 3}", "but got low=3, high=3; for a fixed value write [3]"),
        ("a: {low: 0, high: 1, log: true}", "a: a log scale needs low > 0, but got low=0"),
        ("a: {low: 1, hihg: 2}", "unknown key 'hihg', did you mean 'high'?"),
        ("a: {low: 1, high: 2, step: 0}", "step must be a positive number"),
        ("a: [x, y]\nb: {low: 1, high: 2, when: {a: z}}", "condition on unknown value 'z' of a"),
        (
            "a: [x]\nb: {low: 1, high: 2, when: {aa: x}}",
            "condition on unknown parameter 'aa', did you mean 'a'?",
        ),
        (
            "a: {low: 1, high: 2}\nb: {choices: [1], when: {a: 1}}",
            "needs a categorical parent, but a is a range",
        ),
        ("a: [x, x]", "choices must differ, but 'x' occurs twice"),
        ("a: {type: flaot, low: 1, high: 2}", "unknown type 'flaot', did you mean 'float'?"),
        ("a: null", "expected a mapping, a list of choices or a value, but got None"),
        ("a: {low: 1, high: .inf}", "must be finite numbers"),
        ("a: {low: 1, low: 2, high: 3}", 'found duplicate key "low"'),
        ("- a", "a space is a mapping"),
        (
            "a: {choices: [1], when: {b: 1}}\nb: {choices: [1], when: {a: 1}}",
            "must not form a cycle, but a, b",
        ),
        ("a: {choices: [.nan]}", "a: choice nan must be a number"),
        ("a: []", "needs at least one choice"),
        ("a: {low: 1.5, high: 2, type: integer}", "must be whole numbers, but got 1.5"),
    ],
)
def test_mistakes_are_told_with_the_way_out(text: str, words: str) -> None:
    with pytest.raises(SpaceError) as error:
        from_yaml(text, "my.yaml")
    assert words in str(error.value)
    assert "my.yaml" in str(error.value)


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_bytes(b"a: \xff")
    with pytest.raises(SpaceError, match=r"space\.yaml is not UTF-8 text"):
        load_file(path)
    path.write_text("\ufeffa: [1]", encoding="utf-8")
    assert load_file(path) == {"a": [1]}


def test_all_mistakes_come_at_once() -> None:
    with pytest.raises(SpaceError, match="2 mistakes") as error:
        from_yaml("a: {low: 2, high: 1}\nb: {low: 0, high: 1, log: true}")
    assert "a:" in str(error.value)
    assert "b:" in str(error.value)


def test_yaml_numbers_are_numbers_and_words_are_words() -> None:
    space = from_yaml("a: {low: 1e-4, high: 1}\nb: [on, no, 1:30, 'true', true]")
    assert space["a"] == Float("a", 1e-4, 1)
    assert space["b"] == Categorical("b", ("on", "no", "1:30", "true", True))


def test_params_are_checked_against_the_conditions() -> None:
    with pytest.raises(
        SpaceError, match="drop is inactive here; it needs boosting in \\['dart'\\]"
    ):
        SPACE.validate({"boosting": "gbdt", "leaves": 3, "drop": 0.1})
    with pytest.raises(SpaceError, match="leaves is missing"):
        SPACE.validate({"boosting": "gbdt"})
    with pytest.raises(SpaceError, match="unknown parameter 'leafs', did you mean 'leaves'"):
        SPACE.validate({"boosting": "gbdt", "leaves": 3, "leafs": 3})
    with pytest.raises(SpaceError, match="leaves=300 must lie in"):
        SPACE.validate({"boosting": "gbdt", "leaves": 300})


def test_restrict_fixes_and_narrows() -> None:
    small = restricted(SPACE, boosting="dart", leaves={"low": 4, "high": 8})
    assert small["boosting"].n_levels == 1
    assert small["leaves"].n_levels == 5
    with pytest.raises(SpaceError, match="must lie in"):
        restricted(SPACE, leaves={"high": 999})
    with pytest.raises(SpaceError, match="did you mean 'leaves'"):
        restricted(SPACE, leafs=3)


@pytest.mark.parametrize(
    "definition",
    [
        {"a": {"low": np.float64(0.1), "high": np.float32(1.0), "log": np.bool_(True)}},
        {"a": {"low": np.int64(1), "high": np.int32(9), "step": np.int64(2)}},
        {"a": np.arange(1, 4), "b": {"low": 0, "high": 1, "when": {"a": np.int64(2)}}},
        {"a": [np.str_("x"), "y"], "b": range(3), "c": {"choices": np.array([True, False])}},
    ],
)
def test_numpy_scalars_arrays_and_ranges_are_plain_values(definition: dict[str, Any]) -> None:
    space = SearchSpace.from_dict(definition)

    assert from_yaml(to_yaml(space)) == space
    drawn = space.decode(np.full(len(space), 0.5))
    params: dict[str, Any] = {name: np.array(value)[()] for name, value in drawn.items()}
    space.validate(params)
    assert space.decode(space.encode(params)) == drawn


@settings(max_examples=300)
@given(
    low=st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**400), 10**400),
    high=st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**400), 10**400),
    log=st.booleans(),
    step=st.none() | st.floats(0, exclude_min=True) | st.integers(1, 10**20),
    kind=st.sampled_from([Float, Integer]),
)
@example(5e-324, 1.7e308, True, None, Float)
@example(-1.7e308, 1.7e308, False, None, Float)
@example(1e300, 1.0000000000000002e300, True, None, Float)
@example(1e16, 1.0000000000001e16, False, 1, Float)
@example(1, 2**44, True, 1, Integer)
@example(-(2**43), 2**43 - 1, False, 1, Integer)
def test_any_range_that_floats_hold_works_or_is_refused(
    low: float, high: float, log: bool, step: float | None, kind: type
) -> None:
    low, high = min(low, high), max(low, high)
    try:
        space = SearchSpace((kind("a", low, high, log, step or 1 if kind is Integer else step),))
    except SpaceError:
        return
    (parameter,) = space
    near = 0.0 if log else 1e-9 * (high - low)

    for unit in (0.0, 1e-9, 0.3, 0.5, 1.0 - 1e-9, 1.0):
        value = parameter.from_unit(unit)
        assert parameter.why_not(value) is None
        code = parameter.to_unit(value)
        assert 0 <= code <= 1
        assert parameter.from_unit(code) == pytest.approx(value, rel=1e-9, abs=near)
        if parameter.n_levels is not None:  # levels are exact
            assert parameter.from_unit(code) == value
            assert space.codes.snap(np.array([[unit]]))[0, 0] == pytest.approx(code, abs=1e-9)
    assert parameter.from_unit(0.0) == low
    assert step is not None or parameter.from_unit(1.0) == pytest.approx(high, abs=near)


def test_a_thousand_choices_are_found_at_once() -> None:
    choices = tuple(f"choice {i}" for i in range(1000))
    parameter = Categorical("a", choices)

    assert [parameter.index(choice) for choice in choices] == [*range(1000)]
    assert parameter.index(True) == parameter.index([1]) == -1
    assert Categorical("a", (1, True, "1")).index(np.True_) == 1
