import math

import numpy as np
import pytest
from hyperopt import Domain, Trials, hp
from hyperopt.pyll import scope
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hpo.errors import SpaceError
from hpo.space import Categorical, Float, Integer, Parameter, SearchSpace
from hpo.space.hyperopt import from_code, from_hyperopt, to_code, to_hyperopt
from hpo.space.yaml import from_yaml, to_yaml
from tests.strategies import params_of, spaces


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (hp.uniform("a", -1, 2), Float("a", -1.0, 2.0)),
        (hp.uniform("a", low=-1, high=2), Float("a", -1.0, 2.0)),
        (hp.loguniform("a", 0.0, 1.0), Float("a", 1.0, math.e, log=True)),
        (hp.quniform("a", 1, 9, 2), Float("a", 2.0, 8.0, step=2)),
        (hp.quniform("a", 0.3, 1, 0.2), Float("a", 0.4, 1.0, step=0.2)),
        (scope.int(hp.quniform("a", 15, 255, 30)), Integer("a", 30, 240, step=30)),
        (hp.quniform("a", 0.1, 0.4, 0.1), Float("a", 0.1, 0.4, step=0.1)),
        (hp.quniform("a", 0.1, 0.4, 5), Categorical("a", (0.0,))),
        (scope.int(hp.quniform("a", 10, 30, 10)), Integer("a", 10, 30, step=10)),
        (hp.uniformint("a", 2, 5), Integer("a", 2, 5)),
        (hp.randint("a", 5), Integer("a", 0, 4)),
        (hp.randint("a", 3, 5), Integer("a", 3, 4)),
        (hp.randint("a", 1), Categorical("a", (0,))),
        (hp.qloguniform("a", math.log(4), math.log(64), 1), Integer("a", 4, 64, log=True)),
        (hp.qloguniform("a", -3, math.log(64), 1), Integer("a", 1, 64, log=True)),
        (hp.normal("a", 1, 2), Float("a", -5.0, 7.0)),
        (hp.lognormal("a", 0, 1), Float("a", math.exp(-3), math.exp(3), log=True)),
        (hp.qnormal("a", 0, 2, 0.5), Float("a", -6.0, 6.0, step=0.5)),
        (hp.qlognormal("a", 2, 0.5, 1), Integer("a", 2, 33, log=True)),
        (hp.choice("a", ["x", 2, True]), Categorical("a", ("x", 2, True))),
        (hp.pchoice("a", [(0.3, "x"), (0.7, "y")]), Categorical("a", ("x", "y"))),
        (hp.choice("a", [31, 31, 63]), Categorical("a", (31, 63))),
        (hp.choice("a", [5, 5.0, True, 1]), Categorical("a", (5, True, 1))),
        (hp.pchoice("a", [(0.5, 31), (0.25, 31), (0.25, 63)]), Categorical("a", (31, 63))),
        (hp.choice("a", np.arange(1, 4)), Categorical("a", (1, 2, 3))),
    ],
)
def test_each_distribution(node: object, expected: Parameter) -> None:
    (found,) = from_hyperopt(node)

    assert type(found) is type(expected)
    assert found.n_levels == expected.n_levels
    if isinstance(expected, Categorical):
        assert found == expected
    else:
        assert found.log == expected.log  # type: ignore[union-attr]
        assert found.step == expected.step  # type: ignore[union-attr]
        assert [found.low, found.high] == pytest.approx([expected.low, expected.high])  # type: ignore[union-attr]


@settings(max_examples=50, deadline=None)
@given(low=st.integers(-40, 40), width=st.integers(1, 80), q=st.integers(1, 40))
def test_quantised_ranges_hold_exactly_what_hyperopt_draws(low: int, width: int, q: int) -> None:
    low_, high_, q_ = low / 8, (low + width) / 8, q / 8
    (found,) = from_hyperopt(hp.quniform("a", low_, high_, q_))

    # The middles of fine cells, none of which is rounded at its edge: hyperopt's own formula.
    drawn = np.round((low_ + (np.arange(8 * width) + 0.5) / 64) / q_) * q_
    n_levels = found.n_levels or 0
    levels = [found.from_unit((i + 0.5) / n_levels) for i in range(n_levels)]
    assert levels == np.unique(drawn + 0.0).tolist()


