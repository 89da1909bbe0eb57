"""NSGA-II: what children have of their parents."""

import numpy as np

from hpo.history import History
from hpo.samplers.nsga2 import NSGA2Sampler
from hpo.space import Categorical, Float, SearchSpace, Value

SPACE = SearchSpace(
    (
        Float("x", 0.0, 1.0),
        Categorical("kind", ("a", "b", "c")),
        Float("y", 0.0, 1.0, when={"kind": ("a",)}),
    )
)


def history(n: int, losses: list[float] | None = None) -> History:
    found = History(SPACE)
    for i in range(n):
        kind = "a" if i < 4 else "b"
        params: dict[str, Value] = {"x": 0.1 if i < 4 else 0.9, "kind": kind}
        found.observe(params | ({"y": 0.5} if kind == "a" else {}), losses[i] if losses else i)
    return found


def children(sampler: NSGA2Sampler, of: History, n: int = 60) -> list[dict[str, object]]:
    return [dict(sampler.suggest(of, np.random.default_rng(seed))) for seed in range(n)]


def test_children_resemble_the_best_trials() -> None:
    found = children(NSGA2Sampler(population=4), history(20))
    assert np.median([abs(float(str(child["x"])) - 0.1) for child in found]) < 0.1
    assert sum(child["kind"] == "a" for child in found) > 30
    assert all(("y" in child) == (child["kind"] == "a") for child in found)


def test_every_child_is_mutated() -> None:
    known = {"x": 0.1, "kind": "a", "y": 0.5}
    found = children(NSGA2Sampler(population=4, crossover=0.0), history(20))
    assert sum(child == known for child in found) < 12  # a choice may be drawn again


def test_failed_trials_are_no_parents() -> None:
    losses = [float("inf")] * 4 + [1.0] * 16
    found = children(NSGA2Sampler(population=8), history(20, losses))
    assert np.median([float(str(child["x"])) for child in found]) > 0.8
    assert children(NSGA2Sampler(population=4), history(20, [float("inf")] * 20), 3)


def test_a_child_has_the_parameters_that_no_parent_has() -> None:
    found = History(SPACE)
    for i in range(20):
        found.observe({"x": 0.05 * i, "kind": "b"}, i)
    sampler = NSGA2Sampler(population=4)
    born = [sampler.suggest(found, np.random.default_rng(seed)) for seed in range(60)]
    assert any(child["kind"] == "a" for child in born)
    for child in born:
        SPACE.validate(child)
