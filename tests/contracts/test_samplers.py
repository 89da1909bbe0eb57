"""The contract of samplers, over generated conditional spaces and every phase of a study.

All samplers of the registry are tested, so a new one is tested by being listed there.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo import algorithms
from hpo.history import History
from hpo.past import Past, PastSource, standardised
from hpo.samplers import Sampler
from hpo.samplers.learned import LearnedSampler
from hpo.samplers.tpe import TPESampler
from hpo.space import Categorical, Float, Integer, SearchSpace, Value
from tests.strategies import spaces


@dataclass(frozen=True)
class Learned:
    """`LearnedSampler` with past studies of the space at hand."""

    def min_results(self, space: SearchSpace) -> int:
        return self._with_past(space).min_results(space)

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Value] | None:
        return self._with_past(history.space).suggest(history, rng)

    def _with_past(self, space: SearchSpace) -> LearnedSampler:
        sources = []
        for seed, n in enumerate((3, 20, 64)):
            rng = np.random.default_rng(seed)
            x = space.codes.sample(rng, n)
            sources.append(PastSource(f"s{seed}", x, standardised(rng.normal(size=n)), 0.3 * seed))
        return LearnedSampler(Past(space, tuple(sources)), TPESampler(n_startup=4))


SAMPLERS: Mapping[str, Sampler] = {
    **{name: algorithms.sampler_of(name) for name in algorithms.SAMPLERS},
    "learned": Learned(),
}
LOSSES = ("different", "equal", "some failed", "all failed")

each_sampler = pytest.mark.parametrize("name", SAMPLERS)


def history_of(space: SearchSpace, n: int, n_pending: int, losses: str, seed: int) -> History:
    """`n` random observations and `n_pending` random configurations without a result."""
    rng = np.random.default_rng(seed)
    history = History(space)
    for i in range(n):
        loss = {"different": rng.normal(), "equal": 1.0, "all failed": np.inf}.get(
            losses, rng.normal()
        )
        failed = losses == "some failed" and i % 2 == 0
        history.observe(space.sample(rng), np.inf if failed else loss, weight=1.0 + (i % 3))
    history.set_pending([space.sample(rng) for _ in range(n_pending)])
    history.n_sampled = n + n_pending
    return history


histories = st.builds(
    history_of,
    space=spaces(),
    n=st.sampled_from([0, 1, 4, 5, 15, 60]),  # before, at and after the start-ups
    n_pending=st.integers(0, 3),
    losses=st.sampled_from(LOSSES),
    seed=st.integers(0, 2**16),
)


@each_sampler
@settings(max_examples=30)
@given(history=histories, seed=st.integers(0, 2**16))
def test_a_suggestion_belongs_to_the_space(name: str, history: History, seed: int) -> None:
    params = SAMPLERS[name].suggest(history, np.random.default_rng(seed))

    if params is not None:
        history.space.validate(params)
    assert params is not None or name == "grid"


@each_sampler
@settings(max_examples=10)
@given(history=histories, seed=st.integers(0, 2**16))
def test_a_suggestion_is_a_function_of_history_and_generator(
    name: str, history: History, seed: int
) -> None:
    before = [np.array(c) for c in (history.x, history.losses, history.weights, history.pending)]
    state = repr(np.random.get_state())  # noqa: NPY002 - the global generator must not move

    first = SAMPLERS[name].suggest(history, np.random.default_rng(seed))
    second = SAMPLERS[name].suggest(history, np.random.default_rng(seed))

    assert first == second
    for then, now in zip(
        before, (history.x, history.losses, history.weights, history.pending), strict=True
    ):
        np.testing.assert_array_equal(then, now)
    assert repr(np.random.get_state()) == state  # noqa: NPY002


FIXED = SearchSpace(
    (
        Categorical("optimizer", ("sgd", "adam")),
        Float("momentum", 0.0, 1.0, when={"optimizer": ("sgd",)}),
        Float("rate", 1e-4, 1.0, log=True),
        Integer("layers", 1, 5),
        Integer("width", 8, 512, log=True),
        Float("dropout", 0.0, 0.5, step=0.1),
        Categorical("constant", ("only",)),
    )
)


def walk(name: str) -> list[dict[str, Value] | None]:
    """25 suggestions in a row, each observed."""
    history, said = History(FIXED), []
    for number in range(25):
        history.n_sampled = number
        params = SAMPLERS[name].suggest(history, np.random.default_rng([3, number]))
        said.append(params)
        assert params is not None
        history.observe(params, abs(np.log10(float(params["rate"])) + 2) + int(params["layers"]))
    return said


@pytest.mark.parametrize("name", SAMPLERS)
def test_another_process_suggests_the_same(name: str) -> None:
    code = (
        "import json\nfrom tests.contracts.test_samplers import walk\n"
        f"print(json.dumps(walk({name!r})))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(done.stdout) == walk(name)


@each_sampler
def test_a_space_of_constants(name: str) -> None:
    space = SearchSpace((Categorical("a", (1,)), Categorical("b", ("x",), when={"a": (1,)})))
    for n in (0, 10):
        history = history_of(space, n, 1, "different", 0)
        history.n_sampled = 0

        assert SAMPLERS[name].suggest(history, np.random.default_rng(0)) == {"a": 1, "b": "x"}


@each_sampler
def test_says_truly_whether_it_looks_at_results(name: str) -> None:
    sampler = SAMPLERS[name]
    answers = set()
    for seed in range(8):
        history = history_of(FIXED, 30, 0, "different", seed)
        answers.add(str(sampler.suggest(history, np.random.default_rng(0))))

    assert (len(answers) > 1) == (sampler.min_results(FIXED) > 0)