def test_numpy_scalars_are_plain_values() -> None:
    graph = {
        "a": hp.choice("a", np.linspace(0.1, 0.3, 3)),
        "b": hp.quniform("b", np.float64(0.1), np.float32(1), np.float64(0.25)),
        "c": np.int64(3),
        "d": hp.choice("d", np.array(["gbdt", "dart"])),
    }

    space = from_hyperopt(graph)

    assert from_yaml(to_yaml(space)) == space
    assert all(type(value) in (int, float, str) for value in space.decode(np.full(4, 0.9)).values())


def test_nested_choices_become_conditions() -> None:
    graph = {
        "model": hp.choice(
            "model",
            [
                {"kind": "tree", "depth": hp.uniformint("depth", 1, 9), "prune": True},
                {
                    "kind": "svm",
                    "kernel": hp.choice(
                        "kernel", ["linear", ("rbf", {"gamma": hp.loguniform("rbf gamma", -5, 0)})]
                    ),
                },
                "none",
            ],
        ),
        "seed": 7,
    }

    space = from_hyperopt(graph)

    assert space["model"] == Categorical("model", ("tree", "svm", "none"))
    assert space["depth"] == Integer("depth", 1, 9, when={"model": ("tree",)})
    assert space["kernel"] == Categorical("kernel", ("linear", "rbf"), {"model": ("svm",)})
    assert space["gamma"].when == {"kernel": ("rbf",)}
    assert space["seed"] == Categorical("seed", (7,))
    assert space["prune"] == Categorical("prune", (True,), {"model": ("tree",)})
    assert set(space.names) == {"model", "depth", "kernel", "gamma", "seed", "prune"}


def test_names_are_keys_where_they_are_unique_and_labels_elsewhere() -> None:
    graph = {
        "rate": hp.uniform("the rate", 0, 1),
        "model": hp.choice(
            "m", [{"C": hp.uniform("svm C", 0, 1)}, {"C": hp.uniform("lr C", 0, 2)}]
        ),
        "list": [hp.uniform("in a list", 0, 1)],
    }

    space = from_hyperopt(graph)

    assert set(space.names) == {"rate", "model", "svm C", "lr C", "in a list"}
    assert space["lr C"].when == {"model": (1,)}  # nothing in the options names them: positions


