"""Forbidden combinations and fixed values: written, read, and never proposed."""

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo.algorithms import SAMPLERS, sampler_of
from hpo.configurations import Configurations, by_value
from hpo.errors import SpaceError
from hpo.history import History
from hpo.samplers.random import RandomSampler
from hpo.schedulers.full import Full
from hpo.space import Float, Forbidden, Params, SearchSpace
from hpo.space.center import center, nearest_allowed
from hpo.space.narrowing import restricted
from hpo.space.yaml import from_yaml, to_yaml
from hpo.storage import MemoryStorage
from hpo.study import FirstPoint, Study, StudySettings
from hpo.trial import Report
from tests.strategies import constrained_spaces

BOOSTERS: dict[str, Any] = {
    "booster": ["tree", "linear"],
    "depth": {"low": 1, "high": 10},
    "rate": {"low": 0.0, "high": 1.0, "when": {"booster": "tree"}},
    "threads": 4,
    "forbidden": [{"booster": "linear", "depth": ">6"}, {"depth": [1, 2], "rate": ">0.2 <=0.5"}],
}
SPACE = SearchSpace.from_dict(BOOSTERS)


@pytest.mark.parametrize(
    ("params", "allowed"),
    [
        ({"booster": "linear", "depth": 7}, False),
        ({"booster": "linear", "depth": 6}, True),
        ({"booster": "tree", "depth": 7, "rate": 0.3}, True),
        ({"booster": "tree", "depth": 2, "rate": 0.3}, False),
        ({"booster": "tree", "depth": 2, "rate": 0.2}, True),
        ({"booster": "tree", "depth": 2, "rate": 0.5}, False),
        ({"booster": "linear", "depth": 2}, True),  # rate is inactive
    ],
)
def test_what_is_forbidden(params: dict[str, Any], allowed: bool) -> None:
    params = {**params, "threads": 4}
    assert SPACE.allowed(params) is allowed
    assert SPACE.codes.allowed(SPACE.encode(params)[None]).tolist() == [allowed]
    if not allowed:
        with pytest.raises(SpaceError, match="is forbidden"):
            SPACE.validate(params)


def test_written_and_read_again() -> None:
    assert SearchSpace.from_dict(SPACE.to_dict()) == SPACE
    assert from_yaml(to_yaml(SPACE)) == SPACE
    assert pickle.loads(pickle.dumps(SPACE)) == SPACE
    assert [str(each) for each in SPACE.forbidden] == [
        "booster=linear and depth>6",
        "depth=1 or 2 and rate>0.2 <=0.5",
    ]
    parameter = SearchSpace.from_dict({"forbidden": ["a", "b"], "fixed": {"low": 0, "high": 3}})
    assert parameter.names == ("forbidden", "fixed")
    assert SearchSpace.from_dict({"n_jobs": 1, "kind": "a", "on": True}).sample(
        np.random.default_rng(0)
    ) == {"n_jobs": 1, "kind": "a", "on": True}


def test_a_narrower_space_keeps_what_is_still_possible() -> None:
    assert restricted(SPACE, booster="tree").forbidden == (SPACE.forbidden[1],)
    assert restricted(SPACE, depth={"low": 2}).forbidden[1].values["depth"] == (2,)


@pytest.mark.parametrize(
    ("forbidden", "message"),
    [
        ([{"boster": "tree"}], "forbidden: unknown parameter 'boster', did you mean 'booster'"),
        ([{"booster": "trees"}], "booster='trees' must be one of 'tree', .*did you mean 'tree'"),
        ([{"booster": ">3"}], "booster='>3' must be one of"),
        ([{"depth": 11}], r"depth=11 must lie in \[1, 10\]"),
        ([{"depth": "many"}], "depth='many' must be a number of its range, or a comparison"),
        ([{"depth": "__import__('os')"}], "must be a number of its range"),
        ([{"rate": 0.5}], "a continuous range hardly ever takes one value"),
        ([{"depth": []}], "depth has no value"),
        ([{}], "must name at least one parameter"),
        ([{"depth": ">10"}], r"depth>10 never holds in \[1, 10\]"),
        ([{"rate": ">0.5 <=0.2"}], "rate>0.5 <=0.2 never holds"),
        ({"depth": 1}, "give a list of combinations, .*; for this one write"),
        ([["tree", "linear"]], "give a list of combinations, .*, but one is"),
        ([None], "but one is None"),
        ([{"depth": ">=1"}], "practically nothing is left, 0 of .* are allowed; forbid less"),
    ],
)
def test_mistakes(forbidden: list[Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        SearchSpace.from_dict({**BOOSTERS, "forbidden": forbidden})


def test_mistakes_name_file_and_line() -> None:
    text = "a: {low: 2, high: 1}\nb: {lo: 1, high: 3}\nc: [1]\nforbidden:\n- {c: 2}\n- {b: 1}\n"
    with pytest.raises(SpaceError) as raised:
        from_yaml(text, "space.yaml")
    lines = str(raised.value).splitlines()
    assert lines[0] == "4 mistakes:"
    places = sorted(line.split(": ")[0] for line in lines[1:])
    assert places == ["- space.yaml:1", "- space.yaml:2", "- space.yaml:2", "- space.yaml:4"]


def test_the_nearest_allowed_configuration() -> None:
    forbidden: Params = {"booster": "linear", "depth": 9, "threads": 4}
    assert nearest_allowed(SPACE, forbidden) == {"booster": "linear", "depth": 6, "threads": 4}
    x = Float("x", 0.0, 1.0)
    (middle,) = center(SearchSpace((x,), (Forbidden({"x": (">0.4 <0.7",)}),))).values()
    assert middle == pytest.approx(0.4, abs=0.01)


@given(space=constrained_spaces(), seed=st.integers(0, 2**31))
@settings(max_examples=10)
def test_no_sampler_proposes_a_forbidden_configuration(space: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert all(space.allowed(space.decode(code)) for code in space.codes.sample(rng, 20))
    assert space.allowed(center(space))
    for name in SAMPLERS:
        history = History(space)
        for _ in range(25):  # beyond the start-up of every model
            history.observe(space.sample(rng), float(rng.random()))
        configurations = Configurations(space, sampler_of(name), None)
        for k in range(2):
            history.n_sampled = k
            params = configurations.propose(history, [seed, k])
            if params is not None:
                space.validate(params)


def whole(n: int) -> dict[str, Any]:
    return {"a": list(range(n)), "b": list(range(n))}


@pytest.mark.parametrize("algorithm", ["random", "grid", "tpe"])
def test_a_finite_space_is_counted_and_tried_without_the_forbidden(algorithm: str) -> None:
    forbidden = [{"a": "<3", "b": ">0"}]
    space = SearchSpace.from_dict({**whole(5), "forbidden": forbidden})
    study = Study(
        space,
        sampler_of(algorithm),
        Full(1.0),
        MemoryStorage(),
        seed=1,
        settings=StudySettings(
            first_points=[
                FirstPoint({"a": 0, "b": 4}, "mine"),
                FirstPoint({"a": 4, "b": 4}, "mine"),
            ]
        ),
    )
    assert study.proposals.total == 25 - 3 * 4
    tried = []
    while (trial := study.ask()) is not None:
        tried.append(trial.params)
        study.tell(trial.number, Report(1.0, float(trial.params["a"])))
    assert study.proposals.exhausted
    assert len({by_value(params) for params in tried}) == len(tried) == 13
    assert all(map(space.allowed, tried))
    assert tried[0] == {"a": 4, "b": 4}


def test_a_large_grid_goes_on_behind_many_forbidden_points() -> None:
    space = SearchSpace.from_dict({"a": list(range(5000)), "forbidden": [{"a": ">2"}]})
    found = Configurations(space, sampler_of("grid"), by_value)
    history, points = History(space), list[Params]()
    while (params := found.propose(history, [0])) is not None:
        found.add(params)
        points.append(params)
        history.n_sampled += 1
    assert sorted(point["a"] for point in points) == [0, 1, 2]


def test_a_model_turns_elsewhere_when_its_best_region_is_forbidden() -> None:
    """Proposals come from the model, not from a random draw in its place."""
    space = SearchSpace.from_dict(
        {
            "x": {"low": 0.0, "high": 1.0},
            "y": {"low": 0.0, "high": 1.0},
            "forbidden": [{"x": "<0.3"}],
        }
    )
    history, rng = History(space), np.random.default_rng(0)
    for x in rng.uniform(0.3, 1.0, 40):
        history.observe({"x": x, "y": 0.5}, x)
    configurations = Configurations(space, sampler_of("tpe"), by_value)
    found = [configurations.propose(history, [0, k]) for k in range(10)]
    values = [params["x"] for params in found if params is not None]
    assert len(values) == 10
    assert np.median(np.array(values, dtype=float)) < 0.4
    assert float(RandomSampler().suggest(history, rng)["x"]) >= 0.3