def test_a_variable_shared_by_options() -> None:
    shared = hp.uniform("x", 0, 1)
    graph = {
        "c": hp.choice("c", [{"kind": "a", "x": shared}, {"kind": "b"}, {"kind": "d", "x": shared}])
    }

    assert from_hyperopt(graph)["x"].when == {"c": ("a", "d")}


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ({"a": 10 ** hp.uniform("e", -3, 0)}, "'e' is an argument of pow.*in the objective"),
        ({"a": hp.qloguniform("q", 0, 5, 8)}, "'q': qloguniform needs q=1, but got q=8"),
        (
            {"a": scope.int(hp.uniform("u", 0, 5))},
            "'u': scope.int truncates uniform; use uniformint",
        ),
        (
            {"a": hp.choice("c", [(64,), (64, 32), (64,)])},
            r"'c': option \(64,\) must be a string, a number or a boolean",
        ),
        ({"a": hp.choice("c", [[1, (2,)], 3])}, r"'c': option \(1, \(2,\)\) must be a string"),
        (
            {"a": hp.choice("c", [None, 1])},
            "'c': option None must be a string, a number or a boolean",
        ),
        ({"a": None, "b": hp.uniform("b", 0, 1)}, "'a': None must be a string"),
        (
            {"a": hp.uniform("x", 0, 1), "b": hp.uniform("x", 0, 2)},
            "label 'x' is used by two variables",
        ),
        ({"a": hp.uniform("x", 0, hp.uniform("y", 1, 2))}, "'x': high of uniform must be a number"),
        (
            {"a": hp.choice("depth", [-1, hp.uniformint("d", 2, 12)])},
            "'depth': an option must be a value or a dictionary with parameters",
        ),
        (
            {"a": hp.choice("c", [{"x": hp.uniform("x", 0, 1)}, 0])},
            "'c': its dictionary at position 0 has no name, and 0 is also an option",
        ),
        (
            {"a": [15, 31], "b": hp.uniform("b", 0, 1)},
            r"'a': \[15, 31\] must be .*; for a choice write hp.choice\('a', \[15, 31\]\)",
        ),
        ({"a": scope.int(hp.quniform("q", 0, 5, 0.5))}, "'q': scope.int truncates multiples of q"),
        ({"a": hp.choice("c", [])}, "'c': a choice needs at least one option"),
        ({"a": hp.choice("c", [{"b": hp.choice("d", [])}, 1])}, "'d': a choice needs at least"),
        ({"a": hp.randint("r", 5, 5)}, "'r': randint takes values below high"),
        ({"a": hp.loguniform("l", 0, 1000)}, "'l': the ends .* but got exp.0. and exp.1000."),
        ({"a": hp.qnormal("n", 0, 1, 0)}, "'n': qnormal needs q > 0, but got q=0"),
        (
            {"a": hp.choice("c", [{"t": "p", "n": "1"}, {"t": "q", "n": "2"}])},
            "key 't' occurs twice; give the constant a label",
        ),
    ],
)
def test_what_has_no_counterpart_is_named(graph: object, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        from_hyperopt(graph)


def test_a_variable_under_different_choices() -> None:
    shared = hp.uniform("x", 0, 1)
    graph = [hp.choice("c", [("p", shared), "q"]), hp.choice("d", [("p", shared), "q"])]

    with pytest.raises(
        SpaceError, match="'x' is used under different choices; give each use a label"
    ):
        from_hyperopt(graph)


@settings(max_examples=30)
@given(data=st.data(), space=spaces())
def test_codes_round_trip(data: st.DataObject, space: SearchSpace) -> None:
    params = data.draw(params_of(space))
    for name, value in params.items():
        back = from_code(space[name], to_code(space[name], value))
        assert space[name].to_unit(back) == pytest.approx(space[name].to_unit(value), abs=1e-9)


# Both a parameter and its parent hang on `top`; the parent's narrower condition counts for both.
NARROWED_BY_ITS_PARENT = SearchSpace(
    (
        Categorical("top", (False, True)),
        Categorical("parent", (False,), when={"top": (False,)}),
        Float("child", 0.0, 1.0, when={"top": (False, True), "parent": (False,)}),
    )
)
NEVER_ACTIVE = SearchSpace(
    (
        Categorical("top", (False, True)),
        Categorical("parent", ("a", "b"), when={"top": (False,)}),
        Float("child", 0.0, 1.0, when={"top": (True,), "parent": ("a",)}),
    )
)


@settings(max_examples=25)
@given(space=spaces(), seed=st.integers(0, 2**16))
@example(space=NARROWED_BY_ITS_PARENT, seed=0)
@example(space=NEVER_ACTIVE, seed=0)
def test_hyperopt_draws_from_our_graph_what_our_space_allows(space: SearchSpace, seed: int) -> None:
    from hyperopt import rand

    free = [p for p in space if p.n_levels != 1]
    if not free:
        return
    domain = Domain(lambda _: 0.0, to_hyperopt(space))
    for doc in rand.suggest(list(range(5)), domain, Trials(), seed):
        vals = doc["misc"]["vals"]
        params = {p.name: from_code(p, vals[p.name][0]) for p in free if vals.get(p.name)}
        fixed = {p.name: p.from_unit(0.5) for p in space if p.n_levels == 1}
        active = space.active(params | fixed)

        assert {p.name for p in free} & set(active) == set(params)
        space.validate({name: (params | fixed)[name] for name in active})


def test_draws_of_levels_are_even() -> None:
    space = SearchSpace((Integer("n", 1, 4), Integer("m", 1, 3, log=True)))
    domain = Domain(lambda _: 0.0, to_hyperopt(space))
    from hyperopt import rand

    docs = rand.suggest(list(range(2000)), domain, Trials(), 0)
    n = [from_code(space["n"], doc["misc"]["vals"]["n"][0]) for doc in docs]

    # 5 standard deviations of a binomial share: fails by chance once in 10^6
    assert np.abs(np.bincount(n, minlength=5)[1:] / 2000 - 0.25).max() < 5 * math.sqrt(
        0.25 * 0.75 / 2000
    )


@pytest.mark.parametrize("graph", [5, None, {}, {"learning_rate": (0.1, 0.2)}])
def test_a_space_without_anything_to_search_is_told(graph: object) -> None:
    with pytest.raises(SpaceError, match="there is nothing to search in the space"):
        from_hyperopt(graph)


@pytest.mark.parametrize("sigma", [0, -1.0, float("nan")])
def test_a_spread_must_be_positive(sigma: float) -> None:
    with pytest.raises(SpaceError, match=f"'x': sigma of normal must be above 0, but got {sigma}"):
        from_hyperopt({"x": hp.normal("x", 1, sigma)})
